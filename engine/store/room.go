package store

import (
	"fmt"
	"io"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// maxReserve is how much of a large disk unpacking leaves free; of a small one it is a
// hundredth.
const maxReserve = 1 << 30

// Room is how much may be written to the disk of a directory by what comes from outside.
func Room(dir string) (int64, error) {
	st, err := statfs(dir)
	return st.free - st.reserve, err
}

// CheckRoom says whether a file of that size can be written below a directory: an archive of a few bytes may be terabytes, and a full disk is bad for
// everything else on it. The error is ENOSPC, too.
func CheckRoom(dir, name string, size int64) error {
	st, err := statfs(dir)
	if err != nil {
		return err
	}
	show := func(n int64) string { return units.BytesSize(float64(n)) }
	switch {
	case size > st.free-st.reserve:
		return fmt.Errorf("the file %.200q of %s is not written: %s are free on the disk, of which %s are left free: %w",
			name, show(size), show(st.free), show(st.reserve), unix.ENOSPC)
	case st.freeInodes < st.inodes/100:
		return fmt.Errorf("the file %.200q is not written: of the disk's %d inodes %d are free, and a hundredth is left free: %w",
			name, st.inodes, st.freeInodes, unix.ENOSPC)
	}
	return nil
}

// WithinRoom reads r, which is written below a directory under that name, as long as there
// is room: what a server sends may not end.
func WithinRoom(dir, name string, r io.Reader) io.Reader {
	return &withinRoom{r: r, dir: dir, name: name}
}

type withinRoom struct {
	r         io.Reader
	dir, name string
	left      int64 // until the room is measured again
}

// Read implements io.Reader.
func (w *withinRoom) Read(p []byte) (int, error) {
	if w.left <= 0 {
		room, err := Room(w.dir)
		if err == nil {
			err = CheckRoom(w.dir, w.name, int64(len(p)))
		}
		if err != nil {
			return 0, err
		}
		w.left = min(room, 4<<20)
	}
	n, err := w.r.Read(p)
	w.left -= int64(n)
	return n, err
}

// disk is what is known of one. Some have no inodes to count.
type disk struct{ free, reserve, inodes, freeInodes int64 }

func statfs(dir string) (disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return disk{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return disk{
		free: int64(st.Bavail) * st.Bsize, reserve: min(int64(st.Blocks)*st.Bsize/100, maxReserve),
		inodes: int64(st.Files), freeInodes: int64(st.Ffree),
	}, nil
}

// freeSpace is how many bytes of the root's disk are free.
func (s *Store) freeSpace() (int64, error) {
	st, err := statfs(s.root)
	return st.free, err
}
