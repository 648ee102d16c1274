package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// inode tells a file from all others.
type inode struct{ dev, ino uint64 }

// measured is what a directory takes on the disk with all that is in it.
type measured struct {
	// size is in bytes: blocks that are used, of a file with several names once.
	size int64
	// names are the files among them that have more than one name, in here or
	// elsewhere.
	names map[inode]linkedFile
}

// linkedFile is a file with several names.
type linkedFile struct {
	size int64
	here int    // how many of its names were met
	all  uint64 // how many it has
}

// elsewhere is how much of what was measured has names elsewhere, too.
func (m measured) elsewhere() (size int64) {
	for _, f := range m.names {
		if uint64(f.here) < f.all {
			size += f.size
		}
	}
	return size
}

// measure walks a directory. What goes away meanwhile takes nothing, nor does what is
// mounted in there.
func measure(ctx context.Context, path string) (measured, error) {
	m := measured{names: map[inode]linkedFile{}}
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return ifThere(err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if d.IsDir() && p != path && isMount(p) {
			return fs.SkipDir
		}
		fi, err := d.Info()
		if err != nil {
			return ifThere(err)
		}
		m.add(fi)
		return nil
	})
	return m, err
}

func (m *measured) add(fi os.FileInfo) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	size := st.Blocks * 512
	if fi.IsDir() || st.Nlink < 2 {
		m.size += size
		return
	}
	id := inode{uint64(st.Dev), st.Ino}
	f, met := m.names[id]
	if !met {
		m.size += size
	}
	m.names[id] = linkedFile{size: size, here: f.here + 1, all: uint64(st.Nlink)}
}

// isMount says whether something is mounted at a directory.
func isMount(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// SizeOf is what a file, or a directory with all that is in it, takes on the disk.
// What goes away meanwhile takes nothing. It is for a Kept's List.
func SizeOf(path string) (int64, error) {
	m, err := measure(context.Background(), path)
	return m.size, err
}

// sizeOfDir is what a directory takes without what is in it; 0 if it is not there.
func sizeOfDir(path string) int64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
