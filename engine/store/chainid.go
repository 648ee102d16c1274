package store

import (
	"context"
	"errors"
	"os"
	"reflect"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/tenonbuild/tenon/solver"
	"golang.org/x/sys/unix"
)

// What was built here comes back as the base of another build: by its name, from a
// registry, or from a layout. Then its tree is there already, and is not written once
// more. A chain ID says which tree layers make; a record that was built gets its chain
// ID when its layers are made, if it is certain that unpacking them makes the same tree.
// The one difference is that the times of files have parts of seconds, which layers do
// not have.

// noteChains notes the chain IDs of records of which one was built upon the other, from the
// lowest on. Above a merge, a diff, or a layer that is not exact, there are none.
func (s *Store) noteChains(ctx context.Context, trees *forest) error {
	chains := make([]digest.Digest, len(trees.nodes)) // "": there is none
	for n, p := range trees.nodes {
		var chain digest.Digest
		var below *record
		if p.below >= 0 {
			if chain = chains[p.below]; chain == "" {
				continue
			}
			below = trees.nodes[p.below].rec
		}
		if p.lower != below || p.upper != p.rec {
			continue
		}
		if p.rec.facts.Kind == kindLayer {
			chains[n] = digest.NewDigestFromEncoded(digest.Canonical, p.rec.id)
			continue
		}
		diffID := s.exactDiffID(p.rec)
		switch {
		case diffID == "":
			continue
		case chain == "":
			chains[n] = diffID
		default:
			chains[n] = identity.ChainID([]digest.Digest{chain, diffID})
		}
		if err := s.noteChain(ctx, p.rec, chains[n]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) exactDiffID(rec *record) digest.Digest {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for _, b := range rec.facts.Blobs {
		if b.Exact {
			return b.diffID(rec)
		}
	}
	return ""
}

func (s *Store) noteChain(ctx context.Context, rec *record, chain digest.Digest) error {
	s.index.mu.Lock()
	known := rec.facts.Chain != ""
	s.index.mu.Unlock()
	if known {
		return nil
	}
	err := s.save(ctx, rec, func(f *facts) { f.Chain = chain })
	if err != nil {
		return err
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if s.index.records[rec.id] == rec {
		s.index.addChain(rec)
	}
	return nil
}

// ready returns the key of a record's snapshot, "" if there is none yet. A layer shares
// that of the same tree built here.
func (s *Store) ready(ctx context.Context, rec *record) (string, error) {
	s.index.mu.Lock()
	if key := rec.facts.Snapshot; key != "" || rec.facts.Kind != kindLayer {
		s.index.mu.Unlock()
		return key, nil
	}
	built := s.index.chains[digest.NewDigestFromEncoded(digest.Canonical, rec.id).String()]
	if built == nil || built.lost {
		s.index.mu.Unlock()
		return "", nil
	}
	ref, key := s.newRef(built), built.facts.Snapshot // which stays as long as the ref
	s.index.mu.Unlock()
	err := s.snapshotThere(ctx, built)
	if errors.Is(err, solver.ErrNotFound) {
		return "", ref.Release(context.WithoutCancel(ctx))
	}
	if err == nil {
		err = s.adopt(ctx, rec, key, isTree(key))
	}
	if err := errors.Join(err, ref.Release(context.WithoutCancel(ctx))); err != nil {
		return "", err
	}
	return key, nil
}

// sameRoot says whether the top of a tree, at root, is as it is in the tree below, at
// base, or as that of a new tree, if base is "".
func sameRoot(base, root string) (bool, error) {
	is, err := topOf(root)
	if err != nil || base == "" {
		return reflect.DeepEqual(is, top{mode: unix.S_IFDIR | 0o755, attrs: map[string]string{}}), err
	}
	was, err := topOf(base)
	return reflect.DeepEqual(is, was), err
}

// top is what the directory of a tree itself is.
type top struct {
	mode, uid, gid uint32
	attrs          map[string]string
}

func topOf(dir string) (top, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return top{}, &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	attrs, err := xattrs(dir)
	if attrs == nil {
		attrs = map[string]string{}
	}
	return top{mode: st.Mode, uid: st.Uid, gid: st.Gid, attrs: attrs}, err
}
