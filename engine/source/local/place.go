package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"
)

// ident is what tells a file that was written from one that was not.
type ident struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
	mode         uint32
}

func identOf(fi fs.FileInfo) ident {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ident{}
	}
	return ident{
		dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mode: st.Mode,
		mtime: time.Unix(st.Mtim.Unix()).UnixNano(),
		ctime: time.Unix(st.Ctim.Unix()).UnixNano(),
	}
}

// linksOf is how many hard links lead to a file.
func linksOf(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// coarse is more than the clocks of file systems are apart from one tick to the next,
// which is a second where inodes have no room for more.
const coarse = 2 * time.Second

// settled says that bytes read at a time belong to this ident for good: had they been
// written later, the time of change would be another.
func (id ident) settled(read time.Time) bool {
	return id.ctime < read.Add(-coarse).UnixNano()
}

// place reads a directory: through the file system that the session lends, and in
// place where that is possible.
type place struct {
	fs   fsutil.FS
	dir  string   // "" if it cannot be read in place
	root *os.Root // of dir
	devs map[uint64]bool
}

func openPlace(d session.Dir) (*place, error) {
	p := &place{fs: d.FS, devs: map[uint64]bool{}}
	var err error
	if d.Path == "" {
		if p.fs == nil {
			return nil, errors.New("its session gives nothing to read it with")
		}
		return p, nil
	}
	if p.dir, err = filepath.Abs(d.Path); err != nil {
		return nil, err
	}
	if p.fs == nil {
		if p.fs, err = fsutil.NewFS(p.dir); err != nil {
			return nil, err
		}
	}
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *place) close() error {
	if p.root == nil {
		return nil
	}
	return p.root.Close()
}

// lstat is for directories in place.
func (p *place) lstat(path string) (fs.FileInfo, error) {
	return os.Lstat(filepath.Join(p.dir, path))
}

// honest says whether a file, in place, is on a file system whose times of change are
// this kernel's. It is not called concurrently.
func (p *place) honest(path string, id ident) bool {
	known, ok := p.devs[id.dev]
	if !ok {
		var st unix.Statfs_t
		err := unix.Statfs(filepath.Join(p.dir, path), &st)
		known = err == nil && localFS[int64(st.Type)]
		p.devs[id.dev] = known
	}
	return known
}

// localFS are the types of file systems, as statfs(2) gives them, that keep times of
// their own with this machine's clock.
var localFS = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:      true, // and ext2, ext3
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.F2FS_SUPER_MAGIC:      true,
	unix.TMPFS_MAGIC:           true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
	0x2fc12fc1:                 true, // ZFS
	0xca451a4e:                 true, // bcachefs
}

// errGone says that a path is no longer what the walk has found.
var errGone = errors.New("gone")

// open opens a regular file. In place, a path that has become a link is followed, but
// never out of the directory; what was opened is seen by identify. errGone if the file
// is not there, or something else by now, such as a socket.
func (p *place) open(path string) (io.ReadCloser, error) {
	if p.root == nil {
		f, err := p.fs.Open(path)
		if isGone(err) {
			return nil, errGone
		}
		return f, err
	}
	f, err := p.root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		return f, nil
	}
	// A link that leads out of the directory is refused, too.
	if fi, lerr := p.lstat(path); isGone(err) || lerr != nil || !fi.Mode().IsRegular() {
		return nil, errGone
	}
	return nil, err
}

func isGone(err error) bool {
	for _, gone := range []error{fs.ErrNotExist, unix.ENOTDIR, unix.ELOOP, unix.ENXIO, unix.ESTALE} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// identify returns what an open file is; the zero ident where it is not in place.
func (p *place) identify(f io.Closer) (ident, error) {
	file, ok := f.(*os.File)
	if !ok || p.root == nil {
		return ident{}, nil
	}
	fi, err := file.Stat()
	if err != nil {
		return ident{}, err
	}
	if !fi.Mode().IsRegular() {
		return ident{}, errGone
	}
	return identOf(fi), nil
}

// steady is a file system whose entries may vanish during a walk: what has vanished
// is given with mode fs.ModeIrregular. Otherwise fsutil's walk takes it for a reason
// to leave the rest of the directory out.
type steady struct{ fsutil.FS }

func (s steady) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	return s.FS.Walk(ctx, target, func(path string, d fs.DirEntry, err error) error {
		if d != nil {
			d = steadyEntry{d, path}
		}
		return fn(path, d, err)
	})
}

type steadyEntry struct {
	fs.DirEntry
	path string
}

func (e steadyEntry) Info() (fs.FileInfo, error) {
	fi, err := e.DirEntry.Info()
	if err != nil && isGone(err) {
		return &fsutil.StatInfo{Stat: vanished(e.path)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.path, err)
	}
	return fi, nil
}
