package store

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// UsageInfo is what a record, a part of what a component keeps (see Kept), or an
// untagged image takes, and why it is there.
type UsageInfo struct {
	ID string
	// Parents are the records that this one is made of. They stay as long as it.
	Parents []string
	// Type is one of the Type constants, or what NewOptions said.
	Type        string
	Description string
	// Size is what its own files and blobs take on the disk, in bytes of used blocks.
	// What several records share is counted with the youngest: blobs, and files (see
	// Linker). Of what Prune has removed, it is how much that has freed.
	Size int64
	// Shared says that an image with a name has a blob of it, too, which stays then.
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

// Usage is what a root takes on its disk. Sizes are in bytes of used blocks; files
// with several names count once.
type Usage struct {
	// Records are what Prune may remove, in the order of their IDs.
	Records []UsageInfo
	// Images is how many images have a name. They hold ImagesSize, of which
	// ImagesUnique is held by no record.
	Images                   int
	ImagesSize, ImagesUnique int64
	// Other is the rest: databases, and what is being made or fetched.
	Other int64
	// Total is all there is below the root: the sum of Records, ImagesUnique and Other.
	Total int64
	// Reclaimable is what Prune with All would free.
	Reclaimable int64
	// Cap is the most that is kept by itself, as the last policy of GC has it; zero
	// where nothing is removed by itself.
	Cap PruneOptions
}

// Du returns all records, and what components keep, in the order of their IDs: see
// Usage.
func (s *Store) Du(ctx context.Context) ([]UsageInfo, error) {
	inv, err := s.takeInventory(s.Context(ctx), true)
	if err != nil {
		return nil, err
	}
	return inv.infos(), nil
}

func (inv *inventory) infos() []UsageInfo {
	out := make([]UsageInfo, 0, len(inv.all))
	for _, u := range inv.all {
		out = append(out, u.UsageInfo)
	}
	slices.SortFunc(out, func(a, b UsageInfo) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Usage returns what there is. It looks at everything once, and keeps what it has
// found of trees that do not change.
func (s *Store) Usage(ctx context.Context) (*Usage, error) {
	ctx = s.Context(ctx)
	inv, err := s.takeInventory(ctx, true)
	if err != nil {
		return nil, err
	}
	u := &Usage{Records: inv.infos(), Images: inv.images, Cap: s.gc.Cap()}
	for _, b := range inv.blobs {
		if !b.pinned {
			continue
		}
		u.ImagesSize += b.size
		if b.owner == nil {
			u.ImagesUnique += b.size
		}
	}
	if u.Other, err = s.other(ctx, inv); err != nil {
		return nil, err
	}
	u.Total = u.ImagesUnique + u.Other
	for _, r := range u.Records {
		u.Total += r.Size
	}
	// Choosing gives up what it chooses.
	u.Reclaimable = inv.unheld()
	for _, r := range choose(inv.all, PruneOptions{All: true}, func(UsageInfo) bool { return true }, 0, time.Now()) {
		u.Reclaimable += r.Size
	}
	return u, nil
}

// unheld is the size of the blobs that nothing holds: the next collection takes them.
func (inv *inventory) unheld() (size int64) {
	for _, b := range inv.blobs {
		if b.holders == 0 {
			size += b.size
		}
	}
	return size
}

// other is what the root takes beside records and images.
func (s *Store) other(ctx context.Context, inv *inventory) (size int64, _ error) {
	for _, b := range inv.blobs {
		if b.owner == nil && !b.pinned {
			size += b.size
		}
	}
	for _, u := range inv.all {
		if u.part != nil {
			size -= u.Size // which is below the root's other directories
		}
	}
	// Directories whose content is accounted for, and what else is in them.
	blobs := filepath.Join(s.root, contentDir, "blobs")
	snapshots := s.snapshotDir("")
	size += sizeOfDir(s.root) + sizeOfDir(filepath.Dir(blobs)) + sizeOfDir(blobs) + sizeOfDir(filepath.Dir(snapshots)) + sizeOfDir(snapshots)
	algorithms, err := os.ReadDir(blobs)
	if ifThere(err) != nil {
		return 0, err
	}
	for _, a := range algorithms {
		size += sizeOfDir(filepath.Join(blobs, a.Name()))
	}
	known := map[string]bool{blobs: true, snapshots: true}
	rest := []string{s.root, filepath.Dir(blobs), filepath.Dir(snapshots)}
	for _, dir := range rest {
		known[dir] = true
	}
	for _, dir := range rest {
		n, err := restOf(ctx, dir, func(path string) bool { return known[path] })
		if err != nil {
			return 0, err
		}
		size += n
	}
	counted := s.countedDirs(inv)
	n, err := restOf(ctx, snapshots, func(path string) bool { return counted[filepath.Base(path)] })
	return size + n, err
}

// countedDirs are the directories of snapshots that records have.
func (s *Store) countedDirs(inv *inventory) map[string]bool {
	counted := map[string]bool{}
	for key, dir := range s.back.places.byKey() {
		if _, of := inv.dirs[key]; !of {
			counted[dir] = true
		}
	}
	return counted
}

// restOf is what the entries of a directory take, but for those that are known.
func restOf(ctx context.Context, dir string, known func(path string) bool) (size int64, _ error) {
	entries, err := os.ReadDir(dir)
	if ifThere(err) != nil {
		return 0, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if known(path) {
			continue
		}
		m, err := measure(ctx, path)
		if err != nil {
			return 0, err
		}
		size += m.size
	}
	return size, nil
}
