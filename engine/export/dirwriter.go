package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	gofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"
)

// chunk is how much of a file is copied between looks at the context.
const chunk = 64 << 20

// dirWriter writes files below a directory, and never outside of it: every path is
// resolved by os.Root, and symbolic links in the way, of whatever origin, are
// replaced by the directories that the tree has there. Files are written beside
// their place and take it when they are whole. It is for one goroutine.
type dirWriter struct {
	ctx    context.Context
	top    fsutil.Root
	copied *counter

	// open are the directories from the top to the current one.
	open []openDir
	// dirs are all directories written, whose times and modes come last: what is
	// written into them changes the one, and may be forbidden by the other.
	dirs []*types.Stat
	// written is what there is to keep where the directory is a mirror; else nil.
	written map[string]bool
	lost    int // extended attributes that could not be kept
	left    leftOut
}

type openDir struct {
	path string
	root fsutil.Root
}

func newDirWriter(ctx context.Context, top fsutil.Root, opt treeOptions) *dirWriter {
	w := &dirWriter{ctx: ctx, top: top, left: leftOut{keep: opt.privileged}}
	if opt.mirror {
		w.written = map[string]bool{}
	}
	return w
}

// close closes what is open; top stays.
func (w *dirWriter) close() error { return w.leave(0) }

func (w *dirWriter) leave(depth int) (err error) {
	for len(w.open) > depth {
		last := len(w.open) - 1
		err = errors.Join(err, w.open[last].root.Close())
		w.open = w.open[:last]
	}
	return err
}

// enter returns the directory of that path, which has been written.
func (w *dirWriter) enter(dir string) (fsutil.Root, error) {
	keep := 0
	for keep < len(w.open) && (w.open[keep].path == dir || strings.HasPrefix(dir, w.open[keep].path+"/")) {
		keep++
	}
	if err := w.leave(keep); err != nil {
		return nil, err
	}
	at, done := w.top, ""
	if keep > 0 {
		at, done = w.open[keep-1].root, w.open[keep-1].path
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(dir, done), "/")
	if dir == "." || rest == "" {
		return at, nil
	}
	for name := range strings.SplitSeq(rest, "/") {
		root, err := at.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		at, done = fsutil.NewRoot(root), path.Join(done, name)
		w.open = append(w.open, openDir{path: done, root: at})
	}
	return at, nil
}

// entry writes what a walk over from comes by.
func (w *dirWriter) entry(from fsutil.FS) gofs.WalkDirFunc {
	return func(p string, d gofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, mode, err := statOf(p, d)
		if err != nil {
			return err
		}
		st.Path = filepath.ToSlash(p)
		if w.left.omits(st, mode) {
			return nil
		}
		w.left.strip(st, mode)
		if w.written != nil {
			w.written[st.Path] = true
		}
		dir, base := path.Split(st.Path)
		at, err := w.enter(path.Clean(dir))
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if mode.IsDir() {
			err = w.dir(at, base, st)
		} else {
			err = w.file(at, base, st, from)
		}
		if isFull(err) {
			return outputError(p, err) // a tree that is read is not full
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		return nil
	}
}

// dir makes a directory, or takes the one that is there.
func (w *dirWriter) dir(at fsutil.Root, base string, st *types.Stat) error {
	fi, err := at.Lstat(base)
	switch {
	case err == nil && fi.IsDir():
	case err == nil:
		if err := at.Remove(base); err != nil {
			return err
		}
		fallthrough
	case errors.Is(err, os.ErrNotExist):
		if err := at.Mkdir(base, 0o700); err != nil {
			return err
		}
		fi = nil
	default:
		return err
	}
	w.dirs = append(w.dirs, st)
	err = w.attributes(at, base, st, os.FileMode(st.Mode)|0o700)
	if fi != nil && errors.Is(err, os.ErrPermission) {
		return nil // somebody else's, to be used as it is
	}
	return err
}

// file makes anything that is no directory: beside its place, then in it.
func (w *dirWriter) file(at fsutil.Root, base string, st *types.Stat, from fsutil.FS) (err error) {
	temp := tempPrefix + rand.Text()
	defer func() {
		if err != nil {
			if rm := at.Remove(temp); rm != nil && !errors.Is(rm, os.ErrNotExist) {
				err = errors.Join(err, rm)
			}
		}
	}()
	mode := os.FileMode(st.Mode)
	hardLink := st.Linkname != "" && mode&os.ModeSymlink == 0
	switch {
	case hardLink:
		err = w.top.Link(st.Linkname, path.Join(path.Dir(st.Path), temp))
	case mode&os.ModeSymlink != 0:
		err = at.Symlink(st.Linkname, temp)
	case mode&(os.ModeDevice|os.ModeNamedPipe) != 0:
		err = makeNode(at, temp, st)
	default:
		err = w.regular(at, temp, st, from)
	}
	if err != nil {
		return err
	}
	if !hardLink {
		if err := w.attributes(at, temp, st, mode); err != nil {
			return err
		}
		if err := setTime(at, temp, st); err != nil {
			return err
		}
	}
	if fi, err := at.Lstat(base); err == nil && fi.IsDir() {
		if err := at.RemoveAll(base); err != nil {
			return err
		}
	}
	if err := at.Rename(temp, base); err != nil {
		return err
	}
	if hardLink {
		// Renaming one link to another of the same file does nothing, by POSIX.
		if err := at.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func makeNode(at fsutil.Root, name string, st *types.Stat) error {
	mode := uint32(0o600)
	switch m := os.FileMode(st.Mode); {
	case m&os.ModeCharDevice != 0:
		mode |= unix.S_IFCHR
	case m&os.ModeNamedPipe != 0:
		mode |= unix.S_IFIFO
	default:
		mode |= unix.S_IFBLK
	}
	return at.Mknod(name, mode, int(unix.Mkdev(uint32(st.Devmajor), uint32(st.Devminor))))
}

func (w *dirWriter) regular(at fsutil.Root, name string, st *types.Stat, from fsutil.FS) error {
	r, err := from.Open(filepath.FromSlash(st.Path))
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := at.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	for {
		n, err := io.CopyN(f, r, chunk)
		w.copied.add(n)
		if err == io.EOF {
			return f.Close()
		}
		if err == nil && w.ctx.Err() != nil {
			err = context.Cause(w.ctx)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
}

// attributes sets all but the time. Files belong to who writes them, as with docker
// build: to keep owners there are archives.
func (w *dirWriter) attributes(at fsutil.Root, name string, st *types.Stat, mode os.FileMode) error {
	if mode&os.ModeSymlink != 0 {
		return nil
	}
	if mode.IsRegular() || mode.IsDir() {
		for _, k := range sortedKeys(st.Xattrs) {
			err := at.LSetxattr(name, k, st.Xattrs[k], 0)
			switch {
			case errors.Is(err, syscall.ENOTSUP), errors.Is(err, os.ErrPermission):
				w.lost++
			case err != nil:
				return fmt.Errorf("extended attribute %s: %w", k, err)
			}
		}
	}
	return at.Chmod(name, permissions(mode))
}

// permissions are the bits of mode that can be set.
func permissions(mode os.FileMode) os.FileMode {
	return mode & (os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky)
}

func setTime(at fsutil.Root, name string, st *types.Stat) error {
	t := time.Unix(0, st.ModTime)
	if os.FileMode(st.Mode)&os.ModeSymlink != 0 {
		return at.LChtimes(name, t)
	}
	return at.Chtimes(name, t, t)
}

// finish removes what a mirror should not have, and gives directories their modes
// and times.
func (w *dirWriter) finish() error {
	if err := w.leave(0); err != nil {
		return err
	}
	if err := w.prune(); err != nil {
		return err
	}
	for _, st := range slices.Backward(w.dirs) {
		err := w.top.Chmod(st.Path, permissions(os.FileMode(st.Mode)))
		if err == nil {
			err = setTime(w.top, st.Path, st)
		}
		if err != nil && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%s: %w", st.Path, err)
		}
	}
	w.left.say(w.ctx)
	if w.lost > 0 {
		warn(w.ctx, fmt.Sprintf("%d extended attributes could not be kept: the file system or a permission is lacking", w.lost))
	}
	return nil
}

func (w *dirWriter) prune() error {
	if w.written == nil {
		return nil
	}
	return gofs.WalkDir(w.top.FS(), ".", func(p string, d gofs.DirEntry, err error) error {
		if err != nil || p == "." || w.written[p] {
			return err
		}
		if err := w.top.RemoveAll(p); err != nil {
			return err
		}
		if d.IsDir() {
			return gofs.SkipDir
		}
		return nil
	})
}
