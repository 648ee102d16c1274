package store

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/identity"
)

// Merge returns what refs add to one another, in this order: LLB's operation of
// this name. Refs are borrowed, and a nil one adds nothing. The result is the
// caller's; of one ref it is another handle of that, of none it is nil. Nothing is
// fetched or made until the tree is needed.
func (s *Store) Merge(ctx context.Context, refs []*Ref, opt NewOptions) (*Ref, error) {
	var parts []*record
	var last *Ref
	for _, r := range refs {
		rec, err := r.use()
		if err != nil {
			return nil, err
		}
		if rec != nil {
			parts = append(parts, rec)
			last = r
		}
	}
	if len(parts) < 2 {
		return last.Clone(), nil
	}
	return s.derive(ctx, opt, kindMerge, parts)
}

// Diff returns what has to be done to lower to get upper, as a tree: LLB's
// operation of this name. Both are borrowed, either may be nil. The result is the
// caller's. Nothing is fetched or made until the tree is needed.
func (s *Store) Diff(ctx context.Context, lower, upper *Ref, opt NewOptions) (*Ref, error) {
	low, err := lower.use()
	if err != nil {
		return nil, err
	}
	up, err := upper.use()
	if err != nil {
		return nil, err
	}
	switch {
	case low == up:
		return nil, nil
	case low == nil:
		return upper.Clone(), nil
	}
	return s.derive(ctx, opt, kindDiff, []*record{low, up})
}

// maxLayers bounds what merges of merges can add up to.
const maxLayers = 1000

// derive makes a record of others, which are held by the caller.
func (s *Store) derive(ctx context.Context, opt NewOptions, k kind, parents []*record) (*Ref, error) {
	rec := &record{id: identity.NewID(), parents: parents, facts: opt.facts(k, parents...)}
	if n := rec.countLayers(); n > maxLayers {
		return nil, fmt.Errorf("%s: the tree would have %d layers, and can have %d: copy what is needed of its parts instead", k, n, maxLayers)
	}
	s.chains.Lock() // so that it is not pruned before it is held
	defer s.chains.Unlock()
	if err := s.create(s.Context(ctx), rec); err != nil {
		return nil, err
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return s.newRef(rec), nil
}
