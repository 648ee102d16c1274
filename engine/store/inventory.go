package store

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// usedRecord is something that Du lists and Prune may choose: a record, a part of what
// a component keeps, or an untagged image.
type usedRecord struct {
	UsageInfo
	rec   *record  // nil of what is none
	part  *part    // nil of what is none
	image string   // the name of an untagged image; "" of what is none
	keys  []string // those that led to a record, once it is removed

	children int
	// own is what nothing else has, things what others may have, too.
	own    int64
	things []*thing
}

// thing is something on the disk that several may hold: a blob, or a file that trees
// share. It takes its room until the last of them goes.
type thing struct {
	size    int64
	holders int
	// pinned says that an image with a name holds it.
	pinned bool
	// owner is with whom it is counted; nil while there is none.
	owner *usedRecord
}

// holds notes that u holds a thing. What records share is counted with the youngest.
func (u *usedRecord) holds(t *thing) {
	u.things = append(u.things, t)
	t.holders++
	if t.owner == nil || t.owner.rec == nil || u.rec != nil && u.CreatedAt.After(t.owner.CreatedAt) {
		t.owner = u
	}
}

// counted is what u takes, where what is shared is counted once.
func (u *usedRecord) counted() int64 {
	size := u.own
	for _, t := range u.things {
		if t.owner == u {
			size += t.size
		}
	}
	return size
}

// evictable is what u takes, without what stays because an image has it.
func (u *usedRecord) evictable() int64 {
	size := u.Size
	for _, t := range u.things {
		if t.owner == u && t.pinned {
			size -= t.size
		}
	}
	return size
}

// give gives up what u holds, and returns how much room that frees.
func (u *usedRecord) give() int64 {
	size := u.own
	for _, t := range u.things {
		if t.holders--; t.holders == 0 {
			size += t.size
		}
	}
	return size
}

// inventory is everything there is, and who holds it.
type inventory struct {
	all []*usedRecord
	// images is how many have a name.
	images int
	// blobs are all blobs.
	blobs map[digest.Digest]*blobThing
	// dirs are the directories of snapshots, by key; those left in it are of no record.
	dirs map[string]string
}

// blobThing is a blob of the content store, and what it refers to.
type blobThing struct {
	thing
	refs []digest.Digest
}

// takeInventory looks at everything once: at the files of each tree when that is
// measured for the first time, and of cache mounts that were used since. Exact looks
// at those of trees that share files, too; without it they count in full.
func (s *Store) takeInventory(ctx context.Context, exact bool) (*inventory, error) {
	inv := &inventory{blobs: map[digest.Digest]*blobThing{}, dirs: s.back.places.byKey()}
	s.addRecords(inv)
	if err := s.addTrees(ctx, inv, exact); err != nil {
		return nil, err
	}
	if err := s.addBlobs(ctx, inv); err != nil {
		return nil, err
	}
	for _, u := range inv.all {
		u.Size = u.counted()
	}
	parts, err := s.usageOfKept(ctx)
	inv.all = append(inv.all, parts...)
	return inv, err
}

func (s *Store) addRecords(inv *inventory) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
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
		inv.all = append(inv.all, &usedRecord{UsageInfo: u, rec: r, children: r.children})
	}
}

// addTrees adds what the records' snapshots take.
func (s *Store) addTrees(ctx context.Context, inv *inventory, exact bool) error {
	files := map[inode]*thing{}
	snaps := map[string]*thing{} // of which there are several records: see chainid.go
	dirs := maps.Clone(inv.dirs)
	for _, u := range inv.all {
		s.index.mu.Lock()
		f := u.rec.facts
		s.index.mu.Unlock()
		var err error
		if exact && (f.Linked != nil || f.Lent) {
			err = s.addShared(ctx, inv, u, f, files)
		} else {
			u.own, err = s.sizeOf(ctx, u.rec, dirs)
		}
		if err != nil {
			return fmt.Errorf("size of %s: %w", u.ID, err)
		}
		if f.Snapshot != "" {
			u.share(snaps, f.Snapshot)
		}
		delete(inv.dirs, f.Snapshot)
		delete(inv.dirs, f.Flat)
	}
	return nil
}

// share makes what u has alone so far a thing that those hold which have the snapshot.
func (u *usedRecord) share(snaps map[string]*thing, snapshot string) {
	if snaps[snapshot] == nil {
		snaps[snapshot] = &thing{size: u.own}
	}
	u.own = 0
	u.holds(snaps[snapshot])
}

// addShared adds the files of a tree that may share some with others.
func (s *Store) addShared(ctx context.Context, inv *inventory, u *usedRecord, f facts, files map[inode]*thing) error {
	m, err := measure(ctx, s.snapshotDir(inv.dirs[f.Snapshot]))
	if err != nil {
		return err
	}
	u.own = m.size
	for id, file := range m.names {
		if files[id] == nil {
			files[id] = &thing{size: file.size}
		}
		u.own -= file.size
		u.holds(files[id])
	}
	return nil
}

// sizeOf is what a record's snapshots take on the disk. What it shares with those that
// it is made of is theirs.
func (s *Store) sizeOf(ctx context.Context, rec *record, dirs map[string]string) (int64, error) {
	s.index.mu.Lock()
	f, holds := rec.facts, rec.holds
	s.index.mu.Unlock()
	if f.Size != nil {
		return *f.Size, nil
	}
	var size int64
	for i, key := range []string{f.Snapshot, f.Flat} {
		if dirs[key] == "" {
			continue
		}
		m, err := measure(ctx, s.snapshotDir(dirs[key]))
		if err != nil {
			return 0, err
		}
		size += m.size
		if i > 0 || f.Kind == kindMerge || f.Kind == kindDiff {
			size -= m.elsewhere()
		}
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	still := rec.facts.Snapshot == f.Snapshot && rec.facts.Flat == f.Flat
	if f.Kind == kindCacheMount { // which somebody may have written to meanwhile
		still = still && holds == 0 && rec.holds == 0 && rec.facts.Uses == f.Uses
	}
	if still {
		rec.facts.Size = &size
		s.index.markDirty(rec)
	}
	return size, nil
}

func (s *Store) snapshotDir(name string) string {
	return filepath.Join(s.root, s.back.name, "snapshots", name)
}

func (s *Store) blobPath(dgst digest.Digest) string {
	return filepath.Join(s.root, contentDir, "blobs", dgst.Algorithm().String(), dgst.Encoded())
}

// addBlobs adds the blobs, with who holds them: records, images and what is under way.
func (s *Store) addBlobs(ctx context.Context, inv *inventory) error {
	return s.back.meta.View(func(tx *bolt.Tx) error {
		ctx := boltutil.WithTransaction(ctx, tx)
		err := s.back.content.Walk(ctx, func(info content.Info) error {
			b := &blobThing{thing: thing{size: sizeOfDir(s.blobPath(info.Digest))}}
			for k, v := range info.Labels {
				if strings.HasPrefix(k, "containerd.io/gc.ref.content") {
					b.refs = append(b.refs, digest.Digest(v))
				}
			}
			inv.blobs[info.Digest] = b
			return nil
		})
		if err != nil {
			return fmt.Errorf("content: %w", err)
		}
		if err := s.addImages(ctx, inv); err != nil {
			return err
		}
		return s.addLeases(ctx, inv)
	})
}

// reach calls visit for each blob that can be reached from some, once.
func (inv *inventory) reach(from []digest.Digest, visit func(*thing)) {
	seen := map[digest.Digest]bool{}
	for len(from) > 0 {
		d := from[len(from)-1]
		from = from[:len(from)-1]
		b := inv.blobs[d]
		if b == nil || seen[d] {
			continue
		}
		seen[d] = true
		visit(&b.thing)
		from = append(from, b.refs...)
	}
}

// addImages adds the images. Those with a name hold their blobs for good.
func (s *Store) addImages(ctx context.Context, inv *inventory) error {
	list, err := s.back.images.List(ctx)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	named := map[digest.Digest]bool{} // an image may have several names
	for _, img := range list {
		from := []digest.Digest{img.Target.Digest}
		if IsUntagged(img.Name) {
			u := untaggedUsage(img)
			inv.reach(from, u.holds)
			inv.all = append(inv.all, u)
			continue
		}
		named[img.Target.Digest] = true
		inv.reach(from, func(t *thing) {
			t.holders++
			t.pinned = true
		})
	}
	inv.images = len(named)
	return nil
}

func untaggedUsage(img images.Image) *usedRecord {
	return &usedRecord{image: img.Name, UsageInfo: UsageInfo{
		ID: "image-" + img.Target.Digest.Encoded(), Type: TypeImage, Description: "untagged image " + img.Target.Digest.String(),
		CreatedAt: img.CreatedAt, LastUsedAt: img.UpdatedAt,
	}}
}

// addLeases adds what leases hold: those of records, and of what is under way.
func (s *Store) addLeases(ctx context.Context, inv *inventory) error {
	byID := map[string]*usedRecord{}
	for _, u := range inv.all {
		if u.rec != nil {
			byID[u.ID] = u
		}
	}
	held, err := s.back.leases.List(ctx)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	for _, l := range held {
		resources, err := s.back.leases.ListResources(ctx, l)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lease %s: %w", l.ID, err)
		}
		u := byID[l.ID]
		inv.reach(blobsAmong(resources), func(t *thing) {
			if u == nil {
				t.holders++ // by what is under way
				return
			}
			u.holds(t)
			u.Shared = u.Shared || t.pinned
		})
	}
	return nil
}

func blobsAmong(resources []leases.Resource) (out []digest.Digest) {
	for _, r := range resources {
		if r.Type == "content" {
			out = append(out, digest.Digest(r.ID))
		}
	}
	return out
}
