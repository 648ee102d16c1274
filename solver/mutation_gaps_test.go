package solver_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// Each test of this file fails if one mechanism of the solver is taken out that
// no other test misses.

// contract 18: what several edges wait for does not end with the first that leaves.
func TestContextOfSharedCalls(t *testing.T) {
	type makes func(w *world, s *solver.Solver, hold func(context.Context) error) [2]solver.Edge
	for name, c := range map[string]struct {
		pair makes
		runs int64 // how many ops are run for it
	}{
		"a cache map, of two outputs": {runs: 1, pair: func(w *world, _ *solver.Solver, hold func(context.Context) error) [2]solver.Edge {
			n := w.node("n")
			n.Outputs = 2
			n.OnCacheMap = func(ctx context.Context, _ int) error { return hold(ctx) }
			return [2]solver.Edge{n.Edge(0), n.Edge(1)}
		}},
		"a content key, of two outputs": {runs: 1, pair: func(w *world, s *solver.Solver, hold func(context.Context) error) [2]solver.Edge {
			first, n := w.byContent("first"), w.byContent("n")
			first.Outputs, n.Outputs = 2, 2
			w.build(s, first.Edge(0))
			w.build(s, first.Edge(1))
			n.In[0].OnDigest = hold
			return [2]solver.Edge{n.Edge(0), n.Edge(1)}
		}},
		"a load, of two vertices": {pair: func(w *world, s *solver.Solver, hold func(context.Context) error) [2]solver.Edge {
			w.build(s, w.equal("n", "first").Edge(0))
			w.results.OnLoad = func(ctx context.Context, _ string) error { return hold(ctx) }
			return [2]solver.Edge{w.equal("n", "one").Edge(0), w.equal("n", "two").Edge(0)}
		}},
	} {
		for leaves := range 2 {
			t.Run(fmt.Sprint(name, "/", leaves), func(t *testing.T) {
				bubble(t, func(w *world) {
					s, g, calls := w.solver(), newGate(), 0
					edges := c.pair(w, s, func(ctx context.Context) error { calls++; return g.pass(ctx) })
					before := w.stats.Execs.Load()
					var both [2]*building
					for i, e := range edges {
						both[i] = w.start(w.job(s), e)
						bubbleWait()
					}
					both[leaves].canceled()
					bubbleWait()
					g.open()
					stays := both[1-leaves]
					if <-stays.done; stays.err != nil {
						t.Error(stays.err)
					}
					if n := w.stats.Execs.Load() - before; calls != 1 || n != c.runs {
						t.Errorf("it was called %d times, and %d ops were run", calls, n)
					}
				})
			})
		}
	}
}

// byContent returns a node that has its input by content. All of them are equal by
// that, and none by definition.
func (w *world) byContent(tag string) *solvertest.Node {
	src := w.node("source of " + tag)
	src.Value = "same"
	n := w.node(tag, src)
	n.Key, n.In[0].Content = "by content", true
	return n
}

// contract 18, 8: a content key that was cancelled is computed for whoever asks
// next.
func TestCanceledContentKey(t *testing.T) {
	bubble(t, func(w *world) {
		s, g := w.solver(), newGate()
		w.build(s, w.byContent("first").Edge(0))
		n := w.byContent("n")
		hold := g.pass
		n.In[0].OnDigest = func(ctx context.Context) error { return hold(ctx) }
		j := w.job(s)
		b := w.start(j, n.Edge(0))
		<-g.reached
		b.canceled()
		bubbleWait()
		hold = func(context.Context) error { return nil }
		w.costs("again", counts{loads: 1, digests: 1}, func() { w.buildIn(j, n.Edge(0)) })
	})
}

// contract 10: of any number of inputs, each one's selector is part of the key.
func TestSelectorsOfManyInputs(t *testing.T) {
	for _, inputs := range []int{1, 4, 5, 100} {
		for at := range inputs {
			w := newWorld(t)
			s := w.solver()
			in := w.node("in")
			graph := func(id, selector string) *solvertest.Node {
				n := w.node(id)
				n.Key, n.Value = "n", selector
				for i := range inputs {
					n.In = append(n.In, solvertest.Input{Node: in, Selector: "all"})
					if i == at {
						n.In[i].Selector = selector
					}
				}
				return n
			}
			w.build(s, w.node("top", graph("n1", "x"), graph("n2", "y")).Edge(0))
			w.executed(map[string]int{"n1": 1, "n2": 1})
			for _, selector := range []string{"x", "y"} {
				w.costs("from cache", counts{maps: 2, loads: 1}, func() {
					if got := w.build(s, graph("n", selector).Edge(0)); got != selector {
						t.Errorf("%d inputs, %d through %s: %s", inputs, at, selector, got)
					}
				})
			}
			if t.Failed() {
				return
			}
		}
	}
}

// contract 13, 4: what an op builds may be equal to the op's own vertex, at any
// depth: it does not wait for itself.
func TestOpBuildsItsEqual(t *testing.T) {
	for depth := range 3 {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(depth, " below, late ", late), func(t *testing.T) {
				bubble(t, func(w *world) {
					inner := w.equal("n", "inner")
					inner.Value = "v"
					top := inner
					for i := range depth {
						top = w.node(fmt.Sprint("above", i), top)
						top.Value = "v"
					}
					if late { // only when its op is known is it seen to be equal
						g := newGate()
						inner.OnCacheMap = func(ctx context.Context, _ int) error { return g.pass(ctx) }
						go func() { bubbleWait(); g.open() }()
					}
					outer := w.building("outer", top)
					outer.Key = "n"
					w.start(w.job(w.solver()), outer.Edge(0)).wait("outer[v]")
				})
			})
		}
	}
}

// contract 13: what something equal has saved, and left, while an edge waited for
// its inputs is not run again.
func TestSavedWhileWaitingForInputs(t *testing.T) {
	bubble(t, func(w *world) {
		far, g := w.source("far"), newGate()
		far.fill(2_000_000_000, w.node("in").Edge(0)) // newer than any
		far.results.OnLoad = func(ctx context.Context, _ string) error { return g.pass(ctx) }
		s := w.solver()
		w.build(s, w.node("in").Edge(0))
		slow := w.equal("in", "slow")
		slow.Opts.CacheSources = []solver.CacheManager{far.cache}
		waits := w.start(w.job(s), w.equal("n", "waits", slow).Edge(0))
		<-g.reached
		// The caches have been asked for n. Another has the same input at once.
		w.build(s, w.equal("n", "quick", w.equal("in", "quick")).Edge(0))
		g.open()
		waits.wait("n(in())")
		if n := w.run("n", "waits", "quick"); n != 1 {
			t.Errorf("it was run %d times", n)
		}
	})
}

// contract 16, 13: an edge that shared an execution is known by the key its result
// was saved under, for as long as it lives.
func TestSharedExecutionAdvertisesItsKey(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		child := func(of string) solver.Edge {
			n := w.node("child of "+of, w.byContent(of))
			n.Key = "child"
			return n.Edge(0)
		}
		var all []*building
		for _, id := range []string{"runs", "shares"} {
			n := w.byContent(id)
			n.OnExec = g.exec
			all = append(all, w.start(w.job(s), n.Edge(0)))
			bubbleWait()
		}
		g.open()
		for _, b := range all {
			b.wait("by content(same)")
		}
		w.costs("a child", counts{maps: 1, execs: 1}, func() { w.build(s, child("runs")) })
		w.costs("a child of the one that shares", counts{maps: 1, loads: 1}, func() { w.build(s, child("shares")) })
	})
}

// contract 9, 16: a key that an input learns with its result counts.
func TestKeyLearnedWithResult(t *testing.T) {
	bubble(t, func(w *world) {
		far := w.source("far")
		child := func(of string) *solvertest.Node {
			n := w.node("child of "+of, w.byContent(of))
			n.Key, n.In[0].Content = "child", true
			return n
		}
		far.fill(1, child("runs").Edge(0))
		s, g := w.solver(), newGate()
		n := w.byContent("runs")
		n.OnExec = g.exec
		runs := w.start(w.job(s), n.Edge(0))
		<-g.reached
		// Only the child asks the source, where it is known by the key of the one that runs.
		top := child("shares")
		top.Opts.CacheSources = []solver.CacheManager{far.cache}
		shares := w.start(w.job(s), top.Edge(0))
		bubbleWait()
		g.open()
		runs.wait("by content(same)")
		shares.wait("child(by content(same))")
		w.executed(map[string]int{"child of runs": 1, "child of shares": 0}) // the one when far was filled
	})
}

// contract 8, 18: answers to what an edge asked before it was abandoned are void:
// when it searches again, it waits for all new ones, and definition keys that match
// spare the content keys.
func TestAnswersOfAbandonedSearch(t *testing.T) {
	for plain := range 3 { // the input that rules n out
		bubble(t, func(w *world) {
			s, g, saves := w.solver(), newGate(), new(atomic.Int32)
			n := func(id string) *solvertest.Node {
				n := w.equal("n", id, w.equal("a", id), w.equal("b", id), w.equal("c", id))
				for i := range n.In {
					n.In[i].Content = i != plain
				}
				return n
			}
			// The cache has n as the input of top, and not as what its own inputs lead to.
			w.results.OnSave = func() error {
				if saves.Add(1) == 4 { // n's own: its inputs are saved before it
					return errors.New("n is not saved")
				}
				return nil
			}
			w.build(s, w.equal("top", "first", n("first")).Edge(0))
			// One answer rules n out, while others are on their way; then top is found.
			live, j := n("live"), w.job(s)
			live.OnCacheMap = func(ctx context.Context, _ int) error { return g.pass(ctx) }
			top := w.start(j, w.equal("top", "live", live).Edge(0))
			<-g.reached
			bubbleWait()
			w.costs("top", counts{loads: 1}, func() { g.open(); top.wait("top(n(a(),b(),c()))") })
			w.costs("n, saved", counts{maps: 4, execs: 1, loads: 3, digests: 2}, func() { w.build(s, n("other").Edge(0)) })
			w.costs("n, found", counts{loads: 4}, func() { w.buildIn(j, live.Edge(0)) })
		})
	}
}
