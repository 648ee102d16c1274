package store_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/continuity/sysx"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

// TestWrittenNotes: whoever writes a tree leaves no notes of overlayfs in it, also where
// the tree is a plain directory, as that of a step on the empty tree. What is built on
// such a tree, or of it, shows all that the tree has.
func TestWrittenNotes(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		evil := []string{"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin", "trusted.overlay.whiteout",
			"user.overlay.opaque", "user.overlay.redirect", "user.fuseoverlayfs.opaque", "user.kept"}
		base := write(t, s, nil, store.NewOptions{}, file(t, "d/low", "1"))
		lone := write(t, s, nil, store.NewOptions{}, func(dir string) {
			for _, name := range []string{"d/high", "d/e/f", "other/f"} {
				file(t, name, "1")(dir)
			}
			noError(t, os.Symlink("d", filepath.Join(dir, "link")))
			for _, path := range []string{"", "d", "d/e", "d/high", "link"} {
				for _, name := range evil {
					if path != "link" || strings.HasPrefix(name, "trusted.") {
						noError(t, sysx.LSetxattr(filepath.Join(dir, path), name, []byte("y"), 0))
					}
				}
			}
		})
		on := write(t, s, lone, store.NewOptions{}, file(t, "d/e/g", "1"))
		merged, err := s.Merge(context.Background(), []*store.Ref{base, lone}, store.NewOptions{})
		noError(t, err)
		mergedOn := write(t, s, merged, store.NewOptions{}, file(t, "d/e/g", "1"))
		for name, test := range map[string]struct {
			ref  *store.Ref
			want string
		}{
			"the tree":         {lone, "d d/e d/e/f d/high link other other/f"},
			"one on it":        {on, "d d/e d/e/f d/e/g d/high link other other/f"},
			"a merge":          {merged, "d d/e d/e/f d/high d/low link other other/f"},
			"one on the merge": {mergedOn, "d d/e d/e/f d/e/g d/high d/low link other other/f"},
		} {
			mounted(t, test.ref, true, func(dir string) {
				var got []string
				noError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					noError(t, err)
					if rel := strings.TrimPrefix(path, dir+"/"); rel != dir {
						got = append(got, rel)
					}
					names, err := sysx.LListxattr(path)
					noError(t, err)
					for _, n := range names {
						if strings.Contains(n, "overlay") {
							t.Errorf("%s: %s has %s", name, path, n)
						}
					}
					return nil
				}))
				if got := strings.Join(got, " "); got != test.want {
					t.Errorf("%s has %s, want %s", name, got, test.want)
				}
				if v, err := sysx.LGetxattr(filepath.Join(dir, "d/high"), "user.kept"); err != nil || string(v) != "y" {
					t.Errorf("%s: an attribute of a user's became %q, %v", name, v, err)
				}
			})
		}
		release(t, base, lone, on, merged, mergedOn)
	})
}

// TestWrittenWhiteoutDevice: so no device is left that stands for a deleted file.
func TestWrittenWhiteoutDevice(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		m, err := s.New(context.Background(), nil, store.NewOptions{})
		noError(t, err)
		mounted(t, m, false, func(dir string) {
			file(t, "d/f", "1")(dir)
			noError(t, unix.Mknod(filepath.Join(dir, "d/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
			noError(t, unix.Mknod(filepath.Join(dir, "d/gone"), unix.S_IFCHR|0o600, 0))
		})
		ref, err := m.Commit(context.Background())
		if err == nil || !strings.Contains(err.Error(), `"/d/gone" is a character device 0:0`) {
			t.Errorf("got %v", err)
		}
		noError(t, ref.Release(context.Background()))
		m, err = s.New(context.Background(), nil, store.NewOptions{})
		noError(t, err)
		mounted(t, m, false, func(dir string) {
			noError(t, unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
			noError(t, unix.Mknod(filepath.Join(dir, "block"), unix.S_IFBLK|0o600, 0))
		})
		ref, err = m.Commit(context.Background())
		noError(t, err)
		release(t, ref)
	})
}
