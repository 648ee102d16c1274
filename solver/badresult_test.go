package solver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// stuckResult does not let go before the gate opens.
type stuckResult struct{ free chan struct{} }

func (r *stuckResult) ID() string       { return "stuck" }
func (r *stuckResult) Sys() interface{} { return nil }
func (r *stuckResult) Release(context.Context) error {
	<-r.free
	return nil
}

// A result whose Release hangs holds up no build. Here the solver releases what an op has
// returned that nobody waits for any more, while ops of another job return.
func TestHungRelease(t *testing.T) {
	for n := range 200 {
		bubble(t, func(w *world) {
			s := w.solver(slots(1 + n%2*7))
			free := make(chan struct{})
			end := func(context.Context, []solver.Result) error {
				time.Sleep(time.Millisecond)
				return nil
			}
			var stuck []*building
			for i := range 3 {
				n := w.node("stuck" + string(rune('a'+i)))
				n.Exec = func(ctx context.Context, _ solver.Builder, _ []solver.Result) ([]solver.Result, error) {
					return []solver.Result{&stuckResult{free}}, end(ctx, nil)
				}
				stuck = append(stuck, w.start(w.job(s), n.Edge(0)))
			}
			first := w.node("first")
			second := w.node("second", first)
			first.OnExec, second.OnExec = end, end
			other := w.start(w.job(s), second.Edge(0))
			time.Sleep(time.Millisecond / 2)
			for _, b := range stuck {
				b.cancel()
			}
			other.wait("second(first())")
			close(free)
		})
	}
}

// Nor does one whose last job is discarded: it is the Discard of that job that waits.
func TestHungReleaseOfDiscarded(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		free := make(chan struct{})
		var discards []chan error
		var quick []*building
		for i := range 20 {
			n := w.node(fmt.Sprint("stuck", i))
			n.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
				return []solver.Result{&stuckResult{free}}, nil
			}
			j := w.job(s)
			r, err := j.Build(context.Background(), n.Edge(0))
			if err != nil {
				t.Fatal(err)
			}
			r.Release(context.Background()) //nolint:errcheck // not the last hold
			done := make(chan error, 1)
			discards = append(discards, done)
			other := w.job(s) // has results of its own, and goes at the same time
			quick = append(quick, w.start(other, w.node(fmt.Sprint("quick", i), w.node("below")).Edge(0)))
			go func() { done <- j.Discard() }()
		}
		top := w.node("chain0")
		for i := range 300 {
			top = w.node(fmt.Sprint("chain", i+1), top)
			top.Value = "v"
		}
		w.build(s, top.Edge(0))
		for i, q := range quick {
			q.wait(fmt.Sprintf("quick%d(below())", i))
			if err := q.job.Discard(); err != nil {
				t.Error(err)
			}
		}
		bubbleWait()
		for i, done := range discards {
			select {
			case <-done:
				t.Errorf("Discard %d has not waited for its Release", i)
			default:
			}
		}
		close(free)
		for _, done := range discards {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// badValue is a result that panics when it is asked for its value.
type badValue struct{ id string }

func (r *badValue) ID() string                    { return r.id }
func (r *badValue) Sys() interface{}              { panic("no value") }
func (r *badValue) Release(context.Context) error { return nil }

// A result that panics does not keep the storage in memory from others.
func TestResultPanicsInStorage(t *testing.T) {
	s := solver.NewInMemoryResultStorage()
	if _, err := s.Save(&badValue{"one"}); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("another result of the ID was not compared with the first")
			}
		}()
		s.Save(&badValue{"one"}) //nolint:errcheck // it panics
	}()
	if _, err := s.Load(context.Background(), solver.CacheResult{ID: "one"}); err != nil {
		t.Error(err)
	}
}
