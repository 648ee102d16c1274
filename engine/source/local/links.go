package local

import (
	"context"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

// links makes files hard links to those of an earlier snapshot of a directory: see
// store.Linker, whose rules it keeps. A nil *links makes none.
type links struct {
	to *store.Linker
	// known is what the earlier snapshot is.
	known contenthash.Known
	// several are the files of the earlier snapshot that have several names there.
	several map[string]bool
}

// earlier finds the snapshot from which one of the same directory that is about to be
// written can take files. That is an improvement and no more: nil, if there is none,
// or if there is anything wrong with it.
func (s *Source) earlier(ctx context.Context, m *store.Mutable, dir string, w wanted) *links {
	for _, l := range s.lastOf(dir, w) {
		ref, err := s.opt.Store.Get(ctx, l.ID)
		if err != nil {
			continue // it was pruned
		}
		k, err := newLinks(ctx, m, ref, l.severalPaths())
		if rerr := ref.Release(context.WithoutCancel(ctx)); rerr != nil {
			warn(ctx, rerr)
		}
		if err == nil {
			return k
		}
	}
	return nil
}

// newLinks makes links to an earlier snapshot, which is borrowed.
func newLinks(ctx context.Context, m *store.Mutable, earlier *store.Ref, several map[string]bool) (*links, error) {
	to, err := m.LinkFrom(ctx, earlier)
	if err != nil {
		return nil, err
	}
	return &links{to: to, known: contenthash.Kept(earlier), several: several}, nil
}

// dir opens a directory of both trees; nil if there is none.
func (k *links) dir(path string) *store.LinkDir {
	if k == nil {
		return nil
	}
	return k.to.Dir(path)
}

// link links a file in a directory, if there is one that is equal at its path: of the same bytes,
// mode, owner and attributes by what is kept with the earlier snapshot, and with the
// same time of modification, and still as long, on the disk. The file must have one
// name in the tree that is written. Where it returns false, nothing was done.
func (k *links) link(d *store.LinkDir, f *found) bool {
	if d == nil || f.data != nil || k.several[f.path] {
		return false
	}
	e := &f.node.Entry
	if sum, ok := k.known.Sum(f.path); !ok || sum != e.Sum() {
		return false
	}
	return d.Link(f.node.Name, func(st *unix.Stat_t) bool {
		return st.Mode&^unix.S_IFMT == e.Mode && st.Uid == e.UID && st.Gid == e.GID && st.Size == e.Size && st.Mtim.Nano() == f.mtime
	})
}

func (k *links) close() error {
	if k == nil {
		return nil
	}
	return k.to.Close()
}
