package logstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

func res(id string) solver.CacheResult {
	return solver.CacheResult{ID: id, CreatedAt: time.Unix(1700000000, 1)}
}

func link(op string) solver.CacheInfoLink {
	return solver.CacheInfoLink{Digest: digest.FromString(op)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// both applies a change to a store and to its model.
func both(t testing.TB, s, model solver.CacheKeyStorage, op solvertest.StorageOp) {
	t.Helper()
	must(t, op.Apply(model))
	must(t, op.Apply(s))
}

// badDisk fails when its tests want it to.
type badDisk struct {
	osDisk
	mu sync.Mutex
	// room is how many more bytes there is room for; negative is without end.
	room int
	// fail says of a call by its name whether it fails.
	fail func(call string) error
}

func (d *badDisk) failing(call string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(call)
}

// set changes how the disk fails.
func (d *badDisk) set(room int, fail func(string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room, d.fail = room, fail
}

func (d *badDisk) open(name string) (file, error) {
	f, err := d.osDisk.open(name)
	if err != nil {
		return nil, err
	}
	return &badFile{f, d}, nil
}

func (d *badDisk) create(beside string) (file, error) {
	if err := d.failing("create"); err != nil {
		return nil, err
	}
	f, err := d.osDisk.create(beside)
	if err != nil {
		return nil, err
	}
	return &badFile{f, d}, nil
}

func (d *badDisk) rename(from, to string) error {
	return errors.Join(d.failing("rename"), d.osDisk.rename(from, to))
}

func (d *badDisk) syncDir(dir string) error {
	return errors.Join(d.failing("syncDir"), d.osDisk.syncDir(dir))
}

type badFile struct {
	file
	d *badDisk
}

// WriteAt writes as much as there is room for.
func (f *badFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.d.failing("write"); err != nil {
		return 0, err
	}
	f.d.mu.Lock()
	n := len(b)
	if f.d.room >= 0 {
		n = min(n, f.d.room)
		f.d.room -= n
	}
	f.d.mu.Unlock()
	m, err := f.file.WriteAt(b[:n], at)
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return m, err
}

func (f *badFile) Sync() error { return errors.Join(f.d.failing("sync"), f.file.Sync()) }

var errDisk = errors.New("the disk is on fire")

// A disk without room, or that fails, loses nothing, and is used again when it can be.
func TestDiskFails(t *testing.T) {
	for name, set := range map[string]func(*badDisk){
		"full":     func(d *badDisk) { d.set(10, nil) },
		"no write": func(d *badDisk) { d.set(-1, func(string) error { return errDisk }) },
		"no sync": func(d *badDisk) {
			d.set(-1, func(call string) error {
				if call == "sync" {
					return errDisk
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &badDisk{room: -1}
			path, model := storePath(t), solvertest.NewStorageModel()
			s := openTest(t, path, Options{disk: d, FlushEvery: time.Hour})
			rng := rand.New(rand.NewPCG(1, 1))
			change := func() {
				for range 200 {
					both(t, s, model, solvertest.RandomStorageOp(rng, 30))
				}
			}
			change()
			must(t, s.Sync(t.Context()))
			synced := model.Clone()
			set(d)
			change()
			for range 2 {
				if err := s.Sync(t.Context()); !errors.Is(err, errDisk) && !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("got %v", err)
				}
			}
			must(t, solvertest.DiffStorage(s, model))
			// What was synced is in the file, whatever else there is.
			if name != "no sync" {
				wantCopy(t, path, synced)
			}
			d.set(-1, nil)
			must(t, s.Sync(t.Context()))
			wantCopy(t, path, model)
			set(d)
			must(t, s.AddResult("last", res("r")))
			if err := s.Close(); err == nil || !errors.Is(err, errDisk) && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Close says %v", err)
			}
			if name != "no sync" { // with which it may be there or not
				wantCopy(t, path, model)
			}
		})
	}
}

// wantCopy opens a copy of a file, and compares it with a model.
func wantCopy(t *testing.T, path string, model *solvertest.StorageModel) {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	copied := storePath(t)
	must(t, os.WriteFile(copied, content, 0o600))
	s, err := Open(copied, Options{})
	must(t, err)
	must(t, solvertest.DiffStorage(s, model))
	must(t, s.Close())
}

// A compaction that fails leaves all as it was, and is told.
func TestCompactionFails(t *testing.T) {
	for _, call := range []string{"create", "write", "sync", "rename", "syncDir"} {
		t.Run(call, func(t *testing.T) {
			d := &badDisk{room: -1}
			path, model := storePath(t), solvertest.NewStorageModel()
			var warned error
			s := openTest(t, path, Options{disk: d, FlushEvery: time.Hour, compactAt: 1, Warn: func(err error) { warned = err }})
			rng := rand.New(rand.NewPCG(1, 1))
			for range 20 {
				for range 50 {
					both(t, s, model, solvertest.RandomStorageOp(rng, 20))
				}
				d.set(-1, func(c string) error {
					if c == call && rng.IntN(2) == 0 {
						return errDisk
					}
					return nil
				})
				_ = s.Sync(t.Context())
				d.set(-1, nil)
				must(t, s.Sync(t.Context()))
				wantCopy(t, path, model)
			}
			if call == "create" && !errors.Is(warned, errDisk) {
				t.Errorf("the warning is %v", warned)
			}
			must(t, s.Check())
		})
	}
}

// What waits is bounded, and what makes room is never refused.
func TestFull(t *testing.T) {
	d := &badDisk{room: -1}
	path := storePath(t)
	s := openTest(t, path, Options{disk: d, FlushEvery: time.Hour, MaxPending: 1000})
	d.set(0, nil)
	var err error
	n := 0
	for ; err == nil; n++ {
		err = s.AddResult(fmt.Sprint("node", n), res("r"))
	}
	if !errors.Is(err, ErrFull) || n < 10 || n > 1000 {
		t.Fatalf("after %d writes: %v", n, err)
	}
	must(t, s.Release("r"))
	d.set(-1, nil)
	must(t, s.Sync(t.Context()))
	must(t, s.AddResult("a", res("r")))
}

func TestClosed(t *testing.T) {
	s := openTest(t, storePath(t), Options{})
	must(t, s.AddResult("a", res("r")))
	must(t, s.Close())
	must(t, s.Close())
	for _, err := range []error{s.AddResult("b", res("r")), s.AddLink("a", link("op"), "b"), s.Release("r"), s.Sync(t.Context()), s.Check()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if !s.Exists("a") || s.Exists("b") {
		t.Error("look-ups do not answer")
	}
}

// A Sync that is cancelled ends.
func TestSyncCancelled(t *testing.T) {
	d := &badDisk{room: -1}
	s := openTest(t, storePath(t), Options{disk: d, FlushEvery: time.Hour})
	must(t, s.AddResult("a", res("r")))
	s.writing.Lock() // as a disk that hangs does
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errDisk)
	if err := s.Sync(ctx); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if !s.Exists("a") {
		t.Error("look-ups wait for the disk")
	}
	s.writing.Unlock()
}

// TestModel makes random changes to a store and to a model, with syncs, reopenings and
// a disk that fails in between, and compares the two.
func TestModel(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 0))
		d := &badDisk{room: -1}
		opt := Options{disk: d, FlushEvery: time.Duration(1+rng.IntN(1000)) * time.Microsecond, compactAt: 1 << rng.IntN(14)}
		path, model := storePath(t), solvertest.NewStorageModel()
		s, err := Open(path, opt)
		must(t, err)
		nodes := 2 + rng.IntN(2<<rng.IntN(6))
		for step := range 400 {
			switch k := rng.IntN(100); {
			case k < 90:
				both(t, s, model, solvertest.RandomStorageOp(rng, nodes))
			case k < 93:
				d.set([]int{-1, 0, 100, 3000}[rng.IntN(4)], nil)
			case k < 96:
				if err := s.Sync(t.Context()); err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
			case k < 97:
				d.set(-1, nil)
				must(t, s.Sync(t.Context()))
				must(t, s.Check())
				must(t, s.Close())
				must(t, CheckFile(path))
				s, err = Open(path, opt)
				must(t, err)
				must(t, s.Damage())
			default:
				if err := solvertest.DiffStorage(s, model); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			}
		}
		d.set(-1, nil)
		must(t, s.Close())
		s, err = Open(path, opt)
		must(t, err)
		if err := errors.Join(s.Damage(), solvertest.DiffStorage(s, model)); err != nil {
			t.Fatalf("seed %d, opened again: %v", seed, err)
		}
		must(t, s.Graph().Check())
		must(t, s.Close())
	}
}
