package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/snapshot"
	bolt "go.etcd.io/bbolt"
)

// snapshotOf returns the key of a record's snapshot, "" if there is none yet.
func (s *Store) snapshotOf(rec *record) string {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return rec.facts.Snapshot
}

// tree returns the key of a record's snapshot, which it makes first if it has to.
// Concurrent calls do that once. The record is held by the caller.
func (s *Store) tree(ctx context.Context, rec *record) (string, error) {
	// What has to be made first, from the bottom of a chain up.
	var chain []*record
	for r := rec; r != nil; r = r.parent() {
		key, err := s.ready(ctx, r)
		if err != nil {
			return "", err
		}
		if key != "" && r == rec {
			return key, nil
		}
		if key != "" {
			break
		}
		chain = append(chain, r)
		if r.facts.Kind != kindLayer {
			break
		}
	}
	if rec.facts.Kind == kindLayer {
		return s.unpackChain(ctx, chain)
	}
	return s.trees.Do(ctx, rec.id, func(ctx context.Context) (string, error) {
		if key := s.snapshotOf(rec); key != "" {
			return key, nil
		}
		return s.lay(ctx, rec)
	})
}

// lay makes the snapshot of a merge or a diff.
func (s *Store) lay(ctx context.Context, rec *record) (_ string, err error) {
	ctx, release, err := s.WithLease(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()
	diffs, err := s.diffs(ctx, rec)
	if err != nil {
		return "", err
	}
	// A name of its own: what an earlier attempt has left is in nobody's way.
	key := "merged-" + identity.NewID()
	err = s.back.snaps.Merge(ctx, key, diffs)
	if err == nil {
		err = s.adopt(ctx, rec, key, isTree(key))
	}
	if err != nil {
		s.garbage.Add(1)
		return "", fmt.Errorf("%s of trees: %w", rec.facts.Kind, err)
	}
	return key, nil
}

// diffs are what the tree of a merge or a diff is made of, the lowest first. The lease
// of ctx holds what is made for that alone.
func (s *Store) diffs(ctx context.Context, rec *record) (diffs []snapshot.Diff, err error) {
	var below *record
	onTop := true // each so far was made on the one before
	for _, p := range pieces(rec) {
		var d snapshot.Diff
		if p.upper != nil {
			if d.Upper, err = s.tree(ctx, p.upper); err != nil {
				return nil, err
			}
		}
		if d.Lower, err = s.lowerOf(ctx, p); err != nil {
			return nil, err
		}
		onTop = onTop && p.lower == below
		below = p.upper
		if onTop && p.lower != nil && d.Lower == s.flatOf(p.lower) {
			// It is all that comes before, and what the merge can be made upon.
			diffs = []snapshot.Diff{{Upper: d.Lower}}
		}
		diffs = append(diffs, d)
		if onTop && s.back.name == overlayName && p.rec.facts.Kind != kindDiff {
			continue // the merge is made upon it as it is
		}
		more, err := s.unseenTree(ctx, p, d)
		if err != nil {
			return nil, fmt.Errorf("%s of trees: %w", rec.facts.Kind, err)
		}
		if more != "" {
			diffs = append(diffs, snapshot.Diff{Upper: more})
		}
	}
	return diffs, nil
}

// isTree makes a snapshot the tree of a record.
func isTree(key string) func(*facts) {
	return func(f *facts) { f.Snapshot, f.Size = key, nil }
}

// adopt gives a snapshot, which another lease holds so far, to a record, as set notes:
// in one transaction, so that the record's lease has nothing that the record does not
// know.
func (s *Store) adopt(ctx context.Context, rec *record, key string, set func(*facts)) error {
	err := s.update(ctx, func(ctx context.Context, top *bolt.Bucket) error {
		if err := s.back.leases.AddResource(ctx, leases.Lease{ID: rec.id}, s.back.leased(key)); err != nil {
			return err
		}
		s.index.mu.Lock()
		f := rec.facts
		s.index.mu.Unlock()
		set(&f)
		return putFacts(top, rec.id, f)
	})
	if err != nil {
		return fmt.Errorf("lease of tree %s: %w", rec.id, err)
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	set(&rec.facts)
	s.index.markDirty(rec) // what was written meanwhile did not know it
	return nil
}
