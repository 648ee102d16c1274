package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/snapshot"
)

// maxChain is of how many directories a tree is at most that others are made upon.
// The kernel mounts 500 (OVL_MAX_STACK of its fs/overlayfs), but takes one page of
// options, 4096 bytes: a directory has up to eleven there, once there were a million
// snapshots, and what is written to has its whole path besides.
const maxChain = 250

// base returns the key of the snapshot that others are made on top of a record's tree:
// that of the tree, unless it is of as many directories as can be. Then it is one of
// the same files in a single directory, as hard links, which is made when it is first
// needed. So a chain can be of any length. The record is held by the caller.
func (s *Store) base(ctx context.Context, rec *record) (string, error) {
	key, err := s.tree(ctx, rec)
	// What merges put on top of what they are made of is in the factor.
	if err != nil || s.back.name != overlayName || 2*rec.layers < maxChain {
		return key, err
	}
	if flat := s.flatOf(rec); flat != "" {
		return flat, nil
	}
	n, err := s.back.chainLength(ctx, key)
	if err != nil || n < maxChain {
		return key, err
	}
	return s.trees.Do(ctx, "flat "+rec.id, func(ctx context.Context) (string, error) {
		if flat := s.flatOf(rec); flat != "" {
			return flat, nil
		}
		return s.flatten(ctx, rec, key)
	})
}

// flatOf returns what flatten has made for a record; "" if it has not.
func (s *Store) flatOf(rec *record) string {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return rec.facts.Flat
}

// chainLength is of how many directories a snapshot is, as far as maxChain.
func (b *backend) chainLength(ctx context.Context, key string) (n int, err error) {
	for ; key != "" && n < maxChain; n++ {
		info, err := b.snaps.Stat(ctx, key)
		if err != nil {
			return 0, fmt.Errorf("snapshot %s: %w", key, err)
		}
		key = info.Parent
	}
	return n, nil
}

// flatten makes a snapshot without a parent of the files of another, which is a
// record's and has one.
func (s *Store) flatten(ctx context.Context, rec *record, key string) (_ string, err error) {
	ctx, release, err := s.WithLease(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()
	flat := "flat-" + identity.NewID()
	// What leads from nothing to the tree, which no layer of it does.
	err = s.back.snaps.Merge(ctx, flat, []snapshot.Diff{{Upper: key}})
	if err == nil {
		err = s.adopt(ctx, rec, flat, func(f *facts) { f.Flat, f.Size = flat, nil })
	}
	if err != nil {
		s.garbage.Add(1)
		return "", fmt.Errorf("tree %s of %d layers cannot be made one: %w", rec.id, rec.layers, err)
	}
	return flat, nil
}

// lowerOf returns the snapshot that the upper one of a piece was made on, if it was,
// and so differs from in one directory: that of the lower record, or its flat one.
func (s *Store) lowerOf(ctx context.Context, p piece) (string, error) {
	if p.lower == nil {
		return "", nil
	}
	if flat := s.flatOf(p.lower); flat != "" && p.upper != nil && p.upper.parent() == p.lower {
		if key := s.snapshotOf(p.upper); key != "" {
			info, err := s.back.snaps.Stat(ctx, key)
			if err != nil {
				return "", fmt.Errorf("snapshot %s: %w", key, err)
			}
			if info.Parent == flat {
				return flat, nil
			}
		}
	}
	return s.tree(ctx, p.lower)
}
