package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	cfs "github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/sysx"
	"github.com/moby/buildkit/util/overlay"
	"golang.org/x/sys/unix"
)

// writeTar writes what leads from lower to upper, which is mounted at root, as a
// layer's archive. It says whether unpacking that makes the same tree: an archive has no
// sockets, and nothing of the root itself.
func (s *Store) writeTar(ctx context.Context, w io.Writer, p piece, lower, upper []mount.Mount, root string) (exact bool, err error) {
	exact = true
	err = s.mounted(lower, func(base string) error {
		cw := archive.NewChangeWriter(w, root)
		written := map[string]bool{}
		change := func(k cfs.ChangeKind, path string, fi os.FileInfo, err error) error {
			if k == cfs.ChangeKindAdd || k == cfs.ChangeKindModify {
				if strings.HasPrefix(filepath.Base(path), whiteoutPrefix) {
					return fmt.Errorf("%s cannot be in a layer, where the name stands for a deleted file: give it another name, or export with type=local or type=tar", path)
				}
				exact = exact && fi.Mode()&fs.ModeSocket == 0
			}
			if k != cfs.ChangeKindUnmodified {
				written[path] = true
			}
			return cw.HandleChange(k, path, fi, errors.Join(err, ctx.Err()))
		}
		changed := s.changedIn(p, lower, upper, root)
		var err error
		if changed == root {
			err = cfs.Changes(ctx, base, root, change)
		} else {
			err = overlay.Changes(ctx, change, changed, root, base)
		}
		if err == nil {
			u := unseen{changed: changed, root: root, base: base, written: written}
			err = u.changes(ctx, change)
		}
		if len(lower) == 0 {
			base = "" // is a directory for that purpose
		}
		same, rootErr := sameRoot(base, root)
		exact = exact && same
		return errors.Join(err, rootErr, cw.Close())
	})
	return exact, err
}

// changedIn returns the directory that has what was changed of a piece, and maybe more:
// the upper directory of an overlay, if it is that, and else root.
func (s *Store) changedIn(p piece, lower, upper []mount.Mount, root string) string {
	if p.rec.facts.Kind != kindDiff && s.back.name == overlayName {
		if dir, err := overlay.GetUpperdir(lower, upper); err == nil {
			return dir
		}
	}
	return root
}

// unseen finds what the differs do not see. They go by times: a file that has the
// size and, to the nanosecond, the time that it had before is the same to them.
type unseen struct {
	// changed is where to look: root, or the part of it that can differ from base.
	changed, root, base string
	written             map[string]bool // what the differs have seen
	// sameTime leaves out files of another size or time, which the differs see, where
	// it is not known what they have seen.
	sameTime bool
}

// changes finds the files of which only the extended attributes, or the bytes, differ
// from those of base.
func (u *unseen) changes(ctx context.Context, change cfs.ChangeFunc) error {
	return filepath.WalkDir(u.changed, func(path string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil || path == u.changed {
			return err
		}
		name := strings.TrimPrefix(path, u.changed)
		if u.written[name] {
			return nil
		}
		before, err := os.Lstat(filepath.Join(u.base, name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return nil
		}
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil || fi.Mode().Type() != before.Mode().Type() {
			return err
		}
		if u.sameTime && (fi.Size() != before.Size() || !fi.ModTime().Equal(before.ModTime())) {
			return nil
		}
		same, err := u.same(ctx, name, before, fi)
		if err != nil || same {
			return err
		}
		return change(cfs.ChangeKindModify, name, fi, nil)
	})
}

// same says whether a path is the same in base and root.
func (u *unseen) same(ctx context.Context, name string, before, after fs.FileInfo) (bool, error) {
	a, err := xattrs(filepath.Join(u.base, name))
	if err != nil {
		return false, err
	}
	b, err := xattrs(filepath.Join(u.root, name))
	if err != nil || !maps.Equal(a, b) {
		return false, err
	}
	if sameInode(before, after) {
		return true, nil
	}
	switch after.Mode().Type() {
	case 0:
		if before.Size() != after.Size() {
			return false, nil
		}
		return sameBytes(ctx, filepath.Join(u.base, name), filepath.Join(u.changed, name), after.Size())
	case fs.ModeSymlink:
		was, err := os.Readlink(filepath.Join(u.base, name))
		if err != nil {
			return false, err
		}
		is, err := os.Readlink(filepath.Join(u.changed, name))
		return was == is, err
	}
	return true, nil
}

// sameInode says whether two files are known to be one. In two overlays a file of a
// layer that they share has another device, and the same number: all layers are on one
// file system. The time of change makes sure that nothing else has the number by now.
func sameInode(one, other fs.FileInfo) bool {
	a, ok := one.Sys().(*syscall.Stat_t)
	b, ok2 := other.Sys().(*syscall.Stat_t)
	return ok && ok2 && a.Ino == b.Ino && a.Size == b.Size && a.Ctim == b.Ctim && a.Mtim == b.Mtim
}

// sameBytes compares two files of one size.
func sameBytes(ctx context.Context, one, other string, size int64) (same bool, err error) {
	a, err := os.Open(one)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	chunk := min(size+1, 64<<10) // one more, to see the end
	bufA, bufB := make([]byte, chunk), make([]byte, chunk)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		ended := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
		if ended(errA) && ended(errB) {
			return true, nil
		}
		if err := errors.Join(errA, errB, ctx.Err()); err != nil {
			return false, err
		}
	}
}

// addXattrs adds the extended attributes of a file to its header. Links and
// whiteouts have none.
func addXattrs(h *tar.Header, root string) error {
	if h.Typeflag == tar.TypeLink || strings.HasPrefix(filepath.Base(h.Name), ".wh.") {
		return nil
	}
	found, err := xattrs(filepath.Join(root, h.Name))
	if err != nil {
		return err
	}
	for name, v := range found {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = v
		h.Format = tar.FormatPAX
	}
	return nil
}

// xattrs are the extended attributes of a file that are its own.
func xattrs(path string) (map[string]string, error) {
	names, err := sysx.LListxattr(path)
	if errors.Is(err, sysx.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("extended attributes of %s: %w", path, err)
	}
	out := map[string]string{}
	for _, name := range names {
		if !KeepsXattr(name) {
			continue
		}
		v, err := sysx.LGetxattr(path, name)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s of %s: %w", name, path, err)
		}
		out[name] = string(v)
	}
	return out, nil
}
