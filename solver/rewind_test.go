package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// losing has a node's op, or its content function, lose its input the first times.
func losing(n *solvertest.Node, where string, times int) {
	var calls atomic.Int64
	lost := func() error {
		if calls.Add(1) <= int64(times) {
			return fmt.Errorf("cannot read it: %w", &solver.LostInputError{Err: errBroken})
		}
		return nil
	}
	switch where {
	case "Exec":
		n.OnExec = func(context.Context, []solver.Result) error { return lost() }
	case "ComputeDigestFunc":
		n.In[0].Content, n.In[0].OnDigest = true, func(context.Context) error { return lost() }
	}
}

// contract 15, rewind: an op whose input was lost gets it made again, inside the build. A
// result that is lost again and again fails the build with the cause.
func TestLostInput(t *testing.T) {
	for _, where := range []string{"Exec", "ComputeDigestFunc"} {
		for _, times := range []int{1, 2, 3, 100} {
			for _, from := range []string{"run", "cache"} {
				t.Run(fmt.Sprint(where, "/", times, "/", from), func(t *testing.T) {
					bubble(t, func(w *world) {
						s := w.solver(slots(1))
						if from == "cache" {
							w.build(s, w.node("in", w.node("below")).Edge(0))
						}
						n := w.node("n", w.node("in", w.node("below")))
						losing(n, where, times)
						if times > 3 {
							err := w.fails(s, w.node("top", n).Edge(0))
							var v *solver.VertexError
							if !errors.Is(err, errBroken) || !errors.As(err, &v) || v.Name != "n" {
								t.Error(err)
							}
						} else if got := w.build(s, w.node("top", n, w.node("in", w.node("below"))).Edge(0)); got != "top(n(in(below())),in(below()))" {
							t.Error(got)
						}
						w.idle(s)
					})
				})
			}
		}
	}
}

// contract 15, rewind: several wait for what is lost: it is made again once, and each gets
// its result.
func TestLostInputOfSeveral(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		const many = 5
		g := newGate()
		in := w.node("in", w.node("below"))
		var together atomic.Int64
		var lost atomic.Bool
		lost.Store(true)
		in.OnExec = func(context.Context, []solver.Result) error {
			if w.stats.Executed("in") > 1 {
				lost.Store(false)
			}
			return nil
		}
		var all []*building
		w.pruneAll()
		for i := range many {
			n := w.node(fmt.Sprint("n", i), in)
			n.OnExec = func(ctx context.Context, _ []solver.Result) error {
				if !lost.Load() {
					return nil
				}
				if together.Add(1) == many {
					w.pruneAll() // the cache has lost it as well
					g.open()
				}
				g.pass(ctx)
				return &solver.LostInputError{Err: errBroken}
			}
			all = append(all, w.start(w.job(s), w.node(fmt.Sprint("top", i), n).Edge(0)))
		}
		for i, b := range all {
			b.wait(fmt.Sprintf("top%d(n%d(in(below())))", i, i))
			b.job.Discard()
		}
		w.executed(map[string]int{"in": 2})
		w.idle(s)
	})
}

// contract 13, 15, rewind: those who share a run of an equal op whose input is lost.
func TestLostInputOfShared(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprint("the first leaves ", leaves), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				g := newGate()
				var calls atomic.Int64
				node := func(id string) *solvertest.Node {
					n := w.equal("n", id, w.node("in", w.node("below")))
					n.OnExec = func(context.Context, []solver.Result) error {
						if calls.Add(1) > 1 {
							return nil
						}
						g.stuck(context.Background())
						return &solver.LostInputError{Err: errBroken}
					}
					return n
				}
				first := w.start(w.job(s), node("a").Edge(0))
				<-g.reached
				second := w.start(w.job(s), node("b").Edge(0))
				bubbleWait()
				if leaves {
					first.job.Discard()
				}
				g.open()
				second.wait("n(in(below()))")
				if !leaves {
					first.wait("n(in(below()))")
				}
				<-first.done
				first.job.Discard()
				second.job.Discard()
				w.idle(s)
			})
		})
	}
}

// contract 7, 15, rewind: an input that was loaded from the cache and pruned meanwhile is
// made by its op; what is below of it is asked for again, and pruned, too.
func TestLoadedInputIsPruned(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprint("all is pruned ", all), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				in := func() *solvertest.Node { return w.node("in", w.node("below", w.node("leaf"))) }
				w.build(s, in().Edge(0))
				n := w.node("n", in())
				lost := true
				n.OnExec = func(context.Context, []solver.Result) error {
					if !lost {
						return nil
					}
					lost = false
					if all {
						w.pruneAll()
					} else {
						w.pruneAll("below(leaf())")
					}
					return &solver.LostInputError{Err: errBroken}
				}
				j := w.job(s)
				st := w.watch(j)
				if got := w.buildIn(j, n.Edge(0)); got != "n(in(below(leaf())))" {
					t.Error(got)
				}
				j.Discard()
				<-st.done
				if v := st.byName["in"]; v.Outcome != "executed" || v.Error != "" {
					t.Errorf("in is shown as %q, error %q", v.Outcome, v.Error)
				}
				again := map[string]int{"in": 2, "below": 1, "leaf": 1}
				if all {
					again["below"], again["leaf"] = 2, 2
				}
				w.executed(again)
				w.idle(s)
			})
		})
	}
}

// contract 15, 18, rewind: nothing is made again for who does not want it any more.
func TestLostInputNobodyWants(t *testing.T) {
	for _, how := range []string{"cancel", "discard"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				g := newGate()
				n := w.node("n", w.node("in"))
				n.OnExec = func(context.Context, []solver.Result) error {
					g.stuck(context.Background())
					return &solver.LostInputError{Err: errBroken}
				}
				b := w.start(w.job(s), n.Edge(0))
				<-g.reached
				w.pruneAll()
				if how == "cancel" {
					b.canceled()
				} else {
					b.job.Discard()
					<-b.done
				}
				g.open()
				bubbleWait()
				b.job.Discard()
				w.executed(map[string]int{"in": 1, "n": 1})
				w.idle(s)
			})
		})
	}
}

// contract 15, 19, rewind: an error that names an input which is not there, or one that
// the op does not lose but passes on from a sub-build, is an error as any other.
func TestOddLostInput(t *testing.T) {
	for _, input := range []solver.Index{-1, 1, 1 << 40} {
		bubble(t, func(w *world) {
			s := w.solver()
			n := w.node("n", w.node("in"))
			n.OnExec = func(context.Context, []solver.Result) error {
				return &solver.LostInputError{Input: input, Err: errBroken}
			}
			if err := w.fails(s, n.Edge(0)); !errors.Is(err, errBroken) {
				t.Error(err)
			}
			w.executed(map[string]int{"n": 1, "in": 1})
			w.idle(s)
		})
	}
	t.Run("of a sub-build", func(t *testing.T) {
		bubble(t, func(w *world) {
			s := w.solver()
			inner := w.node("inner", w.node("inner input"))
			losing(inner, "Exec", 100)
			n := w.node("n", w.node("in"))
			n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
				return w.pass(b.Build(ctx, inner.Edge(0)))
			}
			err := w.fails(s, n.Edge(0))
			if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "inner") {
				t.Error(err)
			}
			w.executed(map[string]int{"in": 1, "n": 1})
			w.idle(s)
		})
	})
}

// contract 6, 15, rewind: where ops pass a result on, the op that has made it is run again,
// and those that pass it on.
func TestLostInputWasPassedOn(t *testing.T) {
	for _, how := range []string{"the input", "an object of its ID", "what it has built"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				pass := func(id string, in *solvertest.Node) *solvertest.Node {
					if how == "what it has built" {
						n := w.node(id)
						n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
							r, err := b.Build(ctx, in.Edge(0))
							return []solver.Result{r}, err
						}
						return n
					}
					n := w.node(id, in)
					n.Exec = func(_ context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) {
						if how == "the input" {
							return in, nil
						}
						return []solver.Result{&simTwin{solvertest.NewResult(solvertest.Value(in[0]), w.stats), in[0].ID()}}, nil
					}
					return n
				}
				n := w.node("n", pass("upper", pass("lower", w.node("in", w.node("below")))))
				gone := map[string]bool{}
				n.OnExec = func(_ context.Context, in []solver.Result) error {
					id := in[0].ID()
					if gone[id] || len(gone) == 3 {
						return nil
					}
					gone[id] = true
					w.pruneAll()
					return &solver.LostInputError{Err: errBroken}
				}
				if got := w.build(s, n.Edge(0)); got != "n(in(below()))" {
					t.Error(got)
				}
				w.executed(map[string]int{"below": 1, "in": 4, "lower": 4, "upper": 4, "n": 4})
				w.idle(s)
			})
		})
	}
}

// contract 15, rewind: a result that a cache handed out is lost while the op runs for
// another output. It comes of that run.
func TestLoadedOutputLostBesideRun(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		two := func() *solvertest.Node {
			n := w.node("two", w.node("in"))
			n.Outputs = 2
			return n
		}
		w.build(s, two().Edge(0))
		reads, runs := newGate(), newGate()
		n := two()
		n.OnExec = runs.exec
		first, second := w.node("first", n), w.node("second", n)
		second.In[0].Output = 1
		lost := true
		first.OnExec = func(ctx context.Context, _ []solver.Result) error {
			if !lost {
				return nil
			}
			lost = false
			reads.stuck(ctx)
			w.pruneAll()
			return &solver.LostInputError{Err: errBroken}
		}
		j := w.job(s)
		a := w.start(j, first.Edge(0))
		<-reads.reached
		b := w.start(j, second.Edge(0))
		<-runs.reached
		reads.open()
		bubbleWait()
		runs.open()
		a.wait("first(two(in()))")
		b.wait("second(two(in())#1)")
		j.Discard()
		w.executed(map[string]int{"two": 2})
		w.idle(s)
	})
}

// contract 15, rewind: a cache goes on handing out what is gone. It is asked once more,
// and then the op is run.
func TestLostInputStaysInCache(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		n := w.node("n", w.node("in"))
		var gone string
		n.OnExec = func(_ context.Context, in []solver.Result) error {
			if id := in[0].ID(); gone == "" || gone == id {
				gone = id
				return &solver.LostInputError{Err: errBroken}
			}
			return nil
		}
		if got := w.build(s, n.Edge(0)); got != "n(in())" {
			t.Error(got)
		}
		w.executed(map[string]int{"in": 2, "n": 3})
		w.idle(s)
	})
}

// contract 9, 15, rewind: a result that is made again may be another. What is made of it is
// not saved under the content key of the one that was lost.
func TestLostInputWithContentKey(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		of := func(id string, in *solvertest.Node) *solvertest.Node {
			n := w.equal("n", id, in)
			n.In[0].Content = true
			return n
		}
		value := func(id, value string) *solvertest.Node {
			n := w.node(id)
			n.Value = value
			return n
		}
		w.build(s, of("another", value("another input", "v0")).Edge(0))
		in := w.node("in")
		in.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
			return []solver.Result{solvertest.NewResult(fmt.Sprint("v", w.stats.Executed("in")), w.stats)}, nil
		}
		n := of("first", in)
		n.OnExec = func(context.Context, []solver.Result) error {
			if w.stats.Executed("in") > 1 {
				return nil
			}
			w.pruneAll()
			return &solver.LostInputError{Err: errBroken}
		}
		for _, c := range []struct {
			n    *solvertest.Node
			want string
		}{{n, "n(v2)"}, {of("second", value("x", "v1")), "n(v1)"}, {of("third", value("y", "v2")), "n(v2)"}} {
			if got := w.build(s, c.n.Edge(0)); got != c.want {
				t.Errorf("%s: %s in place of %s", c.n.ID, got, c.want)
			}
		}
		w.executed(map[string]int{"n-first": 2, "n-second": 1, "n-third": 0})
		w.idle(s)
	})
}

// contract 13, 15, rewind: an edge whose result was lost is known by all of its keys, also
// by those of further cache maps: it shares what an equal edge has run meanwhile.
func TestLostResultIsSharedByAnyKey(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		root := func(id string, ignore bool, keys ...string) *solvertest.Node {
			n := w.node(id)
			n.Keys, n.Value, n.Opts.IgnoreCache = keys, "v", ignore
			return n
		}
		g := newGate()
		n := w.node("n", root("first", false, "a", "b"))
		var lost atomic.Bool
		n.OnExec = func(ctx context.Context, _ []solver.Result) error {
			if lost.Swap(true) {
				return nil
			}
			g.stuck(ctx)
			return &solver.LostInputError{Err: errBroken}
		}
		b := w.start(w.job(s), n.Edge(0))
		<-g.reached
		w.pruneAll()
		j := w.job(s)
		w.buildIn(j, root("second", true, "b").Edge(0))
		w.costs("made again", counts{execs: 1}, func() {
			g.open()
			b.wait("n(v)")
		})
		b.job.Discard()
		j.Discard()
		w.executed(map[string]int{"first": 1, "second": 1, "n": 2})
		w.idle(s)
	})
}

// contract 15, rewind: a result is lost once, and a cache goes on handing it out. That is
// no reason to give up, through however many ops the result was passed on.
func TestLostOnceStaysInCaches(t *testing.T) {
	for _, levels := range []int{0, 1, 2, 3} {
		t.Run(fmt.Sprint(levels), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				n := w.node("in")
				for i := range levels {
					n = w.node(fmt.Sprint("pass", i), n)
					n.Exec = func(_ context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) { return in, nil }
				}
				n = w.node("n", n)
				gone := ""
				n.OnExec = func(_ context.Context, in []solver.Result) error {
					if id := in[0].ID(); gone == "" || gone == id {
						gone = id
						return &solver.LostInputError{Err: errBroken}
					}
					return nil
				}
				if got := w.build(s, n.Edge(0)); got != "n(in())" {
					t.Error(got)
				}
				w.executed(map[string]int{"in": 2})
				w.idle(s)
			})
		})
	}
}

// contract 15, 17, rewind: the error of a result that is lost too often tells how it was
// lost, also where the op that made it is not the one whose result was used.
func TestLostTooOftenPassedOn(t *testing.T) {
	for _, how := range []string{"an input", "what it has built", "an input, without a cause"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				in := w.node("in")
				pass := w.node("pass", in)
				pass.Exec = func(_ context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) { return in, nil }
				if how == "what it has built" {
					pass.In = nil
					pass.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
						r, err := b.Build(ctx, in.Edge(0))
						return []solver.Result{r}, err
					}
				}
				n := w.node("n", pass)
				losing(n, "Exec", 100)
				cause := errBroken.Error()
				if how == "an input, without a cause" {
					n.OnExec = func(context.Context, []solver.Result) error { return &solver.LostInputError{} }
					cause = "is lost: what it stood for is gone"
				}
				if err := w.fails(s, n.Edge(0)); !strings.HasSuffix(err.Error(), cause) {
					t.Error(err)
				}
				w.executed(map[string]int{"in": 4})
				w.idle(s)
			})
		})
	}
}

// contract 15, 19, rewind: an op that keeps on passing on what is gone fails the build.
func TestPassesOnWhatIsGone(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		in := w.node("in")
		var kept *solver.SharedResult
		pass := w.node("pass")
		pass.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			if kept == nil {
				r, err := b.Build(ctx, in.Edge(0))
				if err != nil {
					return nil, err
				}
				kept = solver.NewSharedResult(r)
			}
			return []solver.Result{kept.Clone()}, nil
		}
		n := w.node("n", pass)
		n.OnExec = func(context.Context, []solver.Result) error { return &solver.LostInputError{Err: errBroken} }
		if err := w.fails(s, n.Edge(0)); !errors.Is(err, errBroken) {
			t.Error(err)
		}
		w.executed(map[string]int{"in": 1, "n": 2, "pass": 25}) // n also had it of the cache
		kept.Release(context.Background())
		w.idle(s)
	})
}
