package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tenonbuild/tenon/solver"
)

type callerKey struct{}

// caller is a context with a name in it.
func caller(name string) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithValue(context.Background(), callerKey{}, name))
}

// A call goes on when the one who began it leaves, with the values of one who stays;
// it ends with the last.
func TestFlightOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights[string]
		goOn := make(chan struct{})
		fn := func(ctx context.Context) (string, error) {
			select {
			case <-goOn:
				return fmt.Sprint(ctx.Value(callerKey{})), ctx.Err()
			case <-ctx.Done():
				return "", fmt.Errorf("%v: %w", ctx.Value(callerKey{}), context.Cause(ctx))
			}
		}
		type answer struct {
			value string
			err   error
		}
		ask := func(ctx context.Context) <-chan answer {
			ch := make(chan answer, 1)
			go func() {
				v, err := f.Do(ctx, "key", fn)
				ch <- answer{v, err}
			}()
			synctest.Wait()
			return ch
		}
		first, leaveFirst := caller("first")
		second, leaveSecond := caller("second")
		third, leaveThird := caller("third")
		defer leaveThird()

		one, two, three := ask(first), ask(second), ask(third)
		leaveFirst()
		if a := <-one; !errors.Is(a.err, context.Canceled) {
			t.Errorf("who has left: %+v", a)
		}
		goOn <- struct{}{}
		for _, ch := range []<-chan answer{two, three} {
			if a := <-ch; a.err != nil || a.value != "second" {
				t.Errorf("who has stayed: %+v", a)
			}
		}

		two = ask(second)
		leaveSecond()
		if a := <-two; !errors.Is(a.err, context.Canceled) {
			t.Errorf("the only one, who has left: %+v", a)
		}
		three = ask(third)
		goOn <- struct{}{}
		if a := <-three; a.err != nil || a.value != "third" {
			t.Errorf("who comes afterwards: %+v", a)
		}
		if len(f.byKey) != 0 {
			t.Errorf("%d calls are left", len(f.byKey))
		}
	})
}

// A call that panics is an error for those who wait for it.
func TestFlightPanics(t *testing.T) {
	var f flights[int]
	_, err := f.Do(t.Context(), "key", func(context.Context) (int, error) { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "panic: oh") {
		t.Error(err)
	}
}

// At no time are there two calls for a key, whoever comes and goes, and whoever
// stays has a value.
func TestFlightsAtRandom(t *testing.T) {
	var f flights[int]
	var running atomic.Int32
	fn := func(ctx context.Context) (int, error) {
		if n := running.Add(1); n != 1 {
			t.Errorf("%d calls at once", n)
		}
		defer running.Add(-1)
		if ctx.Value(callerKey{}) == nil {
			t.Error("a call without a caller's values")
		}
		// Calls may be within calls.
		_, err := f.Do(ctx, "inner", func(ctx context.Context) (int, error) {
			if ctx.Value(callerKey{}) == nil {
				t.Error("an inner call without a caller's values")
			}
			return 1, ctx.Err()
		})
		return 1, err
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 500 {
				ctx, leave := caller("x")
				if (n+i)%3 == 0 {
					all.Go(leave)
				}
				if v, err := f.Do(ctx, "outer", fn); (err != nil || v != 1) && ctx.Err() == nil {
					t.Errorf("%d, %v", v, err)
				}
				leave()
			}
		})
	}
	all.Wait()
}

// A call finds the sessions of all who wait for it: one of them may not answer.
func TestFlightHasAllSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := solver.NewSolver(solver.SolverOpt{})
		defer s.Close()
		var f flights[string]
		goOn := make(chan struct{})
		var running sync.WaitGroup
		leave := map[string]context.CancelFunc{}
		for _, id := range []string{"one", "two", "three"} {
			job, err := s.NewJob(id)
			if err != nil {
				t.Fatal(err)
			}
			job.SessionID = id
			var ctx context.Context
			ctx, leave[id] = context.WithCancel(job.Context(t.Context()))
			defer leave[id]()
			running.Go(func() {
				got, err := f.Do(ctx, "key", func(ctx context.Context) (string, error) {
					<-goOn
					return fmt.Sprint(solver.SessionIDs(ctx)), nil
				})
				if ctx.Err() == nil && (got != "[two three]" || err != nil) {
					t.Errorf("%s, %v", got, err)
				}
			})
			synctest.Wait()
		}
		leave["one"]()
		synctest.Wait()
		close(goOn)
		running.Wait()
	})
}
