package solver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// runsNothing checks that fn runs no op.
func (w *world) runsNothing(what string, fn func()) {
	w.t.Helper()
	if n := w.during(fn).execs; n != 0 {
		w.t.Errorf("%s: %d ops were run", what, n)
	}
}

// contract 12, fault 12: what depends on an inner vertex that ignores caches is evaluated
// again, over two levels; a content key spares it; and a plain request is not touched.
func TestIgnoringInnerVertex(t *testing.T) {
	for _, c := range []struct {
		name    string
		content string // the node whose input has a content key
		value   string // of in, when it is run anew
		source  bool   // the cache is a foreign source
		run     map[string]int
	}{
		{name: "all is run", run: map[string]int{"in": 1, "mid": 1, "top": 1}},
		{name: "equal content at mid", content: "mid", run: map[string]int{"in": 1}},
		{name: "equal content at top", content: "top", run: map[string]int{"in": 1, "mid": 1}},
		{name: "other content at mid", content: "mid", value: "new", run: map[string]int{"in": 1, "mid": 1, "top": 1}},
		{name: "other content at top", content: "top", value: "new", run: map[string]int{"in": 1, "mid": 1, "top": 1}},
		{name: "source: all is run", source: true, run: map[string]int{"in": 1, "mid": 1, "top": 1}},
		{name: "source: equal content at mid", source: true, content: "mid", run: map[string]int{"in": 1}},
		{name: "source: equal content at top", source: true, content: "top", run: map[string]int{"in": 1, "mid": 1}},
	} {
		for _, live := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, "/beside a plain request ", live), func(t *testing.T) {
				bubble(t, func(w *world) {
					w.results.Now = (&clock{}).now
					far := w.source("far")
					value := "old"
					graph := func(ignore bool) *solvertest.Node {
						in := w.node("in")
						if ignore {
							ignoring(in)
						}
						in.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
							return []solver.Result{solvertest.NewResult(value, w.stats)}, nil
						}
						mid := w.node("mid", in)
						top := w.node("top", mid)
						mid.In[0].Content, top.In[0].Content = c.content == "mid", c.content == "top"
						if c.source {
							for _, n := range []*solvertest.Node{in, mid, top} {
								n.Opts.CacheSources = []solver.CacheManager{&foreign{m: far.cache}}
							}
						}
						return top
					}
					s := w.solver()
					if c.source {
						far.fill(1, graph(false).Edge(0))
					} else {
						w.build(s, graph(false).Edge(0))
					}
					ran := map[string]int{}
					for _, id := range []string{"in", "mid", "top"} {
						ran[id] = w.stats.Executed(id)
					}
					var plain *solver.Job
					if live {
						plain = w.job(s)
						w.runsNothing("plain, before", func() {
							if got := w.buildIn(plain, graph(false).Edge(0)); got != "top(mid(old))" {
								t.Error(got)
							}
						})
					}
					want := "top(mid(old))"
					if c.value != "" {
						want, value = "top(mid(new))", c.value
					}
					j := w.job(s)
					if got := w.buildIn(j, graph(true).Edge(0)); got != want {
						t.Errorf("%q", got)
					}
					for id, n := range ran {
						if got := w.stats.Executed(id) - n; got != c.run[id] {
							t.Errorf("%s was run %d times, not %d", id, got, c.run[id])
						}
					}
					if live {
						w.runsNothing("plain, beside", func() {
							if got := w.buildIn(plain, graph(false).Edge(0)); got != "top(mid(old))" {
								t.Error(got)
							}
						})
						plain.Discard()
					}
					j.Discard()
					w.runsNothing("plain, afterwards", func() {
						if got := w.build(s, graph(false).Edge(0)); got != want {
							t.Errorf("%q", got) // the newest
						}
					})
				})
			})
		}
	}
}

// contract 12, fault 12: of several inputs, only what is above the one that ignores caches
// is evaluated again; and so it is where the vertex is built by an op.
func TestIgnoringInnerVertexSiblings(t *testing.T) {
	t.Run("one branch", func(t *testing.T) {
		w := newWorld(t)
		s := w.solver()
		graph := func(ignore bool) solver.Edge {
			in := w.node("in")
			if ignore {
				ignoring(in)
			}
			return w.node("top", w.node("left", in), w.node("right", w.node("other"))).Edge(0)
		}
		w.build(s, graph(false))
		w.build(s, graph(true))
		w.executed(map[string]int{"in": 2, "left": 2, "top": 2, "right": 1, "other": 1})
	})
	t.Run("equal content", func(t *testing.T) {
		w := newWorld(t)
		s := w.solver()
		graph := func(ignore bool) solver.Edge {
			in := w.node("in")
			if ignore {
				ignoring(in)
			}
			left := w.node("left", in)
			left.In[0].Content = true
			return w.node("top", left, w.node("right")).Edge(0)
		}
		w.build(s, graph(false))
		for range 3 {
			w.costs("spared", counts{maps: 4, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph(true)) })
		}
	})
	t.Run("sub-build", func(t *testing.T) {
		w := newWorld(t)
		s := w.solver()
		outer := func(ignore bool) solver.Edge {
			n := w.node("outer")
			n.Opts.IgnoreCache = true
			n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
				in := w.node("in")
				if ignore {
					ignoring(in)
				}
				return w.pass(b.Build(ctx, w.node("above", in).Edge(0)))
			}
			return n.Edge(0)
		}
		w.build(s, outer(false))
		w.build(s, outer(true))
		w.build(s, outer(false))
		w.executed(map[string]int{"outer": 3, "in": 2, "above": 2})
	})
}
