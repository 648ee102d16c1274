package store_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

// A file that was changed without its size and time is in the trees of merges and
// diffs, as it is in their layers; and what was not changed is in neither.
func TestUnseenInMergeAndDiff(t *testing.T) {
	when := time.Unix(1000000000, 123456789) // files of whole seconds are compared anyway
	fill := func(text string) func(dir string) {
		return func(dir string) {
			noError(t, os.MkdirAll(filepath.Join(dir, "d/[!*] "), 0o711))
			for _, name := range []string{"f", "d/f", "d/[!*] /f ", "d/same"} {
				if name == "d/same" && text == "two" {
					continue
				}
				path := filepath.Join(dir, name)
				noError(t, os.WriteFile(path, []byte(text), 0o644))
				noError(t, os.Chown(path, 12, 34))
				noError(t, os.Chtimes(path, when, when))
			}
			_ = os.Remove(filepath.Join(dir, "link"))
			noError(t, os.Symlink(text, filepath.Join(dir, "link")))
			ts := unix.NsecToTimespec(when.UnixNano())
			noError(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, "link"), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	check := func(t *testing.T, ref *store.Ref, same bool) {
		t.Helper()
		mounted(t, ref, true, func(dir string) {
			for _, name := range []string{"f", "d/f", "d/[!*] /f "} {
				wantFile(t, dir, name, "two")
				fi, err := os.Stat(filepath.Join(dir, name))
				if err != nil || !fi.ModTime().Equal(when) {
					t.Errorf("%s: %v, %v", name, fi, err)
				}
			}
			if to, err := os.Readlink(filepath.Join(dir, "link")); err != nil || to != "two" {
				t.Errorf("the link leads to %q, %v", to, err)
			}
			if fi, err := os.Stat(filepath.Join(dir, "d/[!*] ")); err != nil || fi.Mode().Perm() != 0o711 {
				t.Errorf("a directory became %v, %v", fi, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "d/same")); (err == nil) != same {
				t.Errorf("the file that was not changed: %v", err)
			}
		})
		layers, tars := layersOf(t, ref, store.LayerOptions{})
		last := names(t, tars[len(layers)-1])
		if !slices.Contains(last, "f") || !slices.Contains(last, "d/f") || slices.Contains(last, "d/same") {
			t.Errorf("the last layer has %q", last)
		}
	}
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		base := write(t, s, nil, store.NewOptions{}, fill("one"))
		lower := write(t, s, nil, store.NewOptions{}, fill("one"))
		upper := write(t, s, base, store.NewOptions{}, fill("two"))
		merged, err := s.Merge(ctx, []*store.Ref{lower, upper}, store.NewOptions{})
		noError(t, err)
		check(t, merged, true)
		diff, err := s.Diff(ctx, lower, upper, store.NewOptions{})
		noError(t, err)
		check(t, diff, false)
		own, err := s.Diff(ctx, base, upper, store.NewOptions{})
		noError(t, err)
		check(t, own, false)
		both, err := s.Merge(ctx, []*store.Ref{lower, diff}, store.NewOptions{})
		noError(t, err)
		check(t, both, true)
		release(t, base, lower, upper, merged, diff, own, both)
	})
}
