package solver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// guarded is a result that may not be used once it was released.
type guarded struct {
	solver.Result
	t        testing.TB
	released atomic.Bool
}

func (g *guarded) Sys() interface{} {
	if g.released.Load() {
		g.t.Errorf("%s was used after its release", g.Result.ID())
	}
	return g.Result.Sys()
}

func (g *guarded) Release(ctx context.Context) error {
	g.released.Store(true)
	return g.Result.Release(ctx)
}

func (w *world) guarded(value string) solver.Result {
	return &guarded{Result: solvertest.NewResult(value, w.stats), t: w.t}
}

// passing returns a chain whose first node gives v, whose next ones return their inputs as
// they are, and whose last one reads them.
func (w *world) passing(levels int) []*solvertest.Node {
	first := w.node("first")
	first.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
		return []solver.Result{w.guarded("v")}, nil
	}
	all := []*solvertest.Node{first}
	for i := range levels {
		n := w.node(fmt.Sprint("pass", i), all[len(all)-1])
		n.Exec = func(_ context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) { return in, nil }
		all = append(all, n)
	}
	return append(all, w.node("reads", all[len(all)-1]))
}

// contract 6, fault 1: an op may return its input, through several levels. The output is a
// hold of its own: whoever is discarded first, nobody uses what was released, and each
// result is released once.
func TestOpReturnsInput(t *testing.T) {
	for order := range 24 {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				chain := w.passing(3)
				var jobs []*solver.Job
				var got []solver.CachedResult
				for _, n := range chain[:4] {
					j := w.job(s)
					r, err := j.Build(context.Background(), n.Edge(0))
					if err != nil {
						t.Fatal(err)
					}
					jobs, got = append(jobs, j), append(got, r)
				}
				left := order
				for n := len(jobs); n > 0; n-- {
					i := left % n
					left /= n
					for _, r := range got {
						if solvertest.Value(r) != "v" {
							t.Errorf("%q", solvertest.Value(r))
						}
					}
					jobs[i].Discard()
					got[i].Release(context.Background())
					jobs, got = append(jobs[:i:i], jobs[i+1:]...), append(got[:i:i], got[i+1:]...)
					bubbleWait()
				}
				w.idle(s)
			})
		})
	}
}

// contract 6, fault 1: what is below is let go while what passes it on is still wanted.
func TestPassedInputOutlivesItsVertex(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		chain := w.passing(2)
		below, above := w.job(s), w.job(s)
		w.buildIn(below, chain[0].Edge(0))
		r, err := above.Build(context.Background(), chain[2].Edge(0))
		if err != nil {
			t.Fatal(err)
		}
		below.Discard()
		w.buildIn(above, chain[3].Edge(0))
		above.Discard()
		bubbleWait()
		if solvertest.Value(r) != "v" {
			t.Error(solvertest.Value(r))
		}
		r.Release(context.Background())
		w.idle(s)
	})
}

// contract 6, fault 1: an input as several outputs, inputs in another order, an input
// beside an error, an input that the op released itself, what it has built, and an input
// that goes on through the cache.
func TestOpReturnsInputSiblings(t *testing.T) {
	pass := func(pick ...int) func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
		return func(_ context.Context, _ solver.Builder, in []solver.Result) (out []solver.Result, _ error) {
			for _, i := range pick {
				out = append(out, in[i])
			}
			return out, nil
		}
	}
	for name, c := range map[string]struct {
		exec func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error)
		want string // of output 1; "" for an error
	}{
		"twice":   {pass(0, 0), "a"},
		"swapped": {pass(1, 0), "a"},
		"released by the op": {func(ctx context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) {
			in[0].Release(ctx)
			return []solver.Result{in[1], in[0]}, nil
		}, "a"},
		"beside an error": {func(_ context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) {
			return in, errBroken
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				leaf := func(id string) *solvertest.Node {
					n := w.node(id)
					n.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
						return []solver.Result{w.guarded(id)}, nil
					}
					return n
				}
				n := w.node("n", leaf("a"), leaf("b"))
				n.Exec = c.exec
				if c.want == "" {
					w.fails(s, n.Edge(1))
					w.idle(s)
					return
				}
				j := w.job(s)
				if got := w.buildIn(j, n.Edge(1)); got != c.want {
					t.Errorf("%q", got)
				}
				w.buildIn(j, n.Edge(0))
				j.Discard()
				if got := w.build(s, n.Edge(1)); got != c.want { // from the cache
					t.Errorf("%q", got)
				}
				w.idle(s)
			})
		})
	}
	t.Run("what it has built", func(t *testing.T) {
		bubble(t, func(w *world) {
			s := w.solver()
			n := w.node("n")
			n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
				r, err := b.Build(ctx, w.passing(2)[2].Edge(0))
				return []solver.Result{r}, err
			}
			j := w.job(s)
			if got := w.buildIn(j, w.node("top", n).Edge(0)); got != "top(v)" {
				t.Error(got)
			}
			j.Discard()
			w.idle(s)
		})
	})
}

// contract 6, 13, fault 1: somebody who shares the run, or leaves while it is under way.
func TestOpReturnsInputWhileShared(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		graph := func(id string) solver.Edge {
			n := w.equal("pass", id, w.passing(1)[1])
			n.Exec = func(ctx context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) {
				g.stuck(ctx)
				return in, nil
			}
			return n.Edge(0)
		}
		first := w.start(w.job(s), graph("a"))
		<-g.reached
		second := w.start(w.job(s), graph("b"))
		third := w.start(w.job(s), graph("a"))
		bubbleWait()
		first.job.Discard()
		third.canceled()
		g.open()
		second.wait("v")
		third.job.Discard()
		second.job.Discard()
		w.idle(s)
	})
}

// What an op does to the list of its inputs is its own affair.
func TestOpChangesItsInputs(t *testing.T) {
	bubble(t, func(w *world) {
		n := w.node("n", w.node("a"), w.node("b"))
		n.Exec = func(_ context.Context, _ solver.Builder, inputs []solver.Result) ([]solver.Result, error) {
			last := inputs[1]
			clear(inputs)
			return []solver.Result{last}, nil
		}
		if got := w.build(w.solver(), n.Edge(0)); got != "b()" {
			t.Errorf("built %q", got)
		}
	})
}
