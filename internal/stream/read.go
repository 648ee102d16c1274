// Package stream reads and writes files that may make their user wait for ever: pipes,
// terminals and devices. The wait ends with a context. For files that somebody else has
// made, and that are to be no pipes, there is package regular.
package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Reader reads a file until a context ends. One goroutine reads.
type Reader struct {
	ctx   context.Context
	f     *os.File
	ready bool     // a read never waits: it is a regular file
	wake  *os.File // can be read when ctx has ended; nil before the first read
	close func()   // ends what keeps wake; nil as long as wake is
}

// NewReader returns a Reader of f, which the caller closes if the Reader is not.
func NewReader(ctx context.Context, f *os.File) *Reader {
	st, err := f.Stat()
	return &Reader{ctx: ctx, f: f, ready: err == nil && st.Mode().IsRegular()}
}

// Open opens a file for a Reader, without waiting for anything.
func Open(ctx context.Context, path string) (*Reader, error) {
	// Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return NewReader(ctx, f), nil
}

// ReadFile returns what is in a file, at most limit bytes.
func ReadFile(ctx context.Context, path string, limit int64) (_ []byte, err error) {
	r, err := Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(dt)) > limit {
		err = fmt.Errorf("%s: it has more than %d KiB, which are too many for what it should be", path, limit>>10)
	}
	return dt, err
}

// File returns the file that is read.
func (r *Reader) File() *os.File { return r.f }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if r.ready {
		return r.f.Read(p)
	}
	if r.wake == nil {
		wake, waker, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		stop := context.AfterFunc(r.ctx, func() { waker.Close() })
		r.wake, r.close = wake, func() {
			if stop() {
				waker.Close()
			}
			wake.Close()
		}
	}
	fds := []unix.PollFd{{Fd: int32(r.f.Fd()), Events: unix.POLLIN}, {Fd: int32(r.wake.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, os.NewSyscallError("poll", err)
		}
		switch {
		case r.ctx.Err() != nil:
			return 0, context.Cause(r.ctx)
		case fds[0].Revents != 0:
			return r.f.Read(p)
		}
	}
}

// Close closes the file.
func (r *Reader) Close() error {
	if r.close != nil {
		r.close()
	}
	return r.f.Close()
}
