package logstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// disk is what the store asks of a file system. Tests have one that fails.
type disk interface {
	// open opens a file that is there for reading and writing.
	open(name string) (file, error)
	// create makes a file beside another, whose name begins with that and ".new-".
	create(beside string) (file, error)
	// link gives a file a further name, which is not taken.
	link(from, to string) error
	rename(from, to string) error
	remove(name string) error
	// syncDir makes the names in a directory last.
	syncDir(dir string) error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	Fd() uintptr
}

type osDisk struct{}

func (osDisk) open(name string) (file, error) { return asFile(os.OpenFile(name, os.O_RDWR, 0)) }
func (osDisk) create(beside string) (file, error) {
	return asFile(os.CreateTemp(filepath.Dir(beside), filepath.Base(beside)+".new-*"))
}

func asFile(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osDisk) link(from, to string) error   { return os.Link(from, to) }
func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(name string) error     { return os.Remove(name) }

func (osDisk) syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
