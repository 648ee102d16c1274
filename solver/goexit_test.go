package solver_test

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

func goexit() error {
	runtime.Goexit()
	return nil
}

// contract 17, fault 3: a goroutine that an op ends is an error of the vertex, whichever
// of its methods does it. The slot is given back.
func TestGoexitInOps(t *testing.T) {
	for name, end := range map[string]func(n *solvertest.Node){
		"ResolveOpFunc": func(n *solvertest.Node) { n.OnResolve = func(solver.Builder) error { return goexit() } },
		"CacheMap":      func(n *solvertest.Node) { n.OnCacheMap = func(context.Context, int) error { return goexit() } },
		"Exec":          func(n *solvertest.Node) { n.OnExec = func(context.Context, []solver.Result) error { return goexit() } },
		"ComputeDigestFunc": func(n *solvertest.Node) {
			n.In[0].Content, n.In[0].OnDigest = true, func(context.Context) error { return goexit() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver(slots(1))
				culprit := w.node("culprit", w.node("in"))
				end(culprit)
				one, two := w.start(w.job(s), w.node("above", culprit).Edge(0)), w.start(w.job(s), culprit.Edge(0))
				for _, b := range []*building{one, two} {
					if <-b.done; b.err == nil || !strings.Contains(b.err.Error(), "culprit") || !strings.Contains(b.err.Error(), "Goexit") {
						t.Errorf("%v (%q)", b.err, b.value)
					}
					b.job.Discard()
				}
				w.idle(s)
			})
		})
	}
}

// contract 17, fault 3: the same while an op computes a content key that is only to be
// saved under.
func TestGoexitInLateContentKey(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		n := w.node("n", w.node("a"), w.node("b"))
		n.In[1].Content, n.In[1].OnDigest = true, func(context.Context) error { return goexit() }
		n.Opts.IgnoreCache = true
		if err := w.fails(s, n.Edge(0)); !strings.Contains(err.Error(), "Goexit") {
			t.Error(err)
		}
		w.idle(s)
	})
}

// contract 15, 17, fault 3: a cache that ends the goroutine of a call fails no build.
func TestGoexitInCaches(t *testing.T) {
	ending := func(method string) func(string) error {
		return func(m string) error {
			if m == method {
				return goexit()
			}
			return nil
		}
	}
	for _, method := range []string{"Query", "Records", "Load", "Save"} {
		for _, as := range []string{"default", "source"} {
			t.Run(method+"/"+as, func(t *testing.T) {
				bubble(t, func(w *world) {
					far := w.source("far")
					far.fill(1, w.asking("").Edge(0))
					m := &foreign{m: far.cache, before: ending(method)}
					s := w.solver(slots(1), func(o *solver.SolverOpt) {
						if as == "default" {
							o.DefaultCache = m
						}
					})
					sources := []solver.CacheManager{m}
					if as == "default" {
						sources = nil
					}
					for range 2 {
						if got := w.build(s, w.asking("", sources...).Edge(0)); got != "top(mid(in()))" {
							t.Error(got)
						}
					}
					w.build(s, w.asking("-other", sources...).Edge(0))
					w.idle(s)
				})
			})
		}
	}
	t.Run("result storage", func(t *testing.T) {
		bubble(t, func(w *world) {
			s := w.solver(slots(1))
			w.build(s, w.asking("").Edge(0))
			w.results.OnLoad = func(context.Context, string) error { return goexit() }
			w.results.OnSave = goexit
			if got := w.build(s, w.asking("").Edge(0)); got != "top(mid(in()))" {
				t.Error(got)
			}
			w.idle(s)
		})
	})
}

// ending is a result whose release ends the goroutine that calls it.
type ending struct{ solver.Result }

func (e ending) Release(ctx context.Context) error {
	e.Result.Release(ctx)
	return goexit()
}

// contract 3, fault 3: a result that ends the goroutine of its release: every other
// result is released all the same, and the solver goes on.
func TestGoexitInRelease(t *testing.T) {
	for _, how := range []string{"discard", "cancelled", "fails"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver(slots(1))
				g := newGate()
				n := w.node("n", w.node("a"), w.node("b"))
				for _, in := range n.In {
					in.Node.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
						return []solver.Result{ending{solvertest.NewResult("v", w.stats)}}, nil
					}
				}
				n.Exec = func(ctx context.Context, _ solver.Builder, _ []solver.Result) ([]solver.Result, error) {
					out := []solver.Result{ending{solvertest.NewResult("w", w.stats)}, ending{solvertest.NewResult("x", w.stats)}}
					switch how {
					case "cancelled":
						g.stuck(ctx)
					case "fails":
						return out, errBroken
					}
					return out, nil
				}
				b := w.start(w.job(s), n.Edge(0))
				switch how {
				case "cancelled":
					<-g.reached
					b.canceled()
					g.open()
				default:
					<-b.done
				}
				bubbleWait()
				discarded := make(chan struct{})
				go func() {
					defer close(discarded)
					b.job.Discard()
				}()
				<-discarded
				bubbleWait()
				w.idle(s)
			})
		})
	}
}
