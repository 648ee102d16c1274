package store

import (
	"context"
	"errors"
	"sync"

	"github.com/tenonbuild/tenon/solver"
)

// exportingKey is the key of a context's *looked.
type exportingKey struct{}

// looked is what was found of records. Trees of a chain are made of the same records: who
// exports them all would ask about each of them as often as there are trees.
type looked struct {
	mu sync.Mutex // guards what follows
	// there has nil for records whose trees can be had, and why not for others.
	there map[*record]error
	// blobs says of which records all layers have blobs.
	blobs map[*record]bool
}

// Exporting is a context for an export: what was asked about a tree with it is not asked again
// for trees that are made upon that one. Results.LoadRemote then gives no descriptors: the
// Provider of the Remote is a TreeProvider, which knows the tree.
func Exporting(ctx context.Context) context.Context {
	if lookedOf(ctx) != nil {
		return ctx
	}
	return context.WithValue(ctx, exportingKey{}, &looked{there: map[*record]error{}, blobs: map[*record]bool{}})
}

func lookedOf(ctx context.Context) *looked {
	l, _ := ctx.Value(exportingKey{}).(*looked)
	return l
}

// reachable returns an error, solver.ErrNotFound, if a tree cannot be had: it, or what it
// is made of, is gone from the disk, or needs a blob of which is not known where it is.
// It looks at each record once.
func (s *Store) reachable(ctx context.Context, rec *record) error {
	l := lookedOf(ctx)
	if l == nil {
		l = &looked{there: map[*record]error{}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx = s.Context(ctx)
	return below(rec, l.there, func(r *record) error {
		for _, p := range r.parents {
			if p != nil && l.there[p] != nil {
				return l.there[p]
			}
		}
		return s.available(ctx, r)
	})
}

// below finds something out about a record, and before that about its parents, and so on,
// each once.
func below[T any](rec *record, known map[*record]T, find func(*record) T) T {
	todo := []*record{rec}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		n := len(todo)
		if _, done := known[r]; !done {
			for _, p := range r.parents {
				if _, done := known[p]; !done && p != nil {
					todo = append(todo, p)
				}
			}
			if len(todo) > n {
				continue
			}
			known[r] = find(r)
		}
		todo = todo[:n-1]
	}
	return known[rec]
}

// transferable says whether there are blobs of all layers of a tree.
func (s *Store) transferable(ctx context.Context, rec *record) bool {
	l := lookedOf(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx = s.Context(ctx)
	return below(rec, l.blobs, func(r *record) bool { return s.hasBlobs(ctx, r, l.blobs) })
}

// hasBlobs says it of a record of whose parents it is known.
func (s *Store) hasBlobs(ctx context.Context, r *record, known map[*record]bool) bool {
	if r.facts.Kind == kindDiff {
		// Its layers are not those of its parents, or some of them.
		_, _, err := s.existingLayers(ctx, r)
		return err == nil
	}
	for _, p := range r.parents {
		if p != nil && !known[p] {
			return false
		}
	}
	if r.facts.Kind == kindMerge {
		return true
	}
	_, ok := s.existing(ctx, r, LayerOptions{}.orDefault())
	return ok
}

// loadRemote is LoadRemote for an export.
func (s *Store) loadRemote(ctx context.Context, id string) (_ *solver.Remote, err error) {
	ref, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ref.Release(context.WithoutCancel(ctx))) }()
	if !s.transferable(ctx, ref.rec) {
		return nil, nil
	}
	return &solver.Remote{Provider: storedTree{noBlobs{}, s, id}}, nil
}
