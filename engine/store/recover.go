package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/logstore"
)

// recover reads the records, and removes what has none: leases, and by that all
// they held, of trees that were being written. It looks at everything once. A record
// whose tree is not there any more goes, too, unless the tree can be made again.
func (s *Store) recover(ctx context.Context, m *mender) error {
	all, bad, err := readRecords(s.back.file)
	if err != nil {
		return err
	}
	var reset []string
	for id, f := range all {
		was := f
		if !f.settle(m.sound) {
			bad = append(bad, id)
			delete(all, id)
			continue
		}
		if f.Snapshot != was.Snapshot || f.Flat != was.Flat {
			all[id] = f
			reset = append(reset, id)
		}
	}
	bad = append(bad, s.index.load(all)...)
	lost := len(bad)
	for _, id := range reset {
		if r := s.index.records[id]; r != nil {
			s.index.markDirty(r) // nobody else has the index yet
		}
	}
	held, err := s.back.leases.List(ctx)
	if err != nil {
		return err
	}
	unheld := map[string]bool{}
	for id := range s.index.records {
		unheld[id] = true
	}
	died := false
	for _, l := range held {
		if _, ok := s.index.records[l.ID]; !ok {
			bad, died = append(bad, l.ID), true
		}
		delete(unheld, l.ID)
	}
	if err := s.erase(ctx, bad); err != nil {
		return err
	}
	if err := s.holdAgain(ctx, unheld, m.changed); err != nil {
		return err
	}
	if _, err := s.back.leases.Create(ctx, leases.WithID(s.run)); err != nil {
		return err
	}
	if lost > 0 {
		s.tell(fmt.Sprintf("%d of %d trees in %s are lost: what needs them is built again", lost, lost+len(s.index.records), s.root))
	}
	s.garbage.Add(int64(len(bad)))
	if err := s.collectGarbage(ctx); err != nil {
		return err
	}
	if !died && !m.changed && lost == 0 {
		return nil
	}
	return errors.Join(s.dropUnknownBlobs(ctx), s.dropDeadKeys(m.changed || lost > 0))
}

// settle takes out of a record what it has no more. It returns false if what is left is
// no record.
func (f *facts) settle(sound map[string]snapshots.Kind) bool {
	if f.Flat != "" && sound[f.Flat] != snapshots.KindCommitted {
		f.Flat, f.Size = "", nil
	}
	switch {
	case f.Snapshot == "":
		return true
	case f.Kind == kindCacheMount:
		return sound[f.Snapshot] == snapshots.KindActive
	case sound[f.Snapshot] == snapshots.KindCommitted:
		return true
	case f.Kind == kindCommitted:
		return false
	}
	f.Snapshot, f.Flat, f.Size = "", "", nil // it is made again when it is needed
	return true
}

// holdAgain gives records a lease that have lost theirs, and all of them what leases
// hold for them.
func (s *Store) holdAgain(ctx context.Context, unheld map[string]bool, all bool) error {
	for id, r := range s.index.records {
		if unheld[id] {
			if _, err := s.back.leases.Create(ctx, leases.WithID(id)); err != nil {
				return err
			}
		} else if !all {
			continue
		}
		var holds []leases.Resource
		for _, key := range []string{r.facts.Snapshot, r.facts.Flat} {
			if key != "" {
				holds = append(holds, s.back.leased(key))
			}
		}
		for _, b := range r.facts.Blobs {
			holds = append(holds, leases.Resource{ID: b.Descriptor.Digest.String(), Type: "content"})
		}
		for _, res := range holds {
			if err := s.back.leases.AddResource(ctx, leases.Lease{ID: id}, res); err != nil {
				return fmt.Errorf("lease of tree %s: %w", id, err)
			}
		}
	}
	return nil
}

// dropUnknownBlobs removes blobs from the disk that containerd's metadata does not
// know: those that were committed when a process died, and those whose entry is lost.
func (s *Store) dropUnknownBlobs(ctx context.Context) error {
	known := map[digest.Digest]bool{}
	err := s.back.meta.ContentStore().Walk(ctx, func(info content.Info) error {
		known[info.Digest] = true
		return nil
	})
	if err != nil {
		return err
	}
	if err := removeFolders(filepath.Join(s.root, contentDir, "blobs", "sha256")); err != nil {
		return err
	}
	err = s.back.blobs.Walk(ctx, func(info content.Info) error {
		if known[info.Digest] {
			return nil
		}
		if err := s.back.blobs.Delete(ctx, info.Digest); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	})
	return ifThere(err) // before the first blob there is no directory of them
}

// dropDeadKeys releases the results of the cache's keys that are no records any more.
func (s *Store) dropDeadKeys(some bool) error {
	if !some {
		return nil
	}
	dead := map[string]bool{}
	err := s.keys.Walk(func(id string) error {
		return s.keys.WalkResults(id, func(res solver.CacheResult) error {
			if res.ID != EmptyID && s.index.records[res.ID] == nil {
				dead[res.ID] = true
			}
			return nil
		})
	})
	if unusable(err) {
		return nil // they are put aside when they are closed
	}
	if err != nil {
		return fmt.Errorf("keys of the cache: %w", err)
	}
	for id := range dead {
		if err := s.keys.Release(id); err != nil && !unusable(err) {
			return fmt.Errorf("keys of record %s: %w", id, err)
		}
	}
	return nil
}

func (s *Store) keysFile() string { return filepath.Join(s.root, "cache.db") }

// openKeys opens the keys of the cache. They are only a cache: those that cannot be used
// are put aside.
func (s *Store) openKeys() (err error) {
	path := s.keysFile()
	if err := removePrefixed(s.root, filepath.Base(path)+".new-"); err != nil { // by a process that died
		return err
	}
	if fi, e := os.Lstat(path); e == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no regular file", logstore.ErrCorrupt)
	} else if s.keys, err = logstore.Open(path, s.keysOptions()); err == nil {
		var file *logstore.FileError
		switch {
		case !errors.As(s.keys.Damage(), &file):
		case file.Torn:
			s.tell(fmt.Sprintf("the end of the cache in %s is missing, as after a power cut. The rest of it is used", path))
		default:
			s.tell(fmt.Sprintf("the cache in %s is damaged: %s. The rest of it is used", path, file.Detail))
		}
		return nil
	}
	if !unusable(err) {
		return err
	}
	if err := s.keysAside(err); err != nil {
		return err
	}
	s.keys, err = logstore.Open(path, s.keysOptions())
	return err
}

// keysOptions have it told that the file keeps what nobody needs: that is no loss, but it grows.
func (s *Store) keysOptions() logstore.Options {
	return logstore.Options{Warn: func(err error) { s.tell(err.Error()) }}
}

// unusable says of an error of the keys' file that the file is what is wrong.
func unusable(err error) bool {
	return errors.Is(err, logstore.ErrCorrupt) || errors.Is(err, logstore.ErrVersion) || errors.Is(err, logstore.ErrForeign)
}

func (s *Store) keysAside(why error) error {
	aside, err := setAside(s.keysFile())
	if err != nil {
		return errors.Join(why, err)
	}
	var file *logstore.FileError
	if errors.As(why, &file) {
		why = fmt.Errorf("%w: %s", file.Kind, file.Detail)
	}
	s.tell(fmt.Sprintf("the cache in %s cannot be used (%v). It was moved to %s: what is built next is not found in it", s.keysFile(), why, aside))
	return nil
}

// closeKeys closes the keys of the cache. Damage that was met since they were opened
// fails nobody.
func (s *Store) closeKeys() error {
	err := s.keys.Close()
	if unusable(err) {
		return s.keysAside(err)
	}
	return err
}

// removePrefixed removes what is in a directory whose names begin so.
func removePrefixed(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
