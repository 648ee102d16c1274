package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/tenonbuild/tenon/solver"
)

// result is a Ref as a solver.Result.
type result struct{ ref *Ref }

// NewResult makes a solver.Result of a Ref, which becomes the result's. Its Sys is
// the *Ref, possibly nil.
func NewResult(r *Ref) solver.Result { return &result{r} }

func (r *result) ID() string                        { return r.ref.ID() }
func (r *result) Release(ctx context.Context) error { return r.ref.Release(ctx) }
func (r *result) Sys() any                          { return r.ref }

// RefOf returns the Ref of a result that was made by NewResult, borrowed from it.
func RefOf(r solver.Result) (*Ref, error) {
	if r == nil {
		return nil, fmt.Errorf("there is no result")
	}
	ref, ok := r.Sys().(*Ref)
	if !ok {
		return nil, fmt.Errorf("result %s is a %T, not a tree of this store", r.ID(), r.Sys())
	}
	return ref, nil
}

// results is the store as a solver.CacheResultStorage. A result's ID is its
// record's. A record is on the disk before anybody has a Ref of it, so that there
// is nothing left to be written when it is saved.
type results struct{ s *Store }

// Results is the result storage of the cache whose keys are CacheKeys: its results
// are those of NewResult. What is saved stays until Prune takes it. A tree whose
// layers have not been fetched, and of which nobody has said in this process where
// from, does not exist until FromLayers says so.
func (s *Store) Results() solver.CacheResultStorage { return results{s} }

func (x results) Save(r solver.Result) (solver.CacheResult, error) {
	ref, err := RefOf(r)
	if err != nil {
		return solver.CacheResult{}, err
	}
	rec, err := ref.use()
	if err != nil {
		return solver.CacheResult{}, err
	}
	if rec == nil {
		return solver.CacheResult{ID: EmptyID, CreatedAt: time.Now()}, nil
	}
	return solver.CacheResult{ID: rec.id, CreatedAt: rec.facts.CreatedAt}, nil
}

func (x results) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	if res.ID == EmptyID {
		return NewResult(nil), nil
	}
	ref, err := x.s.Get(ctx, res.ID)
	if err != nil {
		return nil, err
	}
	return NewResult(ref), nil
}

// OfKeys returns a handle of a record that one of some keys of the cache leads to, which is the
// caller's. The error is solver.ErrNotFound if there is none that can be used.
func (s *Store) OfKeys(ctx context.Context, keys []string) (ref *Ref, err error) {
	var ids []string
	for _, key := range keys {
		err := s.keys.WalkResults(key, func(r solver.CacheResult) error {
			ids = append(ids, r.ID)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	err = fmt.Errorf("no tree of these keys: %w", solver.ErrNotFound)
	for _, id := range ids {
		if id == EmptyID {
			return nil, nil
		}
		if ref, err = s.Get(ctx, id); err == nil {
			return ref, nil
		}
	}
	return nil, err
}

// Get returns a handle of the record of an ID, which is the caller's. The error is
// solver.ErrNotFound if there is none, or if it cannot be used: see Results.
func (s *Store) Get(ctx context.Context, id string) (*Ref, error) {
	return s.handle(ctx, id, s.newRef)
}

// handle makes a handle of the record of an ID.
func (s *Store) handle(ctx context.Context, id string, of func(*record) *Ref) (*Ref, error) {
	s.index.mu.Lock()
	rec := s.index.records[id]
	if rec == nil || rec.facts.Kind == kindCacheMount {
		s.index.mu.Unlock()
		return nil, fmt.Errorf("tree %q: %w", id, solver.ErrNotFound)
	}
	ref := of(rec)
	s.index.mu.Unlock()
	if err := s.reachable(ctx, rec); err != nil {
		return nil, errors.Join(err, ref.Release(ctx))
	}
	return ref, nil
}

func (x results) LoadRemote(ctx context.Context, res solver.CacheResult) (*solver.Remote, error) {
	if res.ID == EmptyID {
		return nil, nil
	}
	if lookedOf(ctx) != nil {
		return x.s.loadRemote(ctx, res.ID)
	}
	ref, err := x.s.Get(ctx, res.ID)
	if err != nil {
		return nil, err
	}
	descs, provider, err := x.s.existingLayers(x.s.Context(ctx), ref.rec)
	if err := ref.Release(ctx); err != nil {
		return nil, err
	}
	if errors.Is(err, errNoBlob) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &solver.Remote{Descriptors: descs, Provider: storedTree{provider, x.s, res.ID}}, nil
}

func (x results) Exists(id string) bool {
	if id == EmptyID {
		return true
	}
	x.s.index.mu.Lock()
	rec := x.s.index.records[id]
	x.s.index.mu.Unlock()
	return rec != nil && rec.facts.Kind != kindCacheMount && x.s.reachable(context.Background(), rec) == nil
}

// available returns an error, solver.ErrNotFound, if what a record adds to its parents cannot be
// had.
func (s *Store) available(ctx context.Context, r *record) error {
	if err := s.snapshotThere(ctx, r); err != nil {
		return err
	}
	if r.facts.Kind == kindLayer && len(s.blobsThere(ctx, r)) == 0 {
		desc, _ := s.source(r)
		return fmt.Errorf("tree %q needs the layer %s, which is not here: %w", r.id, desc.Digest, solver.ErrNotFound)
	}
	return nil
}

// snapshotThere returns an error, solver.ErrNotFound, if a record is lost. If it is seen
// only now that its snapshot is gone from the disk, the record is lost from now on, as is
// all that was made upon it, but for what can be made again.
func (s *Store) snapshotThere(ctx context.Context, r *record) error {
	s.index.mu.Lock()
	key, dir, lost := r.facts.Snapshot, r.dir, r.lost
	s.index.mu.Unlock()
	if lost {
		return fmt.Errorf("tree %q is gone from the disk: %w", r.id, solver.ErrNotFound)
	}
	if key == "" || s.back.name != overlayName { // others do not say where it is
		return nil
	}
	if dir == "" {
		info, err := s.back.snaps.Stat(ctx, key)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if dir = info.Labels[upperdirLabel]; dir != "" {
			s.index.mu.Lock()
			if r.facts.Snapshot == key {
				r.dir = dir
			}
			s.index.mu.Unlock()
		}
	}
	if fi, err := os.Lstat(dir); err == nil && fi.IsDir() {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if s.index.lose(r); r.lost {
		return fmt.Errorf("tree %q is gone from the disk: %w", r.id, solver.ErrNotFound)
	}
	return nil
}
