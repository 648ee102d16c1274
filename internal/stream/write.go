package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// unread is how often it is looked whether somebody reads a pipe that nobody reads.
const unread = 20 * time.Millisecond

// OpenWrite opens a file that is there, and is no regular one, to write to it. The wait
// for somebody to read a pipe, and each wait for them to go on, ends with ctx. A file
// that cannot be waited for, such as a terminal, is written to as always.
func OpenWrite(ctx context.Context, path string) (io.WriteCloser, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			return newWriter(ctx, f)
		}
		if st, serr := os.Stat(path); !errors.Is(err, unix.ENXIO) || serr != nil || st.Mode()&os.ModeNamedPipe == 0 {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(unread):
		}
	}
}

// NewWriter returns a writer to f, whose waits for somebody to read end with ctx, if f is
// a pipe. The caller closes f.
func NewWriter(ctx context.Context, f *os.File) io.Writer {
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		return f
	}
	// To set O_NONBLOCK on f would set it for all who have the pipe: it is opened anew.
	again, err := os.OpenFile(fmt.Sprint("/proc/self/fd/", f.Fd()), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return f // nobody reads it any more, or it is another user's
	}
	w, err := newWriter(ctx, again)
	if err != nil {
		return f
	}
	return w
}

func newWriter(ctx context.Context, f *os.File) (io.WriteCloser, error) {
	if err := f.SetWriteDeadline(time.Time{}); err != nil { // it knows no deadlines
		if errors.Is(err, os.ErrNoDeadline) {
			return blocking(f)
		}
		return nil, errors.Join(err, f.Close())
	}
	w := &writer{ctx: ctx, File: f}
	w.stop = context.AfterFunc(ctx, func() {
		_ = f.SetWriteDeadline(time.Unix(1, 0)) // it may be closed
	})
	return w, nil
}

// blocking has writes to f wait, for which nobody else would.
func blocking(f *os.File) (io.WriteCloser, error) {
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writer is a file whose writes end with ctx.
type writer struct {
	*os.File
	ctx  context.Context
	stop func() bool
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.File.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.Cause(w.ctx)
	}
	return n, err
}

func (w *writer) Close() error {
	w.stop()
	return w.File.Close()
}
