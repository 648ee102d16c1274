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

// source is a cache of its own, whose results are counted in the world.
type source struct {
	*world
	tick int64
}

func (w *world) source(id string) *source {
	o := &source{world: &world{t: w.t, stats: w.stats, storage: solver.NewInMemoryCacheStorage()}}
	o.results = &solvertest.Results{Stats: w.stats, Now: func() time.Time { return time.Unix(o.tick, 0) }}
	o.cache = solver.NewCacheManager(id, o.storage, o.results)
	return o
}

// fill builds an edge so that only the source has its results, made at a time.
func (o *source) fill(at int64, e solver.Edge) {
	o.t.Helper()
	o.tick = at
	s := o.solver()
	o.build(s, e)
	s.Close()
}

// contract 14: the newest of all caches wins, then the default cache, then the
// source that was named first; whatever order the caches answer in.
func TestNewestWins(t *testing.T) {
	for _, c := range []struct {
		name      string
		def, a, b int64 // when each made its own; 0: it has none
		want      string
	}{
		{"only one source", 0, 1, 0, "a"},
		{"only the other", 0, 0, 1, "b"},
		{"a is newest", 1, 3, 2, "a"},
		{"b is newest", 1, 2, 3, "b"},
		{"default is newest", 3, 2, 1, "default"},
		{"all are of one time", 1, 1, 1, "default"},
		{"sources are of one time", 0, 1, 1, "a"},
		{"default shares with b", 1, 0, 1, "default"},
	} {
		for _, kind := range []string{"own", "foreign"} {
			for _, level := range []string{"root", "above"} {
				t.Run(c.name+"/"+kind+"/"+level, func(t *testing.T) {
					w := newWorld(t)
					graph := func(value string) *solvertest.Node {
						n := w.node("n")
						if level == "above" {
							n = w.node("n", w.node("in1"), w.node("in2"))
						}
						n.Value = value
						return n
					}
					def, a, b := w.source("default"), w.source("a"), w.source("b")
					filled := 0
					for o, at := range map[*source]int64{def: c.def, a: c.a, b: c.b} {
						if at > 0 {
							filled++
							o.fill(at, graph(o.cache.ID()).Edge(0))
						}
					}
					def.tick = 100
					sources := []solver.CacheManager{a.cache, b.cache}
					if kind == "foreign" {
						sources = []solver.CacheManager{&foreign{m: a.cache}, &foreign{m: b.cache}}
					}
					s := def.solver()
					n := graph("unused")
					n.Opts.CacheSources = sources
					for i := range n.In {
						n.In[i].Node.Opts.CacheSources = sources
					}
					if got := def.build(s, n.Edge(0)); got != c.want {
						t.Errorf("%q wins", got)
					}
					// It is in the default cache now.
					if got := def.build(s, graph("unused").Edge(0)); got != c.want {
						t.Errorf("%q is in the default cache", got)
					}
					w.executed(map[string]int{"n": filled})
				})
			}
		}
	}
}

// contract 14: what a source has is found at any level, by several inputs, outputs
// and content keys, and kept in the default cache with its chain.
func TestSourceShapes(t *testing.T) {
	for _, kind := range []string{"own", "foreign", "late"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			far := w.source("far")
			var m solver.CacheManager = far.cache
			if kind == "foreign" {
				m = &foreign{m: far.cache}
			}
			if kind == "late" {
				m = lateCache{&foreign{m: far.cache}}
			}
			graph := func(tag string, sources ...solver.CacheManager) solver.Edge {
				all := func(n *solvertest.Node) *solvertest.Node {
					n.Opts.CacheSources = sources
					return n
				}
				src := all(w.node("src" + tag))
				src.Value = "same"
				wide := all(w.node("wide"+tag, src, all(w.node("side"))))
				wide.Key, wide.Outputs, wide.In[0].Content, wide.In[1].Selector = "wide", 3, true, "sel"
				top := all(w.node("top" + tag))
				top.Key = "top"
				top.In = []solvertest.Input{{Node: wide, Output: 2}, {Node: wide, Output: 1}}
				return top.Edge(0)
			}
			far.fill(1, graph("1"))
			execs := w.stats.Execs.Load()
			s := w.solver()
			w.build(s, graph("1", m))
			if n := w.stats.Execs.Load() - execs; n != 0 {
				t.Errorf("by definition: %d ops were run", n)
			}
			w.build(s, graph("2", m))
			if n := w.stats.Execs.Load() - execs; n != 1 {
				t.Errorf("by content: %d ops were run, not the source alone", n)
			}
			// Without the source: all that was found is in the default cache.
			w.costs("default cache alone", counts{maps: 4, loads: 1}, func() { w.build(s, graph("1")) })
		})
	}
}

// contract 14: the sources of a vertex are inherited by what its op builds.
func TestSourcesInherited(t *testing.T) {
	w := newWorld(t)
	far := w.source("far")
	inner := func() *solvertest.Node { return w.node("inner", w.node("leaf")) }
	far.fill(1, inner().Edge(0))
	outer := w.node("outer")
	outer.Opts.CacheSources = []solver.CacheManager{far.cache}
	outer.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
		r, err := b.Build(ctx, inner().Edge(0))
		if err != nil {
			return nil, err
		}
		defer r.Release(ctx)
		return []solver.Result{solvertest.NewResult("outer of "+solvertest.Value(r), w.stats)}, nil
	}
	w.costs("outer alone is run", counts{maps: 3, execs: 1}, func() {
		if got := w.build(w.solver(), outer.Edge(0)); got != "outer of inner(leaf())" {
			t.Error(got)
		}
	})
}

// contract 14: a further request brings a source to a vertex that is being solved.
func TestSourceAddedWhileSolving(t *testing.T) {
	bubble(t, func(w *world) {
		far := w.source("far")
		graph := func(g *gate, sources ...solver.CacheManager) solver.Edge {
			in, slow := w.node("in"), w.node("slow")
			if g != nil {
				slow.OnCacheMap = func(ctx context.Context, _ int) error { return g.pass(ctx) }
			}
			top := w.node("top", in, slow)
			for _, n := range []*solvertest.Node{in, slow, top} {
				n.Opts.CacheSources = sources
			}
			return top.Edge(0)
		}
		far.fill(1, graph(nil))
		s := w.solver()
		g := newGate()
		first := w.start(w.job(s), graph(g))
		<-g.reached
		second := w.start(w.job(s), graph(g, far.cache))
		bubbleWait()
		g.open()
		first.wait("top(in(),slow())")
		second.wait("top(in(),slow())")
		// Once each, when far was filled. The input that is not slow may have been run
		// before the source was known: that no local match is possible was clear.
		if top, slow := w.stats.Executed("top"), w.stats.Executed("slow"); top != 1 || slow != 1 {
			t.Errorf("top was run %d times, slow %d times", top, slow)
		}
	})
}

// contract 14: managers of one ID are one cache: it is asked once.
func TestSourcesOfOneID(t *testing.T) {
	w := newWorld(t)
	far := w.source("far")
	one, two := &foreign{m: far.cache}, &foreign{m: far.cache}
	same := &foreign{m: w.cache} // the default cache under its own ID
	n := w.node("n", w.node("in"))
	n.Opts.CacheSources = []solver.CacheManager{one, same, two, one, nil, (*foreign)(nil)}
	w.build(w.solver(), n.Edge(0))
	if one.queries.Load() == 0 || two.queries.Load() != 0 || same.queries.Load() != 0 {
		t.Errorf("asked %d, %d and %d times", one.queries.Load(), two.queries.Load(), same.queries.Load())
	}
}

// contract 14: a match is one cache's: halves in two caches are none.
func TestNoMatchAcrossCaches(t *testing.T) {
	w := newWorld(t)
	a, b := w.source("a"), w.source("b")
	graph := func(x, y string, sources ...solver.CacheManager) solver.Edge {
		n := w.node("n"+x+y, w.node(x), w.node(y))
		n.Key = "n"
		n.Opts.CacheSources = sources
		return n.Edge(0)
	}
	a.fill(1, graph("x", "other"))
	b.fill(1, graph("another", "y"))
	before := w.stats.Execs.Load()
	if got := w.build(w.solver(), graph("x", "y", a.cache, b.cache)); got != "n(x(),y())" {
		t.Error(got)
	}
	if n := w.stats.Execs.Load() - before; n != 3 {
		t.Errorf("%d ops were run", n)
	}
}

// contract 14, 18: a slow source delays nobody who does not need it, and may be
// left at any time.
func TestSlowSource(t *testing.T) {
	for _, method := range []string{"Query", "Records", "Load"} {
		t.Run(method, func(t *testing.T) {
			bubble(t, func(w *world) {
				far := w.source("far")
				graph := func() *solvertest.Node { return w.node("n", w.node("in1"), w.node("in2")) }
				far.fill(1, graph().Edge(0))
				g := newGate()
				slow := &foreign{m: far.cache, before: func(m string) error {
					if m == method {
						return g.stuck(context.Background())
					}
					return nil
				}}
				s := w.solver()
				n := graph()
				n.Opts.CacheSources = []solver.CacheManager{slow}
				waits := w.start(w.job(s), n.Edge(0))
				left := w.start(w.job(s), n.Edge(0))
				<-g.reached
				w.build(s, w.node("something", w.node("else")).Edge(0))
				left.canceled()
				left.job.Discard()
				g.open()
				waits.wait("n(in1(),in2())")
				w.executed(map[string]int{"n": 1})
			})
		})
	}
}

// contract 14: sources that name each other's keys in every order give one answer.
func TestSourcesDeterministic(t *testing.T) {
	for round := range 10 {
		w := newWorld(t)
		var sources []solver.CacheManager
		for i := range 5 {
			o := w.source(fmt.Sprint("source", i))
			n := w.node("n", w.node("in"))
			n.Value = fmt.Sprint("made by ", i)
			o.fill(int64(1+i%2), n.Edge(0))
			sources = append(sources, &foreign{m: o.cache})
		}
		n := w.node("n", w.node("in"))
		n.Opts.CacheSources = sources
		if got := w.build(w.solver(), n.Edge(0)); !strings.HasSuffix(got, "1") {
			t.Errorf("round %d: %q", round, got)
		}
	}
}
