package solver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// hung are caches that never answer one kind of question, until the gate opens.
var hung = map[string]func(w *world, g *gate, fill solver.Edge) solver.CacheManager{
	"Query":   hungForeign("Query"),
	"Records": hungForeign("Records"),
	"Load":    hungForeign("Load"),
	// Caches of this package over storages that hang.
	"WalkLinks":   hungStorage("WalkLinks"),
	"WalkResults": hungStorage("WalkResults"),
	"result storage": func(w *world, g *gate, fill solver.Edge) solver.CacheManager {
		far := w.source("far")
		far.fill(1, fill)
		far.results.OnLoad = func(context.Context, string) error { return g.stuck(context.Background()) }
		return far.cache
	},
}

func hungForeign(method string) func(*world, *gate, solver.Edge) solver.CacheManager {
	return func(w *world, g *gate, fill solver.Edge) solver.CacheManager {
		far := w.source("far")
		far.fill(1, fill)
		return &foreign{m: far.cache, before: stuckIn(g, method)}
	}
}

func hungStorage(method string) func(*world, *gate, solver.Edge) solver.CacheManager {
	return func(w *world, g *gate, fill solver.Edge) solver.CacheManager {
		far := w.source("far")
		far.fill(1, fill)
		return solver.NewCacheManager("far", &storage{CacheKeyStorage: far.storage, before: stuckIn(g, method)}, far.results)
	}
}

func stuckIn(g *gate, method string) func(string) error {
	return func(m string) error {
		if m != method {
			return nil
		}
		return g.stuck(context.Background())
	}
}

// asking returns a graph of two levels below its top, which all ask a source.
func (w *world) asking(tag string, sources ...solver.CacheManager) *solvertest.Node {
	in := w.node("in" + tag)
	mid := w.node("mid"+tag, in)
	top := w.node("top"+tag, mid)
	for _, n := range []*solvertest.Node{in, mid, top} {
		n.Opts.CacheSources = sources
	}
	return top
}

// contract 15, fault 2: a cache source that hangs delays only those who asked it. They
// return when they are cancelled, and Close returns.
func TestHungSource(t *testing.T) {
	for name, hang := range hung {
		for _, leave := range []string{"cancel", "discard", "close"} {
			t.Run(name+"/"+leave, func(t *testing.T) {
				bubble(t, func(w *world) {
					g := newGate()
					m := hang(w, g, w.asking("").Edge(0))
					s := w.solver(slots(1))
					asks := w.start(w.job(s), w.asking("", m).Edge(0))
					<-g.reached
					also := w.start(w.job(s), w.asking("", m).Edge(0))
					begin := time.Now()
					if got := w.build(s, w.asking("-other").Edge(0)); got != "top-other(mid-other(in-other()))" {
						t.Error(got)
					}
					switch leave {
					case "cancel":
						asks.canceled()
						also.canceled()
					case "discard":
						asks.job.Discard()
						also.job.Discard()
					}
					w.build(s, w.asking("-another").Edge(0))
					s.Close()
					<-asks.done
					<-also.done
					if asks.err == nil || also.err == nil {
						t.Errorf("%v, %v", asks.err, also.err)
					}
					if waited := time.Since(begin); waited != 0 {
						t.Errorf("somebody waited %v", waited)
					}
					g.open()
					bubbleWait()
				})
			})
		}
	}
}

// contract 15, fault 2: a source that does not answer for SolverOpt.CachePatience is left
// out, with a warning on the vertices that go without it. It is asked again once it has
// answered.
func TestHungSourceIsLeftOut(t *testing.T) {
	for _, name := range []string{"Query", "Records", "WalkLinks", "WalkResults"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				const patience = 7 * time.Second
				g := newGate()
				m := hung[name](w, g, w.asking("").Edge(0))
				s := w.solver(func(o *solver.SolverOpt) { o.CachePatience = patience })
				j := w.job(s)
				st := w.watch(j)
				begin := time.Now()
				w.buildIn(j, w.asking("", m).Edge(0))
				if waited := time.Since(begin); waited != patience {
					t.Errorf("the build waited %v", waited)
				}
				w.executed(map[string]int{"in": 2, "mid": 2, "top": 2}) // once to fill the source
				begin = time.Now()
				w.build(s, w.asking("-next", m).Edge(0))
				if waited := time.Since(begin); waited != 0 {
					t.Errorf("the next build waited %v for a cache that is known to hang", waited)
				}
				j.Discard()
				<-st.done
				warned := 0
				for _, warning := range st.warnings {
					if strings.Contains(string(warning.Short), "cache far is left out") {
						warned++
					}
				}
				if warned == 0 {
					t.Errorf("no warning says so: %v", st.warnings)
				}
				g.open()
				bubbleWait()
				// It answers now.
				before := w.stats.Execs.Load()
				w.cache = solver.NewCacheManager("empty", solver.NewInMemoryCacheStorage(), &solvertest.Results{Stats: w.stats})
				w.build(w.solver(), w.asking("", m).Edge(0))
				if n := w.stats.Execs.Load() - before; n != 0 {
					t.Errorf("%d ops were run though the cache answers again", n)
				}
			})
		})
	}
}

// contract 15, 32, fault 2: calls to caches that hang do not use up what others need:
// neither where many jobs ask one, nor where each asks its own.
func TestHungSourcesLeaveSlots(t *testing.T) {
	for _, method := range []string{"Query", "Records", "Load"} {
		for _, own := range []bool{false, true} {
			t.Run(fmt.Sprint(method, "/each its own ", own), func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver(slots(2))
					g := newGate()
					far := w.source("far")
					far.fill(1, w.asking("").Edge(0))
					var all []*building
					for i := range 100 {
						m := far.cache
						if own {
							m = solver.NewCacheManager(fmt.Sprint("far ", i), far.storage, far.results)
						}
						m = &foreign{m: m, before: stuckIn(g, method)}
						j := w.job(s)
						all = append(all, w.start(j, w.asking("", m).Edge(0)))
						// The job's other builds go on, too.
						w.buildIn(j, w.node(fmt.Sprint("beside ", i), w.node("below")).Edge(0))
					}
					begin := time.Now()
					bubbleWait()
					for i := range 5 {
						w.build(s, w.asking(fmt.Sprint("-", i)).Edge(0))
					}
					if waited := time.Since(begin); waited != 0 {
						t.Errorf("it took %v", waited)
					}
					for _, b := range all {
						b.job.Discard()
						<-b.done
					}
					s.Close()
					g.open()
					bubbleWait()
				})
			})
		}
	}
}

// contract 15, fault 2: a default cache that does not return from a change is left out of
// the build, with a warning. Close does not wait for it longer than for the patience, and
// it never has a result that was released.
func TestHungSave(t *testing.T) {
	const patience = 7 * time.Second
	for name, hang := range map[string]func(w *world, g *gate){
		"result storage": func(w *world, g *gate) {
			w.results.OnSave = func() error { return g.stuck(context.Background()) }
		},
		"AddResult": func(w *world, g *gate) {
			w.cache = solver.NewCacheManager("local", &storage{CacheKeyStorage: w.storage, before: stuckIn(g, "AddResult")}, w.results)
		},
		"AddLink": func(w *world, g *gate) {
			w.cache = solver.NewCacheManager("local", &storage{CacheKeyStorage: w.storage, before: stuckIn(g, "AddLink")}, w.results)
		},
		"Save": func(w *world, g *gate) { w.cache = &foreign{m: w.cache, before: stuckIn(g, "Save")} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				g := newGate()
				hang(w, g)
				s := w.solver(slots(1), func(o *solver.SolverOpt) { o.CachePatience = patience })
				j := w.job(s)
				st := w.watch(j)
				begin := time.Now()
				if got := w.buildIn(j, w.asking("").Edge(0)); got != "top(mid(in()))" {
					t.Error(got)
				}
				if waited := time.Since(begin); waited != patience {
					t.Errorf("the build waited %v", waited)
				}
				begin = time.Now()
				w.build(s, w.asking("-next").Edge(0))
				s.Close()
				if waited := time.Since(begin); waited != 0 {
					t.Errorf("the next build and Close waited %v", waited)
				}
				<-st.done
				if len(st.warnings) == 0 || !strings.Contains(string(st.warnings[0].Short), "cache local is left out") {
					t.Errorf("the warnings are %v", st.warnings)
				}
				g.open()
				bubbleWait()
			})
		})
	}
}
