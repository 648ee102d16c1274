package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Origin is how a tree came about, for who names trees by what is in them.
type Origin struct {
	// Layers is the chain ID of the image's layers that the tree is; "" if it is none.
	Layers digest.Digest
	// Written says that the tree was written on Upon, which is nil for the empty tree:
	// Ref.Written tells what.
	Written bool
	Upon    *Ref
	// Merged are the trees that add up to it, in this order.
	Merged []*Ref
	// Different says that it is the difference of two trees, of so many layers.
	Different int
}

// Origin returns how the tree came about. Of the empty tree, and of a cache mount, it
// is the zero Origin. The handles in it are the caller's: see Release.
func (r *Ref) Origin() (o Origin, err error) {
	rec, err := r.use()
	if err != nil || rec == nil {
		return o, err
	}
	r.s.index.mu.Lock()
	defer r.s.index.mu.Unlock()
	switch rec.facts.Kind {
	case kindLayer:
		o.Layers = digest.NewDigestFromEncoded(digest.Canonical, rec.id)
	case kindCommitted:
		o.Written = true
		if p := rec.parent(); p != nil {
			o.Upon = r.another(p)
		}
	case kindMerge:
		for _, p := range rec.parents {
			o.Merged = append(o.Merged, r.another(p))
		}
	case kindDiff:
		o.Different = len(pieces(rec))
	}
	return o, nil
}

// Release gives the handles back.
func (o Origin) Release(ctx context.Context) error {
	err := o.Upon.Release(ctx)
	for _, r := range o.Merged {
		err = errors.Join(err, r.Release(ctx))
	}
	return err
}

// Content returns a digest of what is in the tree, as compute said when it was first
// called; "" if it was not, and compute is nil. The digest stays with the record, unless
// the process is killed soon. Calls for one tree compute once. The empty tree keeps none.
func (r *Ref) Content(ctx context.Context, compute func(context.Context) (digest.Digest, error)) (digest.Digest, error) {
	rec, err := r.use()
	if err != nil {
		return "", err
	}
	if rec == nil {
		if compute == nil {
			return "", nil
		}
		return compute(ctx)
	}
	if r.looks && compute != nil {
		if d, err := r.Content(ctx, nil); d != "" || err != nil {
			return d, err
		}
		return compute(ctx)
	}
	kept := func() digest.Digest {
		r.s.index.mu.Lock()
		defer r.s.index.mu.Unlock()
		return rec.facts.Content
	}
	if d := kept(); d != "" || compute == nil {
		return d, nil
	}
	return r.s.known.Do(ctx, rec.id, func(ctx context.Context) (digest.Digest, error) {
		if d := kept(); d != "" {
			return d, nil
		}
		d, err := compute(ctx)
		if err == nil {
			err = d.Validate()
		}
		if err != nil {
			return "", err
		}
		r.s.index.mu.Lock()
		defer r.s.index.mu.Unlock()
		rec.facts.Content = d
		r.s.index.markDirty(rec)
		return d, nil
	})
}

// Written is what a tree adds to the one that it was made on.
type Written struct {
	// Dir has what was written. It is the whole tree, or else the upper directory of an
	// overlay: what is not there is as it was, and what was deleted has a device 0:0.
	Dir   string
	Whole bool
	// Base is the tree that it was made on; "" for the empty tree.
	Base string
	// UserNotes says that the overlay has its notes in attributes of users. See IsNote.
	UserNotes bool
}

// IsNote says whether an extended attribute is one by which overlayfs does its work, and
// which no step sees.
func (w Written) IsNote(xattr string) (name string, is bool) {
	prefixes := overlayNotes[:1]
	if w.UserNotes {
		prefixes = overlayNotes[:2]
	}
	for _, p := range prefixes {
		if hasAnyPrefix(xattr, []string{p}) {
			return xattr[len(p):], true
		}
	}
	return "", false
}

// Written calls fn with what the tree adds to the one that it was made on; of one that
// was not written here, with all of it. Nothing in the directories may be changed, and they
// are there until fn returns. What is missing is fetched and unpacked first.
func (r *Ref) Written(ctx context.Context, fn func(Written) error) error {
	rec, err := r.use()
	if err != nil {
		return err
	}
	if rec == nil {
		return errors.New("nobody has written the empty tree")
	}
	if err := r.here(); err != nil {
		return err
	}
	s, ctx := r.s, r.s.Context(ctx)
	w := Written{UserNotes: s.back.userNotes()}
	if rec.facts.Kind == kindCommitted && rec.parent() != nil && s.back.name == overlayName {
		info, err := s.back.snaps.Stat(ctx, rec.facts.Snapshot)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", rec.facts.Snapshot, err)
		}
		if w.Dir = info.Labels[upperdirLabel]; w.Dir == "" {
			return fmt.Errorf("snapshot %s: the snapshotter does not say where it is", rec.facts.Snapshot)
		}
		return s.toRead(ctx, rec.parent(), func(dir string) error {
			w.Base = dir
			return fn(w)
		})
	}
	w.Whole = true
	return s.toRead(ctx, rec, func(dir string) error {
		w.Dir = dir
		if rec.facts.Kind != kindCommitted || rec.parent() == nil {
			return fn(w)
		}
		return s.toRead(ctx, rec.parent(), func(dir string) error {
			w.Base = dir
			return fn(w)
		})
	})
}

// toRead calls use with a folder that has the tree of a record, where it can be read. A
// tree that is one folder is read where it is. The record is held by the caller.
func (s *Store) toRead(ctx context.Context, rec *record, use func(dir string) error) (err error) {
	mounts, release, err := s.mountsOf(ctx, rec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if dir, ok := folder(mounts); ok {
		return use(dir)
	}
	return s.mounted(mounts, use)
}
