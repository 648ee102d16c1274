package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/buildkit/executor"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/solver"
)

// ErrReleased is what is said of a handle that is used, or released, after it was
// released.
var ErrReleased = errors.New("handle was released before")

// Ref is a handle of an immutable tree of files: a counted hold. It has one owner,
// who releases it once; whoever is passed one borrows it. Its methods may be called
// concurrently, but not after Release.
//
// A nil *Ref is the empty tree. All methods accept it.
type Ref struct {
	s   *Store
	rec *record
	// released is guarded by the index's lock.
	released bool
	// looks says that the tree is only looked at: see Look.
	looks bool
}

// newRef takes a hold of a record. The caller has the index's lock.
func (s *Store) newRef(rec *record) *Ref {
	s.index.hold(rec)
	return &Ref{s: s, rec: rec}
}

// another takes a hold of a record as the handle has one of its own. The caller has the
// index's lock.
func (r *Ref) another(rec *record) *Ref {
	if r.looks {
		return r.s.lookAt(rec)
	}
	return r.s.newRef(rec)
}

// use returns the record of a handle, nil for the empty tree.
func (r *Ref) use() (*record, error) {
	if r == nil {
		return nil, nil
	}
	r.s.index.mu.Lock()
	defer r.s.index.mu.Unlock()
	if r.released {
		return nil, fmt.Errorf("tree %s: %w", r.rec.id, ErrReleased)
	}
	return r.rec, nil
}

// EmptyID is the ID of the empty tree.
const EmptyID = "empty"

// ID names the tree. It is the same in all processes, for as long as the tree is
// kept. That of the empty tree is "empty".
func (r *Ref) ID() string {
	if r == nil {
		return EmptyID
	}
	return r.rec.id
}

// Clone returns another handle of the tree, which is the caller's. Of a handle
// that was released it returns one that is released, too.
func (r *Ref) Clone() *Ref {
	if r == nil {
		return nil
	}
	r.s.index.mu.Lock()
	defer r.s.index.mu.Unlock()
	if r.released {
		return &Ref{s: r.s, rec: r.rec, released: true, looks: r.looks}
	}
	return r.another(r.rec)
}

// Release gives the handle back. The second time is an error, ErrReleased. The
// tree stays in the store until Prune takes it.
func (r *Ref) Release(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.s.index.mu.Lock()
	if r.released {
		r.s.index.mu.Unlock()
		return fmt.Errorf("tree %s: %w", r.rec.id, ErrReleased)
	}
	r.released = true
	idle := r.s.index.unhold(r.rec, !r.looks)
	r.s.index.mu.Unlock()
	return r.s.dropViews(ctx, idle)
}

// Description is what NewOptions said; "" for the empty tree.
func (r *Ref) Description() string {
	if r == nil {
		return ""
	}
	return r.rec.facts.Description
}

// CreatedAt is what NewOptions said; the zero time for the empty tree.
func (r *Ref) CreatedAt() time.Time {
	if r == nil {
		return time.Time{}
	}
	return r.rec.facts.CreatedAt
}

// TimesCount is what NewOptions said; false for the empty tree.
func (r *Ref) TimesCount() bool { return r != nil && r.rec.facts.TimesCount }

// Size is how many bytes the tree takes on the disk beside those of its parents.
// What has not been needed yet takes none. Files that it shares with other trees are
// counted: see Linker.
func (r *Ref) Size(ctx context.Context) (int64, error) {
	rec, err := r.use()
	if err != nil || rec == nil {
		return 0, err
	}
	return r.s.sizeOf(ctx, rec, r.s.back.places.byKey())
}

// Mount returns how to mount the tree, read-only: readonly=false is an error. What
// is missing is fetched and unpacked first. The handle must be kept for as long
// as it is mounted. It implements executor.Mountable.
func (r *Ref) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	rec, err := r.use()
	if err != nil {
		return nil, err
	}
	if !readonly {
		return nil, fmt.Errorf("tree %s cannot be mounted for writing: make a new one on top of it", r.ID())
	}
	if rec == nil {
		return emptyMountable, nil
	}
	if err := r.here(); err != nil {
		return nil, err
	}
	ctx = r.s.Context(ctx)
	key, err := r.s.tree(ctx, rec)
	if err != nil {
		return nil, err
	}
	return r.s.readonly(ctx, rec, key)
}

// ExtractAll makes the trees of results ready to be mounted: see Extract.
func ExtractAll(ctx context.Context, results []solver.Result) error {
	eg, ctx := errgroup.WithContext(ctx)
	for _, r := range results {
		ref, err := RefOf(r)
		if err != nil {
			return err
		}
		eg.Go(func() error { return ref.Extract(ctx) })
	}
	return eg.Wait()
}

// Extract makes the tree ready to be mounted: it fetches and unpacks what is
// missing. Progress is reported to solver.ProgressFrom(ctx).
func (r *Ref) Extract(ctx context.Context) error {
	rec, err := r.use()
	if err != nil || rec == nil {
		return err
	}
	if err := r.here(); err != nil {
		return err
	}
	_, err = r.s.tree(r.s.Context(ctx), rec)
	return err
}
