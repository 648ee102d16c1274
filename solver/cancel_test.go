package solver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// stages are where a build can be when it is cancelled. Each makes a graph whose
// build is held up at hold, the first time round, and then gives "top(...)".
var stages = map[string]func(w *world, hold func(context.Context) error) *solvertest.Node{
	"resolving": func(w *world, hold func(context.Context) error) *solvertest.Node {
		n := w.node("n", w.node("in"))
		n.OnResolve = func(solver.Builder) error { return hold(context.Background()) }
		return w.node("top", n)
	},
	"cache map": func(w *world, hold func(context.Context) error) *solvertest.Node {
		n := w.node("n", w.node("in"))
		n.OnCacheMap = func(ctx context.Context, _ int) error { return hold(ctx) }
		return w.node("top", n)
	},
	"second cache map": func(w *world, hold func(context.Context) error) *solvertest.Node {
		n := w.node("n")
		n.Keys = []string{"a", "b"}
		n.OnCacheMap = func(ctx context.Context, i int) error {
			if i == 0 {
				return nil
			}
			return hold(ctx)
		}
		return w.node("top", n)
	},
	"query":   slowSource("Query"),
	"records": slowSource("Records"),
	"load":    slowSource("Load"),
	"loading from our own": func(w *world, hold func(context.Context) error) *solvertest.Node {
		graph := func() *solvertest.Node { return w.node("top", w.node("n", w.node("in"))) }
		far := w.source("local")
		far.fill(1, graph().Edge(0))
		w.results, w.cache = far.results, far.cache
		w.results.OnLoad = func(ctx context.Context, _ string) error { return hold(ctx) }
		return graph()
	},
	"save": func(w *world, hold func(context.Context) error) *solvertest.Node {
		w.results.OnSave = func() error { return hold(context.Background()) }
		return w.node("top", w.node("n", w.node("in")))
	},
	"content key": func(w *world, hold func(context.Context) error) *solvertest.Node {
		n := w.node("n", w.node("in"))
		n.In[0].Content, n.In[0].OnDigest = true, hold
		return w.node("top", n)
	},
	"exec": func(w *world, hold func(context.Context) error) *solvertest.Node {
		n := w.node("n", w.node("in"))
		n.OnExec = func(ctx context.Context, _ []solver.Result) error { return hold(ctx) }
		return w.node("top", n)
	},
	"exec of the top": func(w *world, hold func(context.Context) error) *solvertest.Node {
		top := w.node("top", w.node("n"))
		top.OnExec = func(ctx context.Context, _ []solver.Result) error { return hold(ctx) }
		return top
	},
	"waiting for one of two inputs": func(w *world, hold func(context.Context) error) *solvertest.Node {
		slow := w.node("slow")
		slow.OnExec = func(ctx context.Context, _ []solver.Result) error { return hold(ctx) }
		return w.node("top", w.node("quick"), slow)
	},
	"sub-build": func(w *world, hold func(context.Context) error) *solvertest.Node {
		inner := w.node("inner", w.node("in"))
		inner.OnExec = func(ctx context.Context, _ []solver.Result) error { return hold(ctx) }
		n := w.node("n")
		n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			return w.pass(b.Build(ctx, inner.Edge(0)))
		}
		return w.node("top", n)
	},
}

// pass hands on what a sub-build gave.
func (w *world) pass(r solver.CachedResult, err error) ([]solver.Result, error) {
	if err != nil {
		return nil, err
	}
	defer r.Release(context.Background())
	return []solver.Result{solvertest.NewResult(solvertest.Value(r), w.stats)}, nil
}

func slowSource(method string) func(w *world, hold func(context.Context) error) *solvertest.Node {
	return func(w *world, hold func(context.Context) error) *solvertest.Node {
		graph := func() *solvertest.Node { return w.node("top", w.node("n", w.node("in"))) }
		far := w.source("far")
		far.fill(1, graph().Edge(0))
		top := graph()
		top.Opts.CacheSources = []solver.CacheManager{&foreign{m: far.cache, before: func(m string) error {
			if m == method {
				return hold(context.Background())
			}
			return nil
		}}}
		return top
	}
}

// contract 18: a cancelled Build returns at once, wherever it is, and whoever asks
// next starts afresh, also while the cancelled work goes on unwinding. contract 3:
// in the end nothing is left.
func TestCancelAtEveryStage(t *testing.T) {
	for name, stage := range stages {
		for _, obeys := range []bool{true, false} {
			for _, leave := range []string{"cancel", "discard"} {
				t.Run(fmt.Sprint(name, "/obeys ", obeys, "/", leave), func(t *testing.T) {
					bubble(t, func(w *world) {
						g := newGate()
						first := true
						top := stage(w, func(ctx context.Context) error {
							if !first {
								return nil
							}
							first = false
							if obeys {
								return g.pass(ctx)
							}
							return g.stuck(ctx)
						})
						s := w.solver()
						b := w.start(w.job(s), top.Edge(0))
						<-g.reached
						bubbleWait()
						if leave == "cancel" {
							b.canceled()
						} else {
							b.job.Discard()
							if <-b.done; b.err == nil {
								t.Error("it was built after all")
							}
						}
						bubbleWait() // the first one may still be at it, and never hear of it
						again := w.start(w.job(s), top.Edge(0))
						bubbleWait()
						waits := false
						select {
						case <-again.done:
						default:
							waits = true
						}
						g.open()
						if <-again.done; again.err != nil {
							t.Errorf("afterwards: %v", again.err)
						}
						if waits {
							t.Error("it waited for what was cancelled")
						}
						again.job.Discard()
						b.job.Discard()
						bubbleWait()
						w.idle(s)
					})
				})
			}
		}
	}
}

// contract 18: cancelling one touches no other: any of those who wait may leave,
// and the work is done once.
func TestCancelSomeWaiters(t *testing.T) {
	for name, stage := range stages {
		for mask := 1; mask < 7; mask++ {
			t.Run(fmt.Sprintf("%s/%03b", name, mask), func(t *testing.T) {
				bubble(t, func(w *world) {
					g := newGate()
					held := 0
					top := stage(w, func(ctx context.Context) error {
						held++
						return g.pass(ctx)
					})
					s := w.solver()
					var all []*building
					for range 3 {
						all = append(all, w.start(w.job(s), top.Edge(0)))
					}
					<-g.reached
					bubbleWait()
					for i, b := range all {
						if mask&(1<<i) != 0 {
							b.canceled()
							b.job.Discard()
						}
					}
					bubbleWait()
					g.open()
					for i, b := range all {
						if mask&(1<<i) == 0 {
							if <-b.done; b.err != nil {
								t.Errorf("waiter %d: %v", i, b.err)
							}
						}
					}
					if name != "save" && name != "query" && held != 1 {
						t.Errorf("it was done %d times", held)
					}
				})
			})
		}
	}
}

// contract 18: the context of shared work ends when its last waiter has gone, not
// before; its cause is never remembered.
func TestContextOfSharedWork(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		ended := make(chan error, 10)
		block := true
		n := func() *solvertest.Node {
			n := w.node("n")
			n.OnExec = func(ctx context.Context, _ []solver.Result) error {
				if !block {
					return nil
				}
				<-ctx.Done()
				ended <- ctx.Err()
				return fmt.Errorf("the op says: %w", ctx.Err())
			}
			return n
		}
		j := w.job(s)
		for range 3 {
			a, b := w.start(j, n().Edge(0)), w.start(w.job(s), n().Edge(0))
			bubbleWait()
			a.canceled()
			bubbleWait()
			if len(ended) > 0 {
				t.Fatal("the work ended although somebody waits")
			}
			b.canceled()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		block = false
		w.start(j, n().Edge(0)).wait("n()")
		w.executed(map[string]int{"n": 4})
	})
}

// contract 18: an op that fails by an error of cancellation of its own has failed.
func TestCanceledByItself(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		n := w.node("n")
		n.OnExec = func(context.Context, []solver.Result) error { return context.Canceled }
		var v *solver.VertexError
		if err := w.fails(s, n.Edge(0)); !errors.As(err, &v) {
			t.Errorf("%v", err)
		}
		w.idle(s)
	})
}

// contract 18: what comes of cancelled work is released, whenever it comes.
func TestResultsAfterCancellation(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		n := w.node("n", w.node("in"))
		n.Exec = func(ctx context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) {
			g.stuck(ctx)
			// The inputs are borrowed until the op returns.
			return []solver.Result{solvertest.NewResult(solvertest.Value(in[0]), w.stats), solvertest.NewResult("second", w.stats)}, nil
		}
		b := w.start(w.job(s), n.Edge(0))
		<-g.reached
		b.canceled()
		b.job.Discard()
		bubbleWait()
		g.open()
		bubbleWait()
		w.idle(s)
	})
}

// contract 18: a context that has ended, and its cause.
func TestContextEndedBefore(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the user has left")
	cancel(cause)
	if _, err := w.job(s).Build(ctx, w.node("n").Edge(0)); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	w.executed(map[string]int{"n": 0})
}

// contract 6: discarding the job that started a shared op never disturbs another
// job that waits for it, or has joined what it works on.
func TestStarterLeaves(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				g := newGate()
				top := stage(w, g.pass)
				s := w.solver()
				starter := w.start(w.job(s), top.Edge(0))
				<-g.reached
				bubbleWait()
				other := w.start(w.job(s), top.Edge(0))
				bubbleWait()
				starter.job.Discard()
				if <-starter.done; starter.err == nil {
					t.Error("the discarded job's build did not end")
				}
				bubbleWait()
				g.open()
				if <-other.done; other.err != nil {
					t.Error(other.err)
				}
				for _, id := range []string{"n", "in", "top", "inner", "slow", "quick"} {
					if n := w.stats.Executed(id); n > 1 {
						t.Errorf("%s was run %d times", id, n)
					}
				}
			})
		})
	}
}

// contract 18: that no record can be loaded is told in the turn in which the last
// waiter leaves. Whoever asks next is not left waiting for that answer.
func TestCanceledAsAnswered(t *testing.T) {
	bubble(t, func(w *world) {
		n := func() solver.Edge { return w.node("n", w.node("in")).Edge(0) }
		w.build(w.solver(), n())
		w.pruneAll()
		g := newGate()
		w.cache = solver.NewCacheManager("local", &storage{CacheKeyStorage: w.storage, before: func(method string) error {
			if method == "WalkResults" {
				return g.stuck(context.Background())
			}
			return nil
		}}, w.results)
		s := w.solver()
		b := w.start(w.job(s), n())
		<-g.reached
		bubbleWait()
		solver.LeaveWhenAnswered(s, b.job, g.open)
		b.canceled()
		again := w.start(b.job, n())
		bubbleWait()
		select {
		case <-again.done:
			again.wait("n(in())")
		default:
			t.Error("it waits for ever")
		}
	})
}
