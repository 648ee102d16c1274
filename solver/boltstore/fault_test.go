package boltstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

var errDisk = errors.New("the disk is on fire")

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
func both(t testing.TB, s, model solver.CacheKeyStorage, ops ...solvertest.StorageOp) {
	t.Helper()
	for _, op := range ops {
		must(t, op.Apply(model))
		must(t, op.Apply(s))
	}
}

func addResult(id, result string) solvertest.StorageOp {
	return solvertest.StorageOp{Kind: "AddResult", ID: id, Result: res(result)}
}

func addLink(from, op, to string) solvertest.StorageOp {
	return solvertest.StorageOp{Kind: "AddLink", ID: from, Link: link(op), Target: to}
}

func release(result string) solvertest.StorageOp {
	return solvertest.StorageOp{Kind: "Release", Result: res(result)}
}

// testCommitFails: a commit that fails, before or after it took place, loses
// nothing, and is reported and repeated by Sync.
func testCommitFails(t *testing.T, hook func(*hooks) *func() error) {
	path, model := storePath(t), solvertest.NewStorageModel()
	var opt Options
	failing := true
	*hook(&opt.hooks) = func() error {
		if failing {
			return errDisk
		}
		return nil
	}
	opt.FlushEvery = time.Hour
	s := openTest(t, path, opt)
	both(t, s, model, addResult("b", "r"), addResult("b", "q"), addLink("a", "op", "b"))
	for range 3 {
		if err := s.Sync(t.Context()); !errors.Is(err, errDisk) {
			t.Fatalf("got %v, want the disk's error", err)
		}
		must(t, solvertest.DiffStorage(s, model))
		// Removed, and added again, on top of what may be on the disk or not.
		both(t, s, model, release("q"), release("r"))
		must(t, solvertest.DiffStorage(s, model))
		both(t, s, model, addResult("b", "r"), addResult("b", "q"), addLink("c", "op", "b"), addLink("b", "op", "d"))
		must(t, solvertest.DiffStorage(s, model))
	}
	failing = false
	must(t, s.Sync(t.Context()))
	must(t, s.Check())
	must(t, s.Close())
	must(t, solvertest.DiffStorage(openTest(t, path, Options{}), model))
}

func TestCommitFails(t *testing.T) {
	t.Run("Before", func(t *testing.T) {
		testCommitFails(t, func(h *hooks) *func() error { return &h.beforeCommit })
	})
	t.Run("After", func(t *testing.T) {
		testCommitFails(t, func(h *hooks) *func() error { return &h.afterCommit })
	})
}

// TestFull: what waits for a disk that fails is bounded. A write beyond is
// dropped as a whole, and says so; Release is not.
func TestFull(t *testing.T) {
	model, failing := solvertest.NewStorageModel(), true
	opt := Options{FlushEvery: time.Hour, FlushSize: 10, MaxPending: 100}
	opt.hooks.beforeCommit = func() error {
		if failing {
			return errDisk
		}
		return nil
	}
	s := openTest(t, storePath(t), opt)
	for i := 0; ; i++ {
		op := addResult(fmt.Sprint("n", i), fmt.Sprint("r", i))
		if err := op.Apply(s); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatalf("got %v, want ErrFull", err)
			}
			break
		}
		must(t, op.Apply(model))
		if i > 1000 {
			t.Fatal("what is pending has no bound")
		}
	}
	if err := s.Sync(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want the disk's error", err)
	}
	err := s.AddLink("x", link("op"), "y")
	if !errors.Is(err, ErrFull) || !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want ErrFull and the disk's error", err)
	}
	must(t, solvertest.DiffStorage(s, model))
	both(t, s, model, release("r1"))
	must(t, solvertest.DiffStorage(s, model))
	failing = false
	must(t, s.Sync(t.Context()))
	both(t, s, model, addLink("x", "op", "y"))
	must(t, solvertest.DiffStorage(s, model))
}

// TestNobodyWaits: while a commit hangs, reads and writes go on, and Sync can be
// left.
func TestNobodyWaits(t *testing.T) {
	model := solvertest.NewStorageModel()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(leave) })
	defer goOn()
	opt := Options{FlushEvery: time.Hour}
	opt.hooks.beforeCommit = func() error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	s := openTest(t, storePath(t), opt)
	both(t, s, model, addResult("b", "r"), addLink("a", "op", "b"))
	synced := make(chan error, 1)
	go func() { synced <- s.Sync(context.Background()) }()
	<-entered
	must(t, solvertest.DiffStorage(s, model))
	both(t, s, model, addResult("c", "r"), addResult("c", "q"), addLink("b", "op", "c"), release("r"))
	must(t, solvertest.DiffStorage(s, model))
	both(t, s, model, release("q"))
	must(t, solvertest.DiffStorage(s, model))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errDisk)
	if err := s.Sync(ctx); !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want what ended the context", err)
	}
	goOn()
	must(t, <-synced)
	must(t, solvertest.DiffStorage(s, model))
}

// TestReleasedAgain: what a commit under way holds is hidden once, however often
// it is released on top of it.
func TestReleasedAgain(t *testing.T) {
	model := solvertest.NewStorageModel()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(leave) })
	defer goOn()
	opt := Options{FlushEvery: time.Hour}
	opt.hooks.beforeCommit = func() error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	s := openTest(t, storePath(t), opt)
	both(t, s, model, addResult("n", "r"), addResult("n", "kept"), addResult("end", "kept"), addResult("gone", "g"),
		addLink("hub", "op", "gone"), addLink("hub", "op", "end"))
	s.wake()
	<-entered
	for range 3 {
		both(t, s, model, release("r"), release("g"), addResult("hub", "h"), release("h"))
		must(t, solvertest.DiffStorage(s, model))
		both(t, s, model, addResult("n", "r"), addResult("gone", "g"))
	}
	goOn()
	must(t, s.Sync(t.Context()))
	must(t, solvertest.DiffStorage(s, model))
}

// TestScanAfterCommit: what a commit adds is found by a Release that had looked
// further already.
func TestScanAfterCommit(t *testing.T) {
	s := openTest(t, storePath(t), Options{FlushEvery: time.Hour})
	for round := range 30 {
		hub, many := fmt.Sprint("hub", round), fmt.Sprint("many", round)
		id := func(i int) string { return fmt.Sprint("n", round, "-", i) }
		// add gives hub a link, and many a result, that go with the result id(i).
		add := func(i int) {
			must(t, s.AddLink(hub, link(id(i)), id(i)))
			must(t, s.AddResult(id(i), res(id(i))))
			must(t, s.AddResult(many, res(id(i))))
		}
		const n = 20
		for i := range n {
			add(i)
		}
		must(t, s.Sync(t.Context()))
		for i := range n - 1 {
			must(t, s.Release(id(i)))
		}
		// These come in anywhere in the order of the hashes.
		for i := range n {
			add(n + i)
		}
		must(t, s.Sync(t.Context()))
		for i := n - 1; i < 2*n; i++ {
			if !s.Exists(hub) || !s.Exists(many) {
				t.Fatalf("round %d: released with %d links and results left", round, 2*n-i)
			}
			must(t, s.Release(id(i)))
		}
		if s.Exists(hub) || s.Exists(many) {
			t.Fatal("what has nothing left is still there")
		}
	}
}

// TestFlushesInTime: a write is on the disk after FlushEvery, and nothing runs
// when nothing is pending.
func TestFlushesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, storePath(t), Options{FlushEvery: time.Second})
		for range 3 {
			must(t, s.AddResult("a", res("r")))
			must(t, s.Release("r"))
			time.Sleep(time.Second - 1)
			synctest.Wait()
			s.mu.RLock()
			if s.durable == s.written || !s.running {
				t.Error("it was flushed too early")
			}
			s.mu.RUnlock()
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			s.mu.RLock()
			if s.durable != s.written || s.running {
				t.Error("it was not flushed in time, or the runner has not ended")
			}
			s.mu.RUnlock()
		}
	})
}

// TestRetries: a commit that fails is tried again, less and less often, without
// anybody asking.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, start := []time.Duration(nil), time.Now()
		opt := Options{FlushEvery: time.Second}
		opt.hooks.beforeCommit = func() error {
			attempts = append(attempts, time.Since(start))
			if len(attempts) < 8 {
				return errDisk
			}
			return nil
		}
		s := openTest(t, storePath(t), opt)
		must(t, s.AddResult("a", res("r")))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		want := []time.Duration{1, 3, 7, 15, 31, 61, 91, 121}
		if len(attempts) != len(want) {
			t.Fatalf("attempts after %v", attempts)
		}
		for i, at := range attempts {
			if at != want[i]*time.Second {
				t.Fatalf("attempts after %v, want seconds %v", attempts, want)
			}
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.running || s.durable != s.written {
			t.Error("the write is not on the disk")
		}
	})
}

// TestClosed: what is asked of a closed store says so.
func TestClosed(t *testing.T) {
	s := openTest(t, storePath(t), Options{})
	must(t, s.AddResult("a", res("r")))
	must(t, s.Close())
	must(t, s.Close())
	none := func(string) error { return nil }
	_, loadErr := s.Load("a", "r")
	for i, err := range []error{
		s.AddResult("a", res("r")), s.AddLink("a", link("op"), "b"), s.Release("r"), s.Walk(none), loadErr,
		s.WalkLinks("a", link("op"), none), s.WalkIDsByResult("r", none), s.Sync(t.Context()), s.Check(),
		s.WalkResults("a", func(solver.CacheResult) error { return nil }),
		s.WalkBacklinks("a", func(string, solver.CacheInfoLink) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: got %v, want ErrClosed", i, err)
		}
	}
	if s.Exists("a") || s.HasLink("a", link("op"), "b") {
		t.Error("a closed store has something")
	}
}

// TestCloseReports: Close says what was lost.
func TestCloseReports(t *testing.T) {
	var opt Options
	opt.hooks.beforeCommit = func() error { return errDisk }
	s, err := Open(storePath(t), opt)
	must(t, err)
	must(t, s.AddResult("a", res("r")))
	if err := s.Close(); !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want the disk's error", err)
	}
}
