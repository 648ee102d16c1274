package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// aside is a directory that no path leads to: it has files, by name. So nothing is left
// of it when the process is killed.
type aside map[string]*io.SectionReader

var _ fsutil.FS = aside{}

func inMemory(dt []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(dt), 0, int64(len(dt)))
}

// Walk implements fsutil.FS.
func (a aside) Walk(_ context.Context, target string, fn fs.WalkDirFunc) error {
	target = path.Join("/", target)
	for _, name := range sortedKeys(a) {
		if target != "/" && target != "/"+name {
			continue
		}
		st := &types.Stat{Path: name, Mode: 0o644, Size: a[name].Size()}
		if err := fn(name, &fsutil.DirEntryInfo{Stat: st}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Open implements fsutil.FS.
func (a aside) Open(name string) (io.ReadCloser, error) {
	f, ok := a[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(f, 0, f.Size())), nil
}
