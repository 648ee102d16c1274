package perbuild_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tenonbuild/tenon/engine/session/perbuild"
	"github.com/tenonbuild/tenon/solver"
)

func build(t *testing.T, s *solver.Solver, id string) context.Context {
	t.Helper()
	job, err := s.NewJob(id)
	if err != nil {
		t.Fatal(err)
	}
	job.SessionID = id
	t.Cleanup(func() {
		if err := job.Discard(); err != nil {
			t.Error(err)
		}
	})
	return job.Context(t.Context())
}

func TestOnceABuild(t *testing.T) {
	s := solver.NewSolver(solver.SolverOpt{})
	defer s.Close()
	var memo perbuild.Memo[int64]
	var calls atomic.Int64
	ask := func() (int64, error) { return calls.Add(1), nil }
	one, two := build(t, s, "one"), build(t, s, "two")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := memo.Do(one, "k", ask); err != nil || v != 1 {
				t.Errorf("%d, %v", v, err)
			}
		})
	}
	wg.Wait()
	for i, do := range []func() (int64, error){
		func() (int64, error) { return memo.Do(two, "k", ask) },
		func() (int64, error) { return memo.Do(one, "other", ask) },
		func() (int64, error) { return memo.Do(t.Context(), "k", ask) },
		func() (int64, error) { return memo.Do(t.Context(), "k", ask) },
	} {
		if v, err := do(); err != nil || v != int64(i)+2 {
			t.Errorf("%d: %d, %v", i, v, err)
		}
	}
}

func TestFailureIsNotRemembered(t *testing.T) {
	s := solver.NewSolver(solver.SolverOpt{})
	defer s.Close()
	var memo perbuild.Memo[string]
	ctx := build(t, s, "one")
	bad := errors.New("bad")
	if _, err := memo.Do(ctx, "k", func() (string, error) { return "half", bad }); !errors.Is(err, bad) {
		t.Error(err)
	}
	if v, err := memo.Do(ctx, "k", func() (string, error) { return "good", nil }); err != nil || v != "good" {
		t.Errorf("%q, %v", v, err)
	}
	// Who waits can leave.
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := memo.Do(ctx, "slow", func() (string, error) {
			close(entered)
			<-leave
			return "", nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-entered
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := memo.Do(cancelled, "slow", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(leave)
	wg.Wait()
}

// Work that two builds share does not wait for what only one of them finds out, and does not.
func TestStalledBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := solver.NewSolver(solver.SolverOpt{})
		defer s.Close()
		var memo perbuild.Memo[string]
		context1, context2 := build(t, s, "one"), build(t, s, "two")
		stalled, end := context.WithCancel(context1)
		var running sync.WaitGroup
		running.Go(func() {
			_, err := memo.Do(stalled, "k", func() (string, error) { <-stalled.Done(); return "", stalled.Err() })
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		shared := solver.WithCallers(context1, func() []context.Context { return []context.Context{context2} })
		for range 2 {
			if v, err := memo.Do(shared, "k", func() (string, error) { return "v", nil }); v != "v" || err != nil {
				t.Errorf("%q, %v", v, err)
			}
		}
		if v, err := memo.Do(context2, "k", nil); v != "v" || err != nil {
			t.Errorf("of the build that has found it: %q, %v", v, err)
		}
		end()
		running.Wait()
	})
}
