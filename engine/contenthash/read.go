package contenthash

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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
	case Char, Block:
		e.Major, e.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	case Symlink:
		if e.Target, err = os.Readlink(path); err != nil {
			return nil, err
		}
	case File:
		if e.Size, e.Content, err = sumFile(ctx, path); err != nil {
			return nil, err
		}
	}
	if e.Xattrs, err = readXattrs(path); err != nil {
		return nil, err
	}
	return e, nil
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

func sumFile(ctx context.Context, path string) (int64, Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, Sum{}, err
	}
	defer f.Close()
	return SumContent(ctx, f)
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 128<<10)
	return &b
}}

// SumContent reads r to its end and returns the number and the SHA-256 of its bytes.
// It stops when ctx ends.
func SumContent(ctx context.Context, r io.Reader) (int64, Sum, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var (
		h    = sha256.New()
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
