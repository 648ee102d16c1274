package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"golang.org/x/sys/unix"
)

func anything(*unix.Stat_t) bool { return true }

// linkAt links a path.
func linkAt(l *store.Linker, path string, same func(*unix.Stat_t) bool) bool {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	d := l.Dir(dir)
	defer d.Close()
	return d.Link(name, same)
}

// linkNew makes a tree on nothing, for which fn links files of from.
func linkNew(t *testing.T, s *store.Store, from *store.Ref, fn func(l *store.Linker, dir string)) *store.Ref {
	t.Helper()
	ctx := context.Background()
	m, err := s.New(ctx, nil, store.NewOptions{})
	noError(t, err)
	l, err := m.LinkFrom(ctx, from)
	noError(t, err)
	mounted(t, m, false, func(dir string) { fn(l, dir) })
	noError(t, l.Close())
	ref, err := m.Commit(ctx)
	noError(t, err)
	return ref
}

// Only regular files are linked, of their own path in both trees and of nowhere else.
func TestLinksStayInside(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		outside := filepath.Join(t.TempDir(), "secret")
		noError(t, os.WriteFile(outside, []byte("secret"), 0o644))
		a := write(t, s, nil, store.NewOptions{}, func(dir string) {
			file(t, "d/file", "1")(dir)
			file(t, "there", "1")(dir)
			file(t, "outdir/secret", "1")(dir)
			noError(t, os.Symlink("d", filepath.Join(dir, "dirlink")))
			noError(t, os.Symlink("d/file", filepath.Join(dir, "link")))
			noError(t, os.Symlink(outside, filepath.Join(dir, "outlink")))
			noError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
		})
		b := linkNew(t, s, a, func(l *store.Linker, dir string) {
			noError(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
			noError(t, os.Mkdir(filepath.Join(dir, "dirlink"), 0o755))
			noError(t, os.Symlink(filepath.Dir(outside), filepath.Join(dir, "outdir")))
			noError(t, os.WriteFile(filepath.Join(dir, "there"), []byte("2"), 0o644))
			for path, want := range map[string]bool{
				"d/file": true, "there": false, "nowhere": false, "d": false, "d/..": false, "": false, ".": false, "/": false,
				"dirlink/file": false, "link": false, "outlink": false, "fifo": false, "outdir/secret": false,
				outside: false, "../" + filepath.Base(dir): false, "../../metadata.db": false, "d/../../x": false, "no/parent": false, "a\x00b": false,
			} {
				if got := linkAt(l, path, anything); got != want {
					t.Errorf("%q: linked %v, want %v", path, got, want)
				}
			}
			if linkAt(l, "d/file", anything) {
				t.Error("what is there was linked again")
			}
		})
		mounted(t, b, true, func(dir string) {
			wantFile(t, dir, "d/file", "1")
			wantFile(t, dir, "there", "2")
		})
		if dt, err := os.ReadFile(outside); err != nil || string(dt) != "secret" {
			t.Errorf("outside: %q, %v", dt, err)
		}
		c := linkNew(t, s, a, func(l *store.Linker, dir string) {
			if linkAt(l, "there", func(st *unix.Stat_t) bool { return st.Size != 1 }) {
				t.Error("what is not the same was linked")
			}
		})
		release(t, a, b, c)
	})
}

func TestNoLinks(t *testing.T) {
	ctx := context.Background()
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		a := write(t, s, nil, store.NewOptions{}, file(t, "a", "1"))
		child := write(t, s, a, store.NewOptions{}, file(t, "b", "1"))
		other := newStore(t, s.Snapshotter())
		foreign := write(t, other, nil, store.NewOptions{}, file(t, "a", "1"))
		r := newRemote()
		lazy, err := s.FromLayers(ctx, list(r.layer(t, "application/vnd.oci.image.layer.v1.tar", "a", "1")), r, store.NewOptions{})
		noError(t, err)
		merged, err := s.Merge(ctx, []*store.Ref{a, child}, store.NewOptions{})
		noError(t, err)
		on := func(parent, from *store.Ref) error {
			m, err := s.New(ctx, parent, store.NewOptions{})
			noError(t, err)
			defer func() { noError(t, m.Release(ctx)) }()
			l, err := m.LinkFrom(ctx, from)
			if err == nil {
				return l.Close()
			}
			return err
		}
		for name, err := range map[string]error{
			"from nothing": on(nil, nil), "from a child": on(nil, child), "into a child": on(a, a),
			"from another store": on(nil, foreign), "from layers": on(nil, lazy), "from a merge": on(nil, merged),
		} {
			if !errors.Is(err, store.ErrNoLinks) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if r.fetched() != 0 {
			t.Error("a layer was fetched")
		}
		noError(t, on(nil, a))
		gone := a.Clone()
		release(t, gone)
		if err := on(nil, gone); !errors.Is(err, store.ErrReleased) {
			t.Errorf("from a released one: got %v", err)
		}
		m, err := s.New(ctx, nil, store.NewOptions{})
		noError(t, err)
		l, err := m.LinkFrom(ctx, a)
		noError(t, err)
		if _, err := m.LinkFrom(ctx, a); !errors.Is(err, store.ErrReleased) {
			t.Errorf("a second time: got %v", err)
		}
		noError(t, l.Close())
		noError(t, m.Release(ctx))
		release(t, a, child, foreign, lazy, merged)
	})
}

func list[T any](x ...T) []T { return x }

// What trees share is counted once, with the youngest, and what the oldest is said to
// take is what its going frees.
func TestSharedIsCountedOnce(t *testing.T) {
	ctx := context.Background()
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		const mb = 1 << 20
		big := strings.Repeat("x", mb)
		a := write(t, s, nil, store.NewOptions{}, func(dir string) {
			for _, name := range []string{"1", "2", "3"} {
				file(t, name, big)(dir)
			}
		})
		next := func(from *store.Ref, linked string, own ...string) *store.Ref {
			return linkNew(t, s, from, func(l *store.Linker, dir string) {
				for name := range strings.SplitSeq(linked, "") {
					if !linkAt(l, name, anything) {
						t.Errorf("%s was not linked", name)
					}
				}
				for _, name := range own {
					file(t, name, big)(dir)
				}
			})
		}
		b := next(a, "12", "4")
		c := next(b, "1", "5", "6")
		side := next(a, "3")
		want := func(when string, sizes map[*store.Ref]int64) {
			t.Helper()
			all, err := s.Du(ctx)
			noError(t, err)
			for ref, size := range sizes {
				for _, u := range all {
					if u.ID == ref.ID() && u.Size/mb != size {
						t.Errorf("%s: %s takes %d bytes, want %d MB", when, u.ID, u.Size, size)
					}
				}
			}
			if len(all) != len(sizes) {
				t.Errorf("%s: there are %d records, want %d", when, len(all), len(sizes))
			}
		}
		// What is shared is the youngest's.
		want("all", map[*store.Ref]int64{a: 0, b: 2, c: 3, side: 1})
		prune := func(opt store.PruneOptions) (freed int64) {
			noError(t, s.Prune(ctx, opt, func(u store.UsageInfo) { freed += u.Size / mb }))
			return freed
		}
		release(t, side)
		if freed := prune(store.PruneOptions{All: true}); freed != 0 {
			t.Errorf("side, whose file a has, too: %d MB", freed)
		}
		want("without side", map[*store.Ref]int64{a: 1, b: 2, c: 3})
		// The oldest goes first, as it does.
		release(t, a)
		if freed := prune(store.PruneOptions{All: true}); freed != 1 {
			t.Errorf("a: %d MB", freed)
		}
		want("without a", map[*store.Ref]int64{b: 2, c: 3})
		// The youngest goes: what it has shared is b's again.
		release(t, c)
		prune(store.PruneOptions{All: true})
		want("without c", map[*store.Ref]int64{b: 3})
		mounted(t, b, true, func(dir string) {
			for _, name := range []string{"1", "2", "4"} {
				wantFile(t, dir, name, big)
			}
		})
		release(t, b)
		if freed := prune(store.PruneOptions{All: true}); freed != 3 {
			t.Errorf("b: %d MB", freed)
		}
		// To keep a limit, what the youngest gives back is counted.
		d := write(t, s, nil, store.NewOptions{}, func(dir string) { file(t, "1", big)(dir); file(t, "2", big)(dir) })
		e := next(d, "12")
		release(t, e)
		release(t, d) // used last
		noError(t, s.Prune(ctx, store.PruneOptions{MaxUsedSpace: mb}, nil))
		want("under a limit", map[*store.Ref]int64{})
	})
}

// What is shared is written down, and survives the process.
func TestSharedAfterReopen(t *testing.T) {
	testenv.Root(t)
	ctx := context.Background()
	opt := store.Options{Root: t.TempDir()}
	s := openStore(t, opt)
	big := strings.Repeat("x", 1<<20)
	a := write(t, s, nil, store.NewOptions{Description: "a"}, file(t, "1", big))
	b := linkNew(t, s, a, func(l *store.Linker, _ string) { linkAt(l, "1", anything) })
	release(t, a, b)
	noError(t, s.Close())
	s = openStore(t, opt)
	all, err := s.Du(ctx)
	noError(t, err)
	for _, u := range all {
		if small := u.Size < 1<<20; small != (u.Description == "a") {
			t.Errorf("%q takes %d bytes", u.Description, u.Size)
		}
	}
	noError(t, s.Close())
}
