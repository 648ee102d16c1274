package fileop

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/sysx"
	"github.com/moby/buildkit/solver/pb"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// wide copies what is in a directory into an empty one, several files at a time, as fsutil's
// copier does it one by one: that is the rule for what comes of it.
type wide struct {
	ctx context.Context
	opt fscopy.CopyInfo // what the copier was to do
	// The directories, and the trees that they are in.
	src, srcRoot, dest, destRoot string

	files *errgroup.Group
	// names are the first names of files that have several, by their inodes; again are
	// the others.
	names map[uint64]string
	again []link
	dirs  []made
}

// link is a further name of a file.
type link struct{ first, name string }

// made is a directory that was made.
type made struct {
	from, to string
	st       *syscall.Stat_t
}

// widely copies so where that is possible, and says whether it was.
func widely(ctx context.Context, src, from, dest, to string, a *pb.FileActionCopy, opt fscopy.Opt) (done bool, err error) {
	if !a.DirCopyContents || len(a.IncludePatterns) > 0 || len(a.ExcludePatterns) > 0 || a.Mode != -1 || a.ModeStr != "" {
		return false, nil
	}
	w := &wide{ctx: ctx, srcRoot: src, destRoot: dest, names: map[uint64]string{}}
	opt(&w.opt)
	w.oneAtATime()
	if w.src, err = fs.RootPath(src, from); err != nil {
		return false, err
	}
	fi, err := os.Lstat(w.src)
	if err != nil || !fi.IsDir() {
		return false, nil // which the copier tells
	}
	if w.dest, err = fs.RootPath(dest, filepath.Clean(to)); err != nil {
		return false, err
	}
	if there, err := os.ReadDir(w.dest); len(there) > 0 || err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	// The directory itself, and those that it is in.
	top := func(ci *fscopy.CopyInfo) { *ci = w.opt; ci.ExcludePatterns = []string{"*"} }
	if err := fscopy.Copy(ctx, src, from, dest, to, top); err != nil {
		return false, err
	}
	return true, w.all(fi)
}

// oneAtATime has the handler of errors about attributes called by one goroutine at a time.
func (w *wide) oneAtATime() {
	var mu sync.Mutex
	handle := w.opt.XAttrErrorHandler
	w.opt.XAttrErrorHandler = func(to, from, key string, err error) error {
		mu.Lock()
		defer mu.Unlock()
		return handle(to, from, key, err)
	}
}

func (w *wide) all(top os.FileInfo) error {
	var each context.Context
	w.files, each = errgroup.WithContext(w.ctx)
	w.files.SetLimit(runtime.GOMAXPROCS(0))
	w.ctx = each
	err := w.dir(w.src, w.dest)
	if werr := w.files.Wait(); werr != nil {
		return werr // for which the rest may have ended
	}
	if err != nil {
		return err
	}
	for _, l := range w.again {
		if err := os.Link(l.first, l.name); err != nil {
			return err
		}
	}
	// From below, since what is made in a directory sets its time.
	for _, d := range slices.Backward(w.dirs) {
		if err := w.finish(d.from, d.to, d.st); err != nil {
			return err
		}
	}
	return w.times(w.dest, top.Sys().(*syscall.Stat_t))
}

// dir copies what is in a directory.
func (w *wide) dir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if err := w.entry(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), fi); err != nil {
			return err
		}
	}
	return nil
}

func (w *wide) entry(from, to string, fi os.FileInfo) error {
	st := fi.Sys().(*syscall.Stat_t)
	switch fi.Mode().Type() {
	case iofs.ModeDir:
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		w.dirs = append(w.dirs, made{from, to, st})
		return w.dir(from, to)
	case iofs.ModeSymlink:
		target, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(target, to)
		}
		if err != nil {
			return err
		}
		return w.finish(from, to, st)
	case 0:
		if first, ok := w.names[st.Ino]; ok && st.Nlink > 1 {
			w.again = append(w.again, link{first, to})
			return nil
		}
		if st.Nlink > 1 {
			w.names[st.Ino] = to
		}
		w.files.Go(func() error {
			if err := copyBytes(w.ctx, from, to); err != nil {
				return err
			}
			return w.finish(from, to, st)
		})
		return nil
	}
	// What is rare is for the copier.
	one := func(ci *fscopy.CopyInfo) { *ci = w.opt; ci.FollowLinks, ci.CopyDirContents = false, false }
	return fscopy.Copy(w.ctx, w.srcRoot, strings.TrimPrefix(from, w.srcRoot), w.destRoot, strings.TrimPrefix(to, w.destRoot), one)
}

// finish sets all that a file has beside its bytes.
func (w *wide) finish(from, to string, st *syscall.Stat_t) error {
	owner := &fscopy.User{UID: int(st.Uid), GID: int(st.Gid)}
	chown := w.opt.Chown
	if chown == nil {
		chown = func(u *fscopy.User) (*fscopy.User, error) { return u, nil }
	}
	if err := fscopy.Chown(to, owner, chown); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	if err := w.times(to, st); err != nil {
		return err
	}
	return w.xattrs(from, to)
}

func (w *wide) times(to string, st *syscall.Stat_t) error {
	if w.opt.Utime != nil {
		return fscopy.Utimes(to, w.opt.Utime)
	}
	ts := []unix.Timespec{{Sec: st.Atim.Sec, Nsec: st.Atim.Nsec}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: to, Err: err}
	}
	return nil
}

// xattrs copies extended attributes. An error ends that, if the handler says so.
func (w *wide) xattrs(from, to string) error {
	key := ""
	names, err := sysx.LListxattr(from)
	for i := 0; err == nil && i < len(names); i++ {
		key = names[i]
		var value []byte
		if value, err = sysx.LGetxattr(from, key); err == nil {
			err = sysx.LSetxattr(to, key, value, 0)
		}
	}
	if err == nil {
		return nil
	}
	return w.opt.XAttrErrorHandler(to, from, key, err)
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 64<<10)
	return &b
}}

// chunk is how much is copied between looks at the context.
const chunk = 16 << 20

// copyBytes makes a file of another, by reference if the file system can.
func copyBytes(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := io.ReadFull(in, *buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // that was all of it
		_, err = out.Write((*buf)[:n])
		return err
	}
	if err == nil {
		_, err = in.Seek(0, io.SeekStart)
	}
	for err == nil {
		if err = context.Cause(ctx); err == nil {
			_, err = io.CopyN(out, in, chunk)
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}
