package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
)

// kind says how a record's tree comes about, and so what its parents are.
type kind string

const (
	// kindCommitted was written here, on the tree of Parents[0], if there is one.
	kindCommitted kind = "committed"
	// kindLayer is an image's layer on that of Parents[0], if there is one.
	kindLayer kind = "layer"
	// kindMerge is what Parents, at least two, add to one another, in this order.
	kindMerge kind = "merge"
	// kindDiff is what has to be done to Parents[0] to get Parents[1]. Either may
	// be "", the empty tree.
	kindDiff kind = "diff"
	// kindCacheMount can be written to as long as it exists. Parents[0] is what it
	// began as, if there is one.
	kindCacheMount kind = "cachemount"
)

// facts are what is kept of a record on disk.
type facts struct {
	Kind        kind      `json:"kind"`
	Parents     []string  `json:"parents,omitempty"`
	Type        string    `json:"type,omitempty"`
	Description string    `json:"description,omitempty"`
	CreatedAt   time.Time `json:"created"`
	TimesCount  bool      `json:"timesCount,omitempty"`
	// Windows says that a layer is laid out for Windows.
	Windows bool `json:"windows,omitempty"`
	// DiffID is a layer's, or that of a blob once one has been made.
	DiffID digest.Digest `json:"diffID,omitempty"`
	// Chain is the chain ID of the layers of what is committed, once it is known that
	// unpacking them makes the same tree: see chainid.go.
	Chain digest.Digest `json:"chain,omitempty"`
	// CacheID is a cache mount's.
	CacheID string `json:"cacheID,omitempty"`
	// Content is what Ref.Content has kept; "" for nothing.
	Content digest.Digest `json:"content,omitempty"`

	// Linked is what the tree shares with an earlier one; nil for nothing.
	Linked *linked `json:"linked,omitempty"`
	// Lent says that a later tree shares files of this one, or did.
	Lent bool `json:"lent,omitempty"`

	// Snapshot is the key of the tree, which the record's lease holds: always for
	// what is committed and for cache mounts, for others once they were needed.
	// It is set once.
	Snapshot string `json:"snapshot,omitempty"`
	// Flat is the key of the same tree without a parent, for others to be made upon;
	// "" unless the chain of Snapshot is too long for that. The record's lease holds
	// it, too.
	Flat string `json:"flat,omitempty"`
	// Blobs are the known forms of what the record adds to its parent. The first
	// is the one that is used where nothing else is asked for.
	Blobs []blob `json:"blobs,omitempty"`
	// Size is what the snapshots take on the disk, without what they share with those
	// of the parents; nil until asked for, and of a cache mount that is in use.
	Size     *int64    `json:"size,omitempty"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
	Uses     int       `json:"uses,omitempty"`
}

// blob is a layer in one form.
type blob struct {
	// Form is what was asked for; "" for a pulled blob.
	Form form `json:"form,omitempty"`
	// Epoch is the bound of its times, in seconds since 1970; "" for none.
	Epoch string `json:"epoch,omitempty"`
	// Exact says that unpacking it over the tree below makes the record's tree.
	Exact      bool               `json:"exact,omitempty"`
	Descriptor ocispec.Descriptor `json:"descriptor"`
}

// record is a tree that the store knows. It exists in the file if and only if a
// lease of the same ID does, since both are written in one transaction.
//
// The ID, the parents, and those facts that do not change are set before the
// record is in the index. All else is guarded by index.mu.
type record struct {
	id      string
	parents []*record // nil for the empty tree
	facts   facts

	// holds counts the handles of the record, and those records that have a hold
	// themselves and this one for a parent. A record with a hold is in use.
	holds int
	// children counts the records that have this one for a parent.
	children int
	// lost says that the tree is gone from the disk, and cannot be made again.
	lost bool
	// dir is where the snapshot is; "" until asked for.
	dir string
	// layers is how many layers the tree has at most; set by index.insert.
	layers int
	// view is the read-only mount that the holders share; nil until needed, and
	// without holds.
	view *view
	// sharing is how the holders of a cache mount share it.
	sharing string
	// imagined are the values of a tree that is not there; nil of all others.
	imagined map[string][]byte
	// dropped says that a cache mount is no longer found by its ID, and goes with its
	// last holder.
	dropped bool
	// providers are where blobs can be fetched from, while there are holds.
	providers map[digest.Digest]content.Provider
	// teller is of the step that said where the blobs are: what it takes to get them is
	// its work, whoever waits for it. Nil without holds.
	teller *solver.Progress
}

// parent is the tree that a committed record, a layer or a cache mount is on.
func (r *record) parent() *record {
	if len(r.parents) == 0 {
		return nil
	}
	return r.parents[0]
}

// countLayers is how many layers the tree has at most.
func (r *record) countLayers() int {
	n := 0
	for _, p := range r.parents {
		if p != nil {
			n += p.layers
		}
	}
	switch r.facts.Kind {
	case kindMerge:
		return n
	case kindDiff:
		if upper := r.parents[1]; upper != nil {
			return max(1, upper.layers)
		}
		return 1
	default:
		return n + 1
	}
}

// sumMember begins what encodeFacts writes. Its checksum is that of the rest, from the
// brace on. Records of before there was one have none.
const sumMember = `{"sum":"`

func encodeFacts(f facts) ([]byte, error) {
	dt, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("record cannot be written: %w", err)
	}
	return append(fmt.Appendf(nil, `%s%08x",`, sumMember, crc32.ChecksumIEEE(dt)), dt[1:]...), nil
}

// checkSum says whether what encodeFacts wrote is what it wrote.
func checkSum(dt []byte) bool {
	rest, ok := bytes.CutPrefix(dt, []byte(sumMember))
	if !ok {
		return !bytes.HasPrefix(dt, []byte(sumMember[:len(sumMember)/2]))
	}
	sum, rest, ok := bytes.Cut(rest, []byte(`",`))
	return ok && string(sum) == fmt.Sprintf("%08x", crc32.ChecksumIEEE(append([]byte("{"), rest...)))
}

// decodeFacts reads what encodeFacts wrote, and refuses what cannot be a record.
func decodeFacts(dt []byte) (facts, error) {
	var f facts
	if !checkSum(dt) {
		return facts{}, fmt.Errorf("record: %w", errDamaged)
	}
	if err := json.Unmarshal(dt, &f); err != nil {
		return facts{}, fmt.Errorf("record cannot be read: %w", err)
	}
	if err := f.check(); err != nil {
		return facts{}, fmt.Errorf("record of kind %q: %w", f.Kind, err)
	}
	return f, nil
}

func (f *facts) check() error {
	if f.DiffID != "" {
		if err := f.DiffID.Validate(); err != nil {
			return fmt.Errorf("diff ID: %w", err)
		}
	}
	if f.Chain != "" {
		if err := f.Chain.Validate(); err != nil {
			return fmt.Errorf("chain ID: %w", err)
		}
	}
	if f.Content != "" {
		if err := f.Content.Validate(); err != nil {
			return fmt.Errorf("content: %w", err)
		}
	}
	for _, b := range f.Blobs {
		if err := b.Descriptor.Digest.Validate(); err != nil {
			return fmt.Errorf("blob: %w", err)
		}
	}
	switch f.Kind {
	case kindCommitted, kindLayer, kindCacheMount:
		if len(f.Parents) > 1 || slices.Contains(f.Parents, "") {
			return errors.New("it should have one parent at most")
		}
	case kindMerge:
		if len(f.Parents) < 2 || slices.Contains(f.Parents, "") {
			return errors.New("it should have several parents")
		}
	case kindDiff:
		if len(f.Parents) != 2 {
			return errors.New("it should have two parents")
		}
	default:
		return errors.New("unknown kind")
	}
	switch {
	case f.Snapshot == "" && (f.Kind == kindCommitted || f.Kind == kindCacheMount):
		return errors.New("it has no snapshot")
	case f.Kind == kindLayer && (f.DiffID == "" || len(f.Blobs) == 0):
		return errors.New("it has no blob or no diff ID")
	case f.Kind == kindCacheMount && f.CacheID == "":
		return errors.New("it has no cache ID")
	}
	return nil
}
