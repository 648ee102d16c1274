package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	gofs "io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/tonistiigi/fsutil"
)

// failing is a tree in which one file can be listed, and not be looked at.
type failing struct {
	fsutil.FS
	at  string
	err error
}

func (f failing) Walk(ctx context.Context, target string, fn gofs.WalkDirFunc) error {
	return f.FS.Walk(ctx, target, func(p string, d gofs.DirEntry, err error) error {
		if p == f.at {
			d = failingEntry{d, f.err}
		}
		return fn(p, d, err)
	})
}

type failingEntry struct {
	gofs.DirEntry
	err error
}

func (e failingEntry) Info() (gofs.FileInfo, error) { return nil, e.err }

// A file that cannot be looked at fails an export, whatever the error says: nothing is
// left out without a word.
func TestNothingIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/b", "a/c", "z"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"a", "a/b", "a/c", "z"} {
		for _, cause := range []error{os.ErrNotExist, os.ErrPermission, fmt.Errorf("input/output error")} {
			cause := &os.PathError{Op: "lstat", Path: at, Err: cause}
			from := &tree{fs: failing{files, at, cause}}
			if err := fsutil.WriteTar(t.Context(), forest{from}, &bytes.Buffer{}); !errors.Is(err, cause) {
				t.Errorf("type=tar, %v: got %v", cause, err)
			}
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			w := newDirWriter(t.Context(), fsutil.NewRoot(root), treeOptions{})
			w.copied = startCounter(t.Context(), "")
			if err := from.Walk(t.Context(), "", w.entry(from)); !errors.Is(err, cause) {
				t.Errorf("type=local, %v: got %v", cause, err)
			}
			if err := errors.Join(w.close(), root.Close()); err != nil {
				t.Error(err)
			}
		}
	}
}
