package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/stream"
)

// tempPrefix begins the names of files that are not whole yet.
const tempPrefix = ".tenon-"

// Discarder is what a Request.Open's writer may also be. An exporter that fails
// calls Discard instead of Close, so that no half file is left.
type Discarder interface {
	Discard() error
}

// File returns a Request.Open that writes the file at path: beside it at first, and
// in its place when it is closed. It is a Discarder. A process that is killed leaves
// nothing of it, unless the file system has no files without names (O_TMPFILE), or it is
// the instant in which one takes another's place. What exists and is no regular file, such
// as /dev/stdout or a pipe, is written directly, and waits for who reads it no longer than
// ctx. Directories above it must exist. The mode of a new file is 0666 without the bits of
// umask, and those of the process's.
func File(path string, umask os.FileMode) func(context.Context, map[string]string) (io.WriteCloser, error) {
	return func(ctx context.Context, _ map[string]string) (io.WriteCloser, error) {
		mode := 0o666 &^ umask
		fi, err := os.Stat(path)
		switch {
		case err == nil && !fi.Mode().IsRegular():
			f, err := stream.OpenWrite(ctx, path)
			if err != nil {
				return nil, err
			}
			return &file{f, path}, nil
		case err == nil:
			mode = fi.Mode().Perm()
		case !errors.Is(err, os.ErrNotExist):
			return nil, err
		}
		// A link stays one: what it points to is replaced.
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		f, temp, err := newFile(path, mode)
		if err != nil {
			return nil, outputError(path, err)
		}
		return &atomicFile{file{f, path}, f, temp}, nil
	}
}

// newFile makes a file beside path. It has no name, so that it is gone when the process
// is, or, where the file system has no such files, a temporary one.
func newFile(path string, mode os.FileMode) (f *os.File, temp string, err error) {
	dir := filepath.Dir(path)
	if f, err = os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, mode); err == nil {
		return f, "", nil
	}
	temp = tempName(dir)
	f, err = os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	return f, temp, err
}

func tempName(dir string) string { return filepath.Join(dir, tempPrefix+rand.Text()) }

// OutputError says that something could not be written to a place that the caller has
// named: its disk may be another than that of the root.
type OutputError struct {
	// Path is the file or directory.
	Path string
	Err  error
}

func (e *OutputError) Error() string { return fmt.Sprintf("writing %s: %v", e.Path, e.Err) }

// Unwrap returns Err.
func (e *OutputError) Unwrap() error { return e.Err }

// outputError makes an OutputError of what the system said. Names of temporary files say
// nothing to people.
func outputError(path string, err error) error {
	var at *os.PathError
	var link *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &at):
		err = at.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return &OutputError{Path: path, Err: err}
}

// isFull says of an error of writing that there is no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// file is a file for which its path stands in errors.
type file struct {
	f    io.WriteCloser
	path string
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, outputError(f.path, err)
}

func (f *file) Close() error { return outputError(f.path, f.f.Close()) }

// atomicFile is a file that takes its place when it is closed.
type atomicFile struct {
	file
	f    *os.File
	temp string // "" while it has no name
}

func (f *atomicFile) Close() error {
	if err := f.place(); err != nil {
		return errors.Join(outputError(f.path, err), f.Discard())
	}
	return f.file.Close()
}

// place gives the file its name.
func (f *atomicFile) place() error {
	if f.temp == "" {
		name := func(to string) error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprint("/proc/self/fd/", f.f.Fd()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
		}
		if err := name(f.path); !errors.Is(err, unix.EEXIST) {
			return err
		}
		temp := tempName(filepath.Dir(f.path)) // a link replaces nothing
		if err := name(temp); err != nil {
			return err
		}
		f.temp = temp
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return err
	}
	return nil
}

func (f *atomicFile) Discard() error {
	err := f.f.Close()
	if f.temp != "" {
		err = errors.Join(err, os.Remove(f.temp))
	}
	return err
}

// WriteFile writes a file as File does, and leaves nothing of it if write fails.
func WriteFile(ctx context.Context, path string, umask os.FileMode, write func(io.Writer) error) error {
	return writeTo(ctx, File(path, umask), nil, write)
}

// writeTo opens a request's file, has it written, and closes or discards it.
func writeTo(ctx context.Context, open func(context.Context, map[string]string) (io.WriteCloser, error), resp map[string]string, write func(io.Writer) error) error {
	w, err := open(ctx, resp)
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		if d, ok := w.(Discarder); ok {
			return errors.Join(err, d.Discard())
		}
		if errors.Is(err, store.ErrDamagedBlob) {
			// What was written cannot be taken back: so nobody may write it again.
			err = fmt.Errorf("%v: build again", err)
		}
		return errors.Join(err, w.Close())
	}
	return w.Close()
}
