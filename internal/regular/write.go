package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Replace writes a file so that others see either all of it or none, whatever was in its
// place: also a directory. It is not synced. While it is written there is a file in the same
// folder whose name begins with TempPrefix: whoever has the folder sweeps it at the beginning.
func Replace(path string, dt []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), TempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(dt)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	err = os.Rename(tmp.Name(), path)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.EISDIR) { // a directory
		if err = os.RemoveAll(path); err == nil {
			err = os.Rename(tmp.Name(), path)
		}
	}
	return err
}

// Sweep removes what a process that died in Replace has left in a folder, which need not be
// there. Nobody may be writing in it.
func Sweep(dir string) error {
	old, err := Glob(dir, TempPrefix+"*")
	for _, path := range old {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// TempPrefix begins the names of files that are being written.
const TempPrefix = "new-"
