package export

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine/store"
)

// tempPrefix begins the names of files that are not whole yet.
const tempPrefix = ".tenon-"

// Discarder is what a Request.Open's writer may also be. An exporter that fails
// calls Discard instead of Close, so that no half file is left.
type Discarder interface {
	Discard() error
}

// File returns a Request.Open that writes the file at path: beside it at first, and
// in its place when it is closed. It is a Discarder. What exists and is no regular
// file, such as /dev/stdout or a pipe, is written directly. Directories above it
// must exist. The mode of a new file is 0666 without the bits of umask, and those of
// the process's.
func File(path string, umask os.FileMode) func(map[string]string) (io.WriteCloser, error) {
	return func(map[string]string) (io.WriteCloser, error) {
		mode := 0o666 &^ umask
		fi, err := os.Stat(path)
		switch {
		case err == nil && !fi.Mode().IsRegular():
			return os.OpenFile(path, os.O_WRONLY, 0)
		case err == nil:
			mode = fi.Mode().Perm()
		case !errors.Is(err, os.ErrNotExist):
			return nil, err
		}
		// A link stays one: what it points to is replaced.
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		temp := filepath.Join(filepath.Dir(path), tempPrefix+rand.Text())
		f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return nil, fmt.Errorf("output file %s: %w", path, err)
		}
		return &atomicFile{File: f, path: path}, nil
	}
}

// atomicFile is a file that takes its place when it is closed.
type atomicFile struct {
	*os.File
	path string
}

func (f *atomicFile) Close() error {
	if err := f.File.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (f *atomicFile) Discard() error {
	return errors.Join(f.File.Close(), os.Remove(f.Name()))
}

// WriteFile writes a file as File does, and leaves nothing of it if write fails.
func WriteFile(path string, umask os.FileMode, write func(io.Writer) error) error {
	return writeTo(File(path, umask), nil, write)
}

// writeTo opens a request's file, has it written, and closes or discards it.
func writeTo(open func(map[string]string) (io.WriteCloser, error), resp map[string]string, write func(io.Writer) error) error {
	w, err := open(resp)
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
