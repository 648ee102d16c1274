// Package regular reads files that somebody else has made, or a crash has left, and
// writes such as are read that way. Where a file is expected there may be a pipe, which
// never answers, a device, a directory, or more than there is memory.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Open opens a regular file, or a link to one, without waiting for anything. What is
// opened is what was looked at. The file is the caller's.
func Open(path string) (_ *os.File, size int64, err error) {
	// O_NONBLOCK: without it, opening a pipe waits for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return f, st.Size(), nil
}

// Read returns what is in a regular file of at most limit bytes.
func Read(path string, limit int64) (_ []byte, err error) {
	f, size, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var dt []byte
	if size <= limit { // which some file systems do not tell: /proc's files have none
		dt, err = io.ReadAll(io.LimitReader(f, limit+1))
	}
	if err == nil && max(size, int64(len(dt))) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes, which are too many for what it should be", limit)}
	}
	return dt, err
}
