package solver_test

import (
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// ignoring returns the node as a request that ignores caches wants it.
func ignoring(n *solvertest.Node) *solvertest.Node {
	n.Opts.IgnoreCache = true
	return n
}

// contract 12: an ignoring vertex does not read its own cache, and writes it. Its
// inputs use theirs.
func TestIgnoreCacheAlone(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	var tick clock
	w.results.Now = tick.now
	graph := func(value string) *solvertest.Node {
		n := w.node("n", w.node("in"))
		n.Value = value
		return n
	}
	w.costs("cold", counts{maps: 2, execs: 2}, func() { w.build(s, ignoring(graph("old")).Edge(0)) })
	w.costs("normal", counts{maps: 2, loads: 1}, func() { w.build(s, graph("unused").Edge(0)) })
	w.costs("ignoring", counts{maps: 2, execs: 1, loads: 1}, func() {
		if got := w.build(s, ignoring(graph("new")).Edge(0)); got != "new" {
			t.Error(got)
		}
	})
	w.costs("what it has written", counts{maps: 2, loads: 1}, func() {
		if got := w.build(s, graph("unused").Edge(0)); got != "new" {
			t.Error(got)
		}
	})
	all := ignoring(graph("newest"))
	ignoring(all.In[0].Node)
	w.costs("all ignoring", counts{maps: 2, execs: 2}, func() { w.build(s, all.Edge(0)) })
}

// contract 12: an ignoring request is not satisfied by an active one that may use
// caches; it shares the op.
func TestIgnoringBesideNormal(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint("running ", running), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				g := newGate()
				n := func() *solvertest.Node {
					n := w.node("n", w.node("in"))
					n.OnExec = g.exec
					return n
				}
				normal := w.start(w.job(s), n().Edge(0))
				<-g.reached
				if !running {
					g.open()
					<-normal.done
				}
				other := w.start(w.job(s), ignoring(n()).Edge(0))
				if running {
					bubbleWait()
					g.open()
				}
				other.wait("n(in())")
				normal.wait("n(in())")
				w.executed(map[string]int{"n": 2, "in": 1})
				if n := w.stats.Resolved.Load(); n != 2 {
					t.Errorf("%d ops were resolved", n)
				}
				if n := w.stats.CacheMaps.Load(); n != 2 {
					t.Errorf("%d cache maps were asked for", n)
				}
			})
		})
	}
}

// contract 12: a request that may use caches is satisfied by an active ignoring one.
func TestNormalServedByIgnoring(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint("running ", running), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				w.build(s, w.node("n", w.node("in")).Edge(0))
				g := newGate()
				n := func(value string) *solvertest.Node {
					n := w.node("n", w.node("in"))
					n.OnExec, n.Value = g.exec, value
					return n
				}
				first := w.start(w.job(s), ignoring(n("fresh")).Edge(0))
				<-g.reached
				if !running {
					g.open()
					<-first.done
				}
				second := w.start(w.job(s), n("unused").Edge(0))
				if running {
					bubbleWait()
					g.open()
				}
				second.wait("fresh")
				first.wait("fresh")
				w.executed(map[string]int{"n": 2, "in": 1})
				// Who asked first may go.
				first.job.Discard()
				w.costs("it lives on", counts{}, func() { w.buildIn(second.job, n("unused").Edge(0)) })
			})
		})
	}
}

// contract 12: three jobs want one graph, with and without caches, in every order,
// and one of them leaves while it is being solved.
func TestNoCacheMixed(t *testing.T) {
	for mask := range 8 {
		for leaves := -1; leaves < 3; leaves++ {
			t.Run(fmt.Sprintf("ignoring %03b, %d leaves", mask, leaves), func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver()
					w.build(s, w.node("top", w.node("mid", w.node("leaf"))).Edge(0))
					g := newGate()
					var all []*building
					for i := range 3 {
						mid := w.node("mid", w.node("leaf"))
						top := w.node("top", mid)
						if mask&(1<<i) != 0 {
							ignoring(mid)
							ignoring(top)
							mid.OnExec = g.exec
						}
						all = append(all, w.start(w.job(s), top.Edge(0)))
						bubbleWait()
					}
					if leaves >= 0 {
						all[leaves].job.Discard()
					}
					bubbleWait()
					g.open()
					for i, b := range all {
						if i != leaves {
							b.wait("top(mid(leaf()))")
						}
						<-b.done
					}
					if n := w.stats.Executed("top"); n > 1+1 {
						t.Errorf("top was run %d times", n)
					}
					if n := w.stats.Executed("leaf"); n != 1 {
						t.Errorf("leaf was run %d times", n)
					}
				})
			})
		}
	}
}

// contract 12: who ignores caches does not share with an equal edge that does not,
// and shares with one that does.
func TestIgnoringAndEqualKeys(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		n := func(id string) *solvertest.Node {
			n := w.node(id)
			n.Key, n.OnExec = "equal", g.exec
			return n
		}
		var all []*building
		for _, v := range []*solvertest.Node{n("a"), n("b"), ignoring(n("c")), ignoring(n("d")), n("e")} {
			all = append(all, w.start(w.job(s), v.Edge(0)))
			bubbleWait()
		}
		g.open()
		for _, b := range all {
			b.wait("equal()")
		}
		if n := w.stats.Execs.Load(); n != 2 {
			t.Errorf("%d ops were run, not one of those that may use caches and one of those that ignore them", n)
		}
	})
}

// contract 12: it is a property of the request: the next one may use caches again.
// What depends on who ignores them is not found by its definition.
func TestIgnoringIsOfTheRequest(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	top := func(in *solvertest.Node) solver.Edge { return w.node("top", in).Edge(0) }
	w.build(s, top(w.node("in")))
	w.costs("ignoring below", counts{maps: 2, execs: 2}, func() { w.build(s, top(ignoring(w.node("in")))) })
	w.costs("normal again", counts{maps: 2, loads: 1}, func() { w.build(s, top(w.node("in"))) })
}
