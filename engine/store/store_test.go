package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/log"
	"github.com/moby/buildkit/executor"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

func TestMain(m *testing.M) {
	// What the file system of temporary directories cannot do is of no interest.
	if err := log.SetLevel("error"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// snapshotters are those that every test of trees is run with.
var snapshotters = []string{"overlayfs", "native"}

// eachSnapshotter runs a test with a new store of each kind.
func eachSnapshotter(t *testing.T, test func(t *testing.T, s *store.Store)) {
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) { test(t, newStore(t, name)) })
	}
}

// newStore opens a new root, which is closed when the test ends.
func newStore(t *testing.T, snapshotter string) *store.Store {
	t.Helper()
	testenv.Root(t)
	s := openStore(t, store.Options{Root: t.TempDir(), Snapshotter: snapshotter})
	t.Cleanup(func() { noError(t, s.Close()) })
	return s
}

func openStore(t *testing.T, opt store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), opt)
	noError(t, err)
	return s
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mounted calls fn with a directory at which m is mounted.
func mounted(t *testing.T, m executor.Mountable, readonly bool, fn func(dir string)) {
	t.Helper()
	ref, err := m.Mount(context.Background(), readonly)
	noError(t, err)
	mounts, release, err := ref.Mount()
	noError(t, err)
	noError(t, mount.WithTempMount(context.Background(), mounts, func(dir string) error {
		fn(dir)
		return nil
	}))
	noError(t, release())
}

// write makes a tree on top of parent, in which fn writes. It is released when the
// test ends.
func write(t *testing.T, s *store.Store, parent *store.Ref, opt store.NewOptions, fn func(dir string)) *store.Ref {
	t.Helper()
	m, err := s.New(context.Background(), parent, opt)
	noError(t, err)
	mounted(t, m, false, fn)
	ref, err := m.Commit(context.Background())
	noError(t, err)
	return ref
}

// file returns what writes one file.
func file(t *testing.T, name, content string) func(dir string) {
	return func(dir string) {
		t.Helper()
		noError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		noError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
}

func wantFile(t *testing.T, dir, name, content string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != content {
		t.Errorf("%s: got %q (%v), want %q", name, got, err, content)
	}
}

func release(t *testing.T, refs ...*store.Ref) {
	t.Helper()
	for _, r := range refs {
		noError(t, r.Release(context.Background()))
	}
}

func TestTreeSurvives(t *testing.T) {
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) {
			testenv.Root(t)
			opt := store.Options{Root: t.TempDir(), Snapshotter: name}
			s := openStore(t, opt)
			a := write(t, s, nil, store.NewOptions{Description: "a"}, file(t, "a", "1"))
			b := write(t, s, a, store.NewOptions{}, file(t, "d/b", "2"))
			id := b.ID()
			release(t, a, b)
			noError(t, s.Close())
			s = openStore(t, opt)
			defer func() { noError(t, s.Close()) }()
			b, err := s.Get(context.Background(), id)
			noError(t, err)
			mounted(t, b, true, func(dir string) {
				wantFile(t, dir, "a", "1")
				wantFile(t, dir, "d/b", "2")
				if err := os.WriteFile(filepath.Join(dir, "c"), nil, 0o644); err == nil {
					t.Error("a tree can be written to")
				}
			})
			release(t, b)
			if err := b.Release(context.Background()); !errors.Is(err, store.ErrReleased) {
				t.Errorf("releasing twice: got %v", err)
			}
		})
	}
}

func TestResults(t *testing.T) {
	testenv.Root(t)
	solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
		s := newStore(t, "")
		var n atomic.Int64
		return solvertest.ResultStorage{
			Storage: s.Results(),
			Results: solvertest.ResultMaker{
				New: func() solver.Result {
					return store.NewResult(write(t, s, nil, store.NewOptions{}, file(t, "n", strconv.FormatInt(n.Add(1), 10))))
				},
				Value: func(r solver.Result) string {
					ref, err := store.RefOf(r)
					noError(t, err)
					var v string
					mounted(t, ref, true, func(dir string) {
						dt, err := os.ReadFile(filepath.Join(dir, "n"))
						noError(t, err)
						v = string(dt)
					})
					return v
				},
			},
		}
	})
}
