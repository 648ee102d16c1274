package history

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Size is how many bytes of the disk a history takes, and how many builds it has. Files that go
// meanwhile are not counted.
func (r Reader) Size(ctx context.Context) (bytes int64, builds int, err error) {
	all, err := r.files()
	if err != nil {
		return 0, 0, err
	}
	err = filepath.WalkDir(r.dir, func(_ string, d fs.DirEntry, err error) error {
		if stop := context.Cause(ctx); stop != nil {
			return stop
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes, len(all), err
}
