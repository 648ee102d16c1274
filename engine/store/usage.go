package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// UsageInfo is what a record, or a part of what a component keeps (see Kept), takes,
// and why it is there.
type UsageInfo struct {
	ID string
	// Parents are the records that this one is made of. They stay as long as it.
	Parents []string
	// Type is one of the Type constants, or what NewOptions said.
	Type        string
	Description string
	// Size is what the record's own files and blobs take on the disk. Files that
	// trees share (see Linker) are counted with the youngest tree.
	Size int64
	// Shared says that an image of Images has a blob of it, too, which stays then.
	Shared bool
	// InUse says that it has a hold in this process.
	InUse bool
	// Mutable says that it can be written to: a cache mount.
	Mutable    bool
	CreatedAt  time.Time
	LastUsedAt time.Time
	// UsageCount is how many handles of it were taken.
	UsageCount int
}

// Du returns all records, and what components keep, in the order of their IDs. It looks at each once; of cache
// mounts it adds up the files.
func (s *Store) Du(ctx context.Context) ([]UsageInfo, error) {
	all, err := s.usage(s.Context(ctx))
	if err != nil {
		return nil, err
	}
	out := make([]UsageInfo, 0, len(all))
	for _, u := range all {
		out = append(out, u.UsageInfo)
	}
	slices.SortFunc(out, func(a, b UsageInfo) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// usedRecord is a record, or a part of what a component keeps, with what it takes.
type usedRecord struct {
	UsageInfo
	rec      *record // nil of a part
	part     *part   // nil of a record
	children int

	// For countShared: what was linked from which, how much of the record the heirs
	// share, and whether it was chosen to go.
	linked     *linked
	linkedFrom *usedRecord
	heirs      []*usedRecord
	shared     int64
	chosen     bool
}

// usage returns what there is. Parts have no parents and no children.
func (s *Store) usage(ctx context.Context) ([]*usedRecord, error) {
	pinned, err := s.pinned(ctx)
	if err != nil {
		return nil, err
	}
	s.index.mu.Lock()
	all := make([]*usedRecord, 0, len(s.index.records))
	blobs := make([][]blob, 0, len(s.index.records))
	for _, r := range s.index.records {
		f := r.facts
		u := UsageInfo{
			ID: r.id, Type: f.Type, Description: f.Description, InUse: r.holds > 0, Mutable: f.Kind == kindCacheMount,
			CreatedAt: f.CreatedAt, LastUsedAt: f.LastUsed, UsageCount: f.Uses,
		}
		for _, p := range r.parents {
			if p != nil {
				u.Parents = append(u.Parents, p.id)
			}
		}
		all = append(all, &usedRecord{UsageInfo: u, rec: r, children: r.children, linked: f.Linked})
		blobs = append(blobs, f.Blobs)
	}
	s.index.mu.Unlock()
	for i, u := range all {
		if u.Size, err = s.size(ctx, u.rec); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("size of %s: %w", u.ID, err)
		}
		for _, b := range blobs[i] {
			info, err := s.back.content.Info(ctx, b.Descriptor.Digest)
			if err == nil {
				u.Size += info.Size
			} else if !errdefs.IsNotFound(err) {
				return nil, fmt.Errorf("size of %s: %w", u.ID, err)
			}
			u.Shared = u.Shared || pinned[b.Descriptor.Digest]
		}
	}
	countShared(all)
	parts, err := s.usageOfKept(ctx)
	return append(all, parts...), err
}

// size is what a record's snapshots take on the disk.
func (s *Store) size(ctx context.Context, rec *record) (int64, error) {
	s.index.mu.Lock()
	key, flat, size := rec.facts.Snapshot, rec.facts.Flat, rec.facts.Size
	s.index.mu.Unlock()
	if size != nil {
		return *size, nil
	}
	if key == "" {
		return 0, nil
	}
	u, err := s.back.snaps.Usage(ctx, key)
	if err != nil {
		return 0, err
	}
	if flat != "" {
		more, err := s.back.snaps.Usage(ctx, flat) // of what are no links
		if err != nil {
			return 0, err
		}
		u.Size += more.Size
	}
	if rec.facts.Kind != kindCacheMount {
		s.index.mu.Lock()
		if rec.facts.Flat == flat {
			rec.facts.Size = &u.Size
		}
		s.index.markDirty(rec)
		s.index.mu.Unlock()
	}
	return u.Size, nil
}

// pinned are the digests of all that images hold.
func (s *Store) pinned(ctx context.Context) (map[digest.Digest]bool, error) {
	all, err := s.back.images.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	seen := map[digest.Digest]bool{}
	for _, img := range all {
		todo := []ocispec.Descriptor{img.Target}
		for len(todo) > 0 {
			desc := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[desc.Digest] {
				continue
			}
			seen[desc.Digest] = true
			children, err := images.Children(ctx, s.back.content, desc)
			if err != nil {
				continue // what an image lacks, or cannot be read, pins nothing
			}
			todo = append(todo, children...)
		}
	}
	return seen, nil
}

// usageFilter makes a filter of what containerd's filters say, of which one must
// match; of none all match. The fields are BuildKit's: id, parents, type,
// description, and, "true" or "false", inuse, mutable, immutable, shared, private.
func usageFilter(list []string) (func(UsageInfo) bool, error) {
	f, err := filters.ParseAll(list...)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", list, err)
	}
	return func(u UsageInfo) bool {
		return f.Match(filters.AdapterFunc(func(path []string) (string, bool) {
			if len(path) == 0 {
				return "", false
			}
			switch path[0] {
			case "id":
				return u.ID, u.ID != ""
			case "parents":
				return strings.Join(u.Parents, ";"), len(u.Parents) > 0
			case "type":
				return u.Type, u.Type != ""
			case "description":
				return u.Description, u.Description != ""
			case "inuse":
				return flag(u.InUse)
			case "mutable":
				return flag(u.Mutable)
			case "immutable":
				return flag(!u.Mutable)
			case "shared":
				return flag(u.Shared)
			case "private":
				return flag(!u.Shared)
			}
			return "", false
		}))
	}, nil
}

// flag is a boolean field: it is there only if it is true, so that both "shared"
// and "shared==true" can be asked.
func flag(b bool) (string, bool) { return strconv.FormatBool(b), b }
