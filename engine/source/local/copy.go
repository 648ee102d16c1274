package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// copy makes a tree of what was found. It checks that the files still have the bytes
// that were hashed; all else is written as it was found. The Ref is the caller's.
func (s *Source) copy(ctx context.Context, d session.Dir, w wanted, read *listing, p *progress) (_ *store.Ref, err error) {
	at, err := openPlace(d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	m, err := s.newTree(ctx, w)
	if err != nil {
		return nil, err
	}
	to := &writer{place: at, want: w, read: read, progress: p, links: s.earlier(ctx, m, at.dir, w)}
	err = s.fill(ctx, m, to)
	if err = errors.Join(err, to.links.close()); err != nil {
		return nil, errors.Join(err, m.Release(context.WithoutCancel(ctx)))
	}
	return s.keep(ctx, m, w, read, at.dir, to.several)
}

// newTree begins the tree of a directory.
func (s *Source) newTree(ctx context.Context, w wanted) (*store.Mutable, error) {
	return s.opt.Store.New(ctx, nil, store.NewOptions{Description: "local source for " + w.name, RecordType: store.TypeLocalSource})
}

// keep makes a tree that was written the last one of a directory. It consumes m. The Ref is
// the caller's.
func (s *Source) keep(ctx context.Context, m *store.Mutable, w wanted, read *listing, dir string, several [][]byte) (*store.Ref, error) {
	ref, err := m.Commit(ctx)
	if err != nil {
		return nil, err
	}
	if err := contenthash.Keep(ref, read.root); err != nil {
		return nil, errors.Join(err, ref.Release(context.WithoutCancel(ctx)))
	}
	if err := s.keepLast(dir, w, last{ID: ref.ID(), Several: several}); err != nil {
		warn(ctx, fmt.Errorf("local directory %q: what does not change will be copied again: %w", w.name, err))
	}
	return ref, nil
}

func (s *Source) fill(ctx context.Context, m *store.Mutable, w *writer) (err error) {
	var unmount func() error
	if w.to, unmount, err = store.MountLocal(ctx, m, false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return w.write(ctx)
}

// writer copies a listing into a directory that nobody else uses, and where nothing else is.
type writer struct {
	place    *place
	there    map[string]bool // what is in it already: directories, and files that are finished
	want     wanted
	read     *listing
	to       string
	progress *progress
	links    *links // to an earlier snapshot; nil for none
	// several are the paths of files that have other names in the snapshot.
	several [][]byte
}

// file is a file in the file system, whatever it is called.
type file struct{ dev, ino uint64 }

func (w *writer) write(ctx context.Context) error {
	again := w.names()
	var files []*found // that are to be made
	for _, f := range w.read.found {
		switch one := again[f]; {
		case f.node.Entry.Kind != contenthash.File:
			if err := w.special(f); err != nil {
				return err
			}
		case !w.there[f.path] && (one == nil || one == f):
			files = append(files, f)
		}
	}
	files, err := w.link(ctx, files, again)
	if err != nil {
		return err
	}
	eg, each := errgroup.WithContext(ctx)
	// Copying waits for the disk as much as for a core.
	eg.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, f := range files {
		if each.Err() != nil {
			break
		}
		eg.Go(func() error { return w.file(each, f) })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, f := range w.read.found {
		if one := again[f]; one != nil && one != f {
			if err := os.Link(w.path(one), w.path(f)); err != nil {
				return fmt.Errorf("hard link: %w", err)
			}
		}
	}
	return w.finishDirs()
}

// link takes files over from an earlier snapshot, a directory at a time, and returns the
// others.
func (w *writer) link(ctx context.Context, files []*found, again map[*found]*found) ([]*found, error) {
	if w.links == nil {
		return files, nil
	}
	var mu sync.Mutex // guards left
	var left []*found
	eg, each := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for len(files) > 0 && each.Err() == nil {
		dir, n := path.Dir(files[0].path), 1
		for n < len(files) && path.Dir(files[n].path) == dir {
			n++
		}
		some := files[:n]
		files = files[n:]
		eg.Go(func() error {
			d := w.links.dir(dir)
			for _, f := range some {
				if again[f] == nil && w.links.link(d, f) {
					continue
				}
				mu.Lock()
				left = append(left, f)
				mu.Unlock()
			}
			return d.Close()
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	return left, context.Cause(ctx)
}

// names finds the files that have several names among what was found. Of each of
// these it gives the first, which may be itself.
func (w *writer) names() map[*found]*found {
	first, again := map[file]*found{}, map[*found]*found{}
	for _, f := range w.read.found {
		if f.first != nil {
			again[f] = f.first
			continue
		}
		if f.node.Entry.Kind != contenthash.File || f.links < 2 {
			continue
		}
		key := file{f.id.dev, f.id.ino}
		if one := first[key]; one != nil && one.node.Entry.Sum() == f.node.Entry.Sum() {
			again[one], again[f] = one, one
			continue
		}
		first[key] = f
	}
	for _, f := range w.read.found {
		if again[f] != nil {
			w.several = append(w.several, []byte(f.path))
		}
	}
	return again
}

// finishDirs does so from below, since what is written into a directory sets its
// time.
func (w *writer) finishDirs() error {
	for _, f := range slices.Backward(w.read.found) {
		if f.node.Entry.Kind == contenthash.Dir {
			if err := finish(w.path(f), f); err != nil {
				return err
			}
		}
	}
	return w.finishRoot()
}

func (w *writer) path(f *found) string { return filepath.Join(w.to, f.path) }

// special makes what has no bytes.
func (w *writer) special(f *found) error {
	var err error
	to, e := w.path(f), &f.node.Entry
	switch e.Kind {
	case contenthash.Dir:
		if w.there[f.path] {
			return nil
		}
		return os.Mkdir(to, 0o700) // finished when all is in it
	case contenthash.Symlink:
		err = os.Symlink(e.Target, to)
	case contenthash.Fifo:
		err = unix.Mknod(to, unix.S_IFIFO|0o600, 0)
	case contenthash.Char:
		if e.Major == 0 && e.Minor == 0 {
			return fmt.Errorf("%q is a character device 0:0, which stands for a deleted file on overlayfs: exclude it with .dockerignore", f.path)
		}
		err = unix.Mknod(to, unix.S_IFCHR|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	case contenthash.Block:
		err = unix.Mknod(to, unix.S_IFBLK|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	}
	if err != nil {
		return fmt.Errorf("%q is a %s, which cannot be made here: %w: exclude it with .dockerignore", f.path, kindNames[e.Kind], err)
	}
	return finish(to, f)
}

var kindNames = map[contenthash.Kind]string{
	contenthash.Symlink: "symbolic link",
	contenthash.Fifo:    "named pipe",
	contenthash.Char:    "device",
	contenthash.Block:   "device",
}

// finish sets what is known of a path beside its bytes: in this order, since each
// step may undo what is set by a later one.
func finish(to string, f *found) error {
	e := &f.node.Entry
	if err := os.Lchown(to, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	for name, value := range e.Xattrs {
		if err := unix.Lsetxattr(to, name, value, 0); err != nil {
			return fmt.Errorf("%q: extended attribute %s: %w", f.path, name, err)
		}
	}
	if e.Kind != contenthash.Symlink {
		if err := unix.Chmod(to, e.Mode); err != nil {
			return &os.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	ts := []unix.Timespec{unix.NsecToTimespec(f.mtime), unix.NsecToTimespec(f.mtime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: to, Err: err}
	}
	return nil
}

// finishRoot makes the root what the key says it is.
func (w *writer) finishRoot() error {
	e := &w.read.root.Entry
	if err := os.Lchown(w.to, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	return os.Chmod(w.to, os.FileMode(e.Mode))
}

// file copies a file, and checks that it is the one that was hashed.
func (w *writer) file(ctx context.Context, f *found) (err error) {
	to, err := createFile(w.path(f))
	if err != nil {
		return err
	}
	same, err := w.bytes(ctx, f, to)
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if !same {
		return &ChangedError{Dir: w.want.name, Path: f.path}
	}
	return finish(to.Name(), f)
}

func createFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (w *writer) bytes(ctx context.Context, f *found, to *os.File) (same bool, err error) {
	if f.data != nil {
		_, err := to.Write(f.data)
		return true, err
	}
	from, err := w.place.open(f.path)
	if errors.Is(err, errGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer from.Close()
	if file, ok := from.(*os.File); ok && f.settled {
		done, err := w.unseen(ctx, f, file, to)
		if done || err != nil {
			return done, err
		}
		if err := startAgain(file, to); err != nil {
			return false, err
		}
	}
	size, sum, err := f.node.Entry.SumContent(ctx, io.TeeReader(counted{from, w.progress}, to))
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.path, err)
	}
	return size == f.node.Entry.Size && sum == f.node.Entry.Content, nil
}

// chunk is how much the kernel is asked to copy at once.
const chunk = 16 << 20

// unseen has the kernel copy a file, by reference if the file systems can. That the
// file was not written meanwhile, nor since it was hashed, is seen from its ident. It
// is not done if it was.
func (w *writer) unseen(ctx context.Context, f *found, from, to *os.File) (done bool, err error) {
	for n := int64(0); ; {
		id, err := w.place.identify(from)
		if errors.Is(err, errGone) || (err == nil && id != f.id) {
			return false, nil
		}
		if err != nil || n == id.size {
			return err == nil, err
		}
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		m, err := io.CopyN(to, from, min(chunk, id.size-n))
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", f.path, err)
		}
		n += m
		w.progress.add(m)
	}
}

// startAgain takes back what was copied.
func startAgain(from, to *os.File) error {
	if err := to.Truncate(0); err != nil {
		return err
	}
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := from.Seek(0, io.SeekStart)
	return err
}
