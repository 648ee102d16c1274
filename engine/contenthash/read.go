package contenthash

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

// readEntry reads what counts of a path on disk, which must not be changing; with
// times, when it was changed, too.
func readEntry(ctx context.Context, path string, times bool) (*Entry, error) {
	e, err := ReadHeader(path, times)
	if err == nil && e.Kind == File {
		err = e.sumFile(ctx, path)
	}
	return e, err
}

// ReadHeader reads what counts of a path on disk but for the bytes of a file: Content is
// left zero. With times, ModTime counts. The path must not be changing.
func ReadHeader(path string, times bool) (*Entry, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: this system does not tell a file's owner", path)
	}
	e := &Entry{Kind: KindOf(fi.Mode()), Mode: UnixMode(fi.Mode()), UID: st.Uid, GID: st.Gid}
	if times && e.Kind != Dir {
		e.ModTime = fi.ModTime()
	}
	switch e.Kind {
	case 0:
		return nil, fmt.Errorf("%s is of an unknown type: %v", path, fi.Mode())
	case File:
		e.Size = fi.Size()
	case Char, Block:
		e.Major, e.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	case Symlink:
		if e.Target, err = os.Readlink(path); err != nil {
			return nil, err
		}
	}
	e.Xattrs, err = readXattrs(path)
	return e, err
}

func readXattrs(path string) (map[string][]byte, error) {
	names, err := sysx.LListxattr(path)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var kept map[string][]byte
	for _, name := range names {
		if !KeepXattr(name) {
			continue
		}
		value, err := sysx.LGetxattr(path, name)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s: %w", name, &fs.PathError{Op: "getxattr", Path: path, Err: err})
		}
		if kept == nil {
			kept = map[string][]byte{}
		}
		kept[name] = value
	}
	return kept, nil
}

func (e *Entry) sumFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	e.Size, e.Content, err = e.SumContent(ctx, f)
	return err
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 128<<10)
	return &b
}}

// ContentHash is the hash whose sum over the bytes of a file is its Content. It has been
// told all else that the entry says: see SumContent.
func (e *Entry) ContentHash() hash.Hash { return e.buildKitHash() }

// SumContent reads the bytes of a file to their end and returns their number, and their
// SHA-256 after all else that the entry says, Size included, as BuildKit has it. Where that
// is the same, equal sums are of equal bytes. It stops when ctx ends.
func (e *Entry) SumContent(ctx context.Context, r io.Reader) (int64, Sum, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var (
		h    = e.buildKitHash()
		size int64
		sum  Sum
	)
	for {
		n, err := r.Read(*buf)
		h.Write((*buf)[:n])
		size += int64(n)
		if err == io.EOF {
			h.Sum(sum[:0])
			return size, sum, nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return 0, Sum{}, err
		}
	}
}
