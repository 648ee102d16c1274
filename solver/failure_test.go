package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// brokenCaches are worlds whose default cache, or a source, fails in one way. Each
// returns the sources of the vertices.
func brokenCaches(panics bool) map[string]func(w *world) []solver.CacheManager {
	out := map[string]func(w *world) []solver.CacheManager{}
	for _, method := range []string{"ID", "Query", "Records", "Load", "Save"} {
		out["default manager/"+method] = func(w *world) []solver.CacheManager {
			w.cache = &foreign{m: w.cache, before: breaking(method, panics)}
			return nil
		}
		out["source/"+method] = func(w *world) []solver.CacheManager {
			far := w.source("far")
			far.fill(1, failureGraph(w, "1").Edge(0))
			return []solver.CacheManager{&foreign{m: far.cache, before: breaking(method, panics)}}
		}
	}
	for _, method := range []string{"Exists", "WalkResults", "Load", "AddResult", "Release", "AddLink", "WalkLinks", "HasLink"} {
		for _, memory := range []bool{true, false} {
			out[fmt.Sprint("storage/", method, "/in memory ", memory)] = func(w *world) []solver.CacheManager {
				w.storage = &storage{CacheKeyStorage: w.storage, memory: memory, before: breaking(method, panics)}
				w.cache = solver.NewCacheManager("local", w.storage, w.results)
				return nil
			}
		}
	}
	return out
}

// failureGraph has a content key, a selector and several outputs.
func failureGraph(w *world, tag string, sources ...solver.CacheManager) *solvertest.Node {
	src := w.node("src" + tag)
	src.Value = "same"
	mid := w.node("mid"+tag, src, w.node("side"))
	mid.Key, mid.Outputs, mid.In[0].Content, mid.In[1].Selector = "mid", 2, true, "sel"
	top := w.node("top" + tag)
	top.Key = "top"
	top.In = []solvertest.Input{{Node: mid, Output: 1}, {Node: mid}}
	for _, n := range []*solvertest.Node{src, mid, mid.In[1].Node, top} {
		n.Opts.CacheSources = sources
	}
	return top
}

// contract 15: a cache that fails never fails a build that could succeed without
// it. Where it fails every time it is reported, at most once a vertex.
func TestBrokenCaches(t *testing.T) {
	for _, panics := range []bool{false, true} {
		for name, breakIt := range brokenCaches(panics) {
			t.Run(fmt.Sprint(name, "/panics ", panics), func(t *testing.T) {
				bubble(t, func(w *world) {
					sources := breakIt(w)
					s := w.solver()
					reported := 0
					for _, tag := range []string{"1", "2", "1"} {
						j := w.job(s)
						st := w.watch(j)
						if got := w.buildIn(j, failureGraph(w, tag, sources...).Edge(0)); got != "top(mid(same,side())#1,mid(same,side()))" {
							t.Error(got)
						}
						j.Discard()
						<-st.done
						of := map[string]int{}
						for _, warning := range st.warnings {
							reported++
							if of[string(warning.Vertex)]++; of[string(warning.Vertex)] > 1 {
								t.Errorf("reported again: %s", warning.Short)
							}
							if !strings.Contains(string(warning.Short), "broken on purpose") {
								t.Errorf("warning: %s", warning.Short)
							}
						}
					}
					// These say no instead of failing, or are not called at all.
					silent := strings.Contains(name, "ID") || !panics && (strings.Contains(name, "/Exists") || strings.Contains(name, "/HasLink")) ||
						strings.Contains(name, "/Release") || name == "source/Save"
					if reported == 0 && !silent {
						t.Error("the failure was not reported")
					}
				})
			})
		}
	}
}

// contract 15: a result storage that fails, or lies, is a miss.
func TestBrokenResults(t *testing.T) {
	for name, breakIt := range map[string]func(w *world){
		"load fails":   func(w *world) { w.results.OnLoad = func(context.Context, string) error { return errBroken } },
		"load panics":  func(w *world) { w.results.OnLoad = func(context.Context, string) error { panic("broken on purpose") } },
		"save fails":   func(w *world) { w.results.OnSave = func() error { return errBroken } },
		"save panics":  func(w *world) { w.results.OnSave = func() error { panic("broken on purpose") } },
		"all are gone": func(w *world) { w.pruneAll() },
		"gone at loading": func(w *world) {
			w.results.OnLoad = func(_ context.Context, id string) error { w.results.Prune(id); return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			graph := func() solver.Edge { return failureGraph(w, "1").Edge(0) }
			w.build(s, graph())
			breakIt(w)
			for range 2 {
				if got := w.build(s, graph()); got != "top(mid(same,side())#1,mid(same,side()))" {
					t.Error(got)
				}
			}
			w.results.OnLoad, w.results.OnSave = nil, nil
			w.build(s, graph())
			got := w.during(func() { w.build(s, graph()) })
			if got.execs != 0 || got.loads != 1 {
				t.Errorf("mended: %+v", got)
			}
		})
	}
}

// contract 15: a record that cannot be loaded is forgotten, and the next record
// takes its place.
func TestNextRecord(t *testing.T) {
	for _, why := range []error{solver.ErrNotFound, errBroken} {
		t.Run(why.Error(), func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			var tick clock
			w.results.Now = tick.now
			n := func(value string) *solvertest.Node {
				n := w.node("n", w.node("in"))
				n.Value, n.Opts.IgnoreCache = value, value != ""
				return n
			}
			for _, value := range []string{"oldest", "old", "new", "newest"} {
				w.build(s, n(value).Edge(0))
			}
			bad := map[string]bool{}
			w.results.OnLoad = func(_ context.Context, id string) error {
				if bad[id] || len(bad) < 2 {
					bad[id] = true
					return why
				}
				return nil
			}
			w.costs("two do not load", counts{maps: 2, loads: 3}, func() {
				if got := w.build(s, n("").Edge(0)); got != "old" {
					t.Errorf("%q", got)
				}
			})
			w.costs("they are forgotten", counts{maps: 2, loads: 1}, func() { w.build(s, n("").Edge(0)) })
			for id := range bad {
				if err := w.storage.WalkIDsByResult(id, func(string) error { return errors.New("it is still there") }); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// contract 24: results vanish at any time while builds run.
func TestPruneWhileBuilding(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(i int) solver.Edge {
		var mids []*solvertest.Node
		for k := range 4 {
			mid := w.node(fmt.Sprint("mid", i%3, k), w.node(fmt.Sprint("leaf", k)))
			mid.In[0].Content = true
			mids = append(mids, mid)
		}
		return w.node(fmt.Sprint("top", i%3), mids...).Edge(0)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for k, id := range w.results.IDs() {
				if (i+k)%3 == 0 {
					w.results.Prune(id)
				}
			}
			if err := w.cache.(solver.CachePruner).ReleaseUnreferenced(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}()
	for round := range 30 {
		var all []*building
		for i := range 6 {
			all = append(all, w.start(w.job(s), graph(round+i)))
		}
		for _, b := range all {
			if <-b.done; b.err != nil || !strings.HasPrefix(b.value, "top") {
				t.Errorf("%q, %v", b.value, b.err)
			}
			b.job.Discard()
		}
	}
	close(stop)
	<-stopped
}

// failingAt returns a node that fails in one of its ways.
func failingAt(w *world, where string, panics bool) *solvertest.Node {
	fail := func() error {
		if panics {
			panic(errBroken)
		}
		return errBroken
	}
	n := w.node("culprit", w.node("in"))
	switch where {
	case "ResolveOpFunc":
		n.OnResolve = func(solver.Builder) error { return fail() }
	case "CacheMap":
		n.OnCacheMap = func(context.Context, int) error { return fail() }
	case "Exec":
		n.OnExec = func(context.Context, []solver.Result) error { return fail() }
	}
	return n
}

// contract 17: an error, or a panic, reaches every waiter with the vertex and the
// cause; other builds go on.
func TestFailingOps(t *testing.T) {
	for _, where := range []string{"ResolveOpFunc", "CacheMap", "Exec"} {
		for _, panics := range []bool{false, true} {
			t.Run(fmt.Sprint(where, "/panics ", panics), func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver()
					g := newGate()
					culprit := failingAt(w, where, panics)
					culprit.Outputs = 2
					culprit.In[0].Node.OnCacheMap = func(ctx context.Context, _ int) error { return g.pass(ctx) }
					top := func(id string) solver.Edge { return w.node("above "+id, w.node(id, culprit)).Edge(0) }
					all := []*building{
						w.start(w.job(s), culprit.Edge(0)), w.start(w.job(s), culprit.Edge(1)), w.start(w.job(s), culprit.Edge(0)),
						w.start(w.job(s), top("x")), w.start(w.job(s), top("y")),
					}
					fine := w.start(w.job(s), w.node("fine", w.node("in")).Edge(0))
					bubbleWait()
					g.open()
					for i, b := range all {
						<-b.done
						var v *solver.VertexError
						if !errors.As(b.err, &v) || v.Name != "culprit" || v.Digest != culprit.Digest() {
							t.Errorf("waiter %d: %v", i, b.err)
						} else if !panics && !errors.Is(b.err, errBroken) {
							t.Errorf("waiter %d: not the cause: %v", i, b.err)
						} else if panics && (!strings.Contains(b.err.Error(), "panicked: broken on purpose") || !strings.Contains(b.err.Error(), "failure_test.go")) {
							t.Errorf("waiter %d: %v", i, b.err)
						}
						b.job.Discard()
					}
					fine.wait("fine(in())")
					fine.job.Discard()
					if n := w.stats.Executed("culprit"); n > 1 {
						t.Errorf("culprit was run %d times", n)
					}
					w.idle(s)
				})
			})
		}
	}
}

// contract 17: an error is remembered while the vertex lives, and forgotten then.
func TestErrorRemembered(t *testing.T) {
	for _, where := range []string{"ResolveOpFunc", "CacheMap", "Exec"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			one, two := w.job(s), w.job(s)
			for _, j := range []*solver.Job{one, one, two} {
				if _, err := j.Build(context.Background(), failingAt(w, where, false).Edge(0)); !errors.Is(err, errBroken) {
					t.Errorf("%v", err)
				}
			}
			w.costs("asked again", counts{}, func() {
				if _, err := one.Build(context.Background(), w.node("culprit", w.node("in")).Edge(0)); !errors.Is(err, errBroken) {
					t.Errorf("%v", err)
				}
			})
			one.Discard()
			if _, err := two.Build(context.Background(), failingAt(w, where, false).Edge(0)); !errors.Is(err, errBroken) {
				t.Errorf("one job is left, and the error forgotten: %v", err)
			}
			two.Discard()
			if got := w.build(s, w.node("culprit", w.node("in")).Edge(0)); got != "culprit(in())" {
				t.Error(got)
			}
		})
	}
}

// contract 17: when one input fails, a build ends without waiting for the others.
func TestOneInputFails(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		begun, ended := make(chan struct{}), make(chan error, 1)
		slow := w.node("slow")
		slow.OnExec = func(ctx context.Context, _ []solver.Result) error {
			close(begun)
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}
		failing := failingAt(w, "Exec", false)
		fails := failing.OnExec
		failing.OnExec = func(ctx context.Context, in []solver.Result) error {
			<-begun
			return fails(ctx, in)
		}
		err := w.fails(s, w.node("top", slow, failing).Edge(0))
		if !errors.Is(err, errBroken) {
			t.Errorf("%v", err)
		}
		// What nobody needs any more is cancelled.
		<-ended
		w.idle(s)
	})
}

// contract 17: results that come along with an error are released.
func TestResultsWithError(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		n := w.node("n")
		n.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
			return []solver.Result{solvertest.NewResult("a", w.stats), nil, solvertest.NewResult("b", w.stats)}, errBroken
		}
		if err := w.fails(s, n.Edge(0)); !errors.Is(err, errBroken) {
			t.Error(err)
		}
		w.idle(s)
	})
}

// contract 20: a fault inside the solver fails the build that met it; others go on.
func TestInternalFault(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		n := w.node("broken", w.node("in"))
		n.OnCacheMap = func(ctx context.Context, _ int) error { return g.pass(ctx) }
		fine := w.node("fine", w.node("also"))
		fine.OnCacheMap = n.OnCacheMap
		hit, other := w.start(w.job(s), w.node("top", n).Edge(0)), w.start(w.job(s), fine.Edge(0))
		bubbleWait()
		solver.Corrupt(s, n.Digest())
		g.open()
		<-hit.done
		var v *solver.VertexError
		if !errors.As(hit.err, &v) || v.Name != "broken" || !strings.Contains(hit.err.Error(), "internal fault") {
			t.Errorf("%v", hit.err)
		}
		other.wait("fine(also())")
		hit.job.Discard()
		other.job.Discard()
		w.idle(s)
	})
}
