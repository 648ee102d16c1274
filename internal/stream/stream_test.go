package stream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/stream"
)

var errEnough = errors.New("enough")

func fifo(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "pipe")
	check.OK(t, syscall.Mkfifo(path, 0o600))
	return path
}

// What comes is read to its end, however it comes.
func TestRead(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	file := filepath.Join(t.TempDir(), "file")
	check.OK(t, os.WriteFile(file, want, 0o600))
	pipe := fifo(t)
	var g errgroup.Group
	g.Go(func() error { return os.WriteFile(pipe, want, 0) })
	for _, path := range []string{file, pipe} {
		got, err := stream.ReadFile(t.Context(), path, int64(len(want)))
		check.OK(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes came than were written", path)
		}
	}
	check.OK(t, g.Wait())
	_, err := stream.ReadFile(t.Context(), "/dev/zero", 1024)
	check.Says(t, err, "/dev/zero", "more than 1 KiB")
	_, err = stream.ReadFile(t.Context(), file+"no", 1024)
	check.Says(t, err, "no such file")
}

// A read for which nobody writes ends with the context, whether somebody has the pipe open
// or not.
func TestReadEnds(t *testing.T) {
	for _, writers := range []int{0, 1} {
		pipe := fifo(t)
		if writers > 0 {
			w, err := os.OpenFile(pipe, os.O_RDWR, 0)
			check.OK(t, err)
			defer w.Close()
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := stream.Open(ctx, pipe)
		check.OK(t, err)
		var g errgroup.Group
		g.Go(func() error {
			_, err := r.Read(make([]byte, 1))
			return err
		})
		cancel(errEnough)
		if err := g.Wait(); !errors.Is(err, errEnough) {
			t.Errorf("%d writers: %v", writers, err)
		}
		check.OK(t, r.Close())
	}
	r, w, err := os.Pipe()
	check.OK(t, err)
	check.OK(t, w.Close())
	in := stream.NewReader(t.Context(), r)
	if _, err := in.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	check.OK(t, in.Close())
}

// A write that nobody reads ends with the context: where nobody has the pipe open, where
// somebody has and does not read, and where the pipe is standard output.
func TestWriteEnds(t *testing.T) {
	pipe := fifo(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		_, err := stream.OpenWrite(ctx, pipe)
		return err
	})
	cancel(errEnough)
	if err := g.Wait(); !errors.Is(err, errEnough) {
		t.Errorf("without a reader: %v", err)
	}
	full, err := os.OpenFile(pipe, os.O_RDWR, 0)
	check.OK(t, err)
	defer full.Close()
	for _, open := range []func(context.Context) (io.Writer, error){
		func(ctx context.Context) (io.Writer, error) { return stream.OpenWrite(ctx, pipe) },
		func(ctx context.Context) (io.Writer, error) { return stream.NewWriter(ctx, full), nil },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		w, err := open(ctx)
		check.OK(t, err)
		g.Go(func() error {
			_, err := w.Write(make([]byte, 1<<20))
			return err
		})
		cancel(errEnough)
		if err := g.Wait(); !errors.Is(err, errEnough) {
			t.Errorf("with a full pipe: %v", err)
		}
	}
}

// What is written arrives; a device takes it.
func TestWrite(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	pipe := fifo(t)
	var g errgroup.Group
	g.Go(func() error {
		w, err := stream.OpenWrite(t.Context(), pipe)
		if err != nil {
			return err
		}
		_, err = w.Write(want)
		return errors.Join(err, w.Close())
	})
	got, err := os.ReadFile(pipe)
	check.OK(t, err)
	check.OK(t, g.Wait())
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, and %d were written", len(got), len(want))
	}
	w, err := stream.OpenWrite(t.Context(), os.DevNull)
	check.OK(t, err)
	_, err = w.Write(want)
	check.OK(t, errors.Join(err, w.Close()))
}
