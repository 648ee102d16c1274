package treediff

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Overlay is Dir of a mount of overlayfs. Own is the topmost of its folders: what two trees
// have on the same folders below it, and is in neither's own, is the same, and is not read.
func Overlay(path, own string, times bool) Tree {
	return &dir{root: path, path: path, times: times, own: own}
}

// Dir is a directory on a disk, which must not be changing: no link in it is followed.
// With times, those of all but directories count. Of files that are the same inode in two
// directories, or in two overlays of one layer, no byte is read.
func Dir(path string, times bool) Tree { return &dir{root: path, path: path, times: times} }

type dir struct {
	root, path string
	times      bool
	// own is where the path is in the topmost folder of an overlay, if it is there; ""
	// where that is not known.
	own    string
	absent bool        // it is not there
	fi     fs.FileInfo // nil until it is needed
}

// below says that both paths are what the same folders below have.
func (d *dir) below(other *dir) bool {
	return d.own != "" && other.own != "" && d.absent && other.absent
}

// same says whether two paths are known to be the same.
func (d *dir) same(other *dir) bool { return d.below(other) || d.sameFile(other) }

// sameFile says whether two paths are known to be one file. In two overlays a file of a
// layer that they share has the same number; the time of change makes sure that it is
// still that file, and not a copy that was written to.
func (d *dir) sameFile(other *dir) bool {
	a, b := d.stat(), other.stat()
	return a != nil && b != nil && a.Mode&syscall.S_IFMT != syscall.S_IFDIR &&
		a.Ino == b.Ino && a.Mode == b.Mode && a.Size == b.Size && a.Ctim == b.Ctim && a.Mtim == b.Mtim
}

// stat is nil where it cannot be had; Entry says why.
func (d *dir) stat() *syscall.Stat_t {
	if d.fi == nil {
		fi, err := os.Lstat(d.path)
		if err != nil {
			return nil
		}
		d.fi = fi
	}
	st, _ := d.fi.Sys().(*syscall.Stat_t)
	return st
}

func (d *dir) Entry(context.Context) (*contenthash.Entry, error) {
	e, err := contenthash.ReadHeader(d.path, d.times)
	return e, d.inTree(err)
}

// Sum is not known: all that is below would have to be read.
func (d *dir) Sum() (contenthash.Sum, bool) { return contenthash.Sum{}, false }

func (d *dir) Children(context.Context) ([]Child, error) {
	found, err := os.ReadDir(d.path)
	if err != nil {
		return nil, d.inTree(err)
	}
	own, known := d.ownNames()
	all := make([]Child, len(found))
	for i, f := range found {
		c := &dir{root: d.root, path: filepath.Join(d.path, f.Name()), times: d.times}
		if known {
			c.own, c.absent = filepath.Join(d.own, f.Name()), !own[f.Name()]
		}
		all[i] = Child{Name: f.Name(), Tree: c}
	}
	return all, nil
}

// ownNames are the names in the topmost folder of an overlay. They are not known where
// overlayfs takes what is below from elsewhere, since the directory was renamed.
func (d *dir) ownNames() (names map[string]bool, known bool) {
	if d.own == "" || d.absent {
		return nil, d.own != ""
	}
	for _, attr := range []string{"trusted.overlay.redirect", "user.overlay.redirect"} {
		if _, err := unix.Lgetxattr(d.own, attr, nil); err != unix.ENODATA && err != unix.ENOTSUP {
			return nil, false
		}
	}
	found, err := os.ReadDir(d.own)
	if err != nil {
		return nil, false
	}
	names = make(map[string]bool, len(found))
	for _, f := range found {
		names[f.Name()] = true
	}
	return names, true
}

// Open implements Opener.
func (d *dir) Open(context.Context) (io.ReadCloser, error) {
	f, _, err := regular.Open(d.path)
	return f, d.inTree(err)
}

// inTree makes an error name the path in the tree, not where that was mounted.
func (d *dir) inTree(err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return &fs.PathError{Op: pe.Op, Path: "/" + strings.TrimPrefix(strings.TrimPrefix(pe.Path, d.root), "/"), Err: pe.Err}
	}
	return err
}
