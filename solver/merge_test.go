package solver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// equal returns a node whose keys are those of any other with this key and equal
// inputs.
func (w *world) equal(key, id string, in ...*solvertest.Node) *solvertest.Node {
	n := w.node(key+"-"+id, in...)
	n.Key = key
	return n
}

// run is how often the ops with a key were run, under any ID.
func (w *world) run(key string, ids ...string) (n int) {
	for _, id := range ids {
		n += w.stats.Executed(key + "-" + id)
	}
	return n
}

var orders3 = [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// contract 13: equal edges are solved once, and whoever asked for any of them may
// leave at any moment, in any order.
func TestEqualEdges(t *testing.T) {
	const (
		beforeRun = iota
		running
		afterwards
	)
	for when := beforeRun; when <= afterwards; when++ {
		for _, order := range orders3 {
			t.Run(fmt.Sprint("leaving ", when, order), func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver()
					in, run := newGate(), newGate()
					var all []*building
					for _, id := range []string{"a", "b", "c"} {
						base := w.equal("base", id)
						base.OnExec = in.exec
						n := w.equal("n", id, base)
						n.OnExec = run.exec
						all = append(all, w.start(w.job(s), n.Edge(0)))
						bubbleWait()
					}
					leave := func() {
						all[order[0]].job.Discard()
						bubbleWait()
						all[order[1]].canceled()
						all[order[1]].job.Discard()
						bubbleWait()
					}
					if when == beforeRun {
						leave()
					}
					in.open()
					<-run.reached
					if when == running {
						leave()
					}
					run.open()
					all[order[2]].wait("n(base())")
					if when == afterwards {
						for _, i := range order[:2] {
							all[i].wait("n(base())")
							all[i].job.Discard()
						}
					}
					if got := w.run("n", "a", "b", "c"); got != 1 {
						t.Errorf("n was run %d times", got)
					}
					if got := w.run("base", "a", "b", "c"); got != 1 {
						t.Errorf("base was run %d times", got)
					}
					// The last one has what it built, and all of it is its own.
					last := all[order[2]].job
					w.costs("it lives", counts{}, func() {
						id := string("abc"[order[2]])
						w.buildIn(last, w.equal("n", id, w.equal("base", id)).Edge(0))
					})
					last.Discard()
					w.idle(s)
				})
			})
		}
	}
}

// contract 13: the last one who waits leaves: the op is cancelled.
func TestEqualEdgesAllLeave(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		ended := make(chan error, 1)
		g := newGate()
		var all []*building
		for _, id := range []string{"a", "b", "c"} {
			n := w.equal("n", id)
			n.OnExec = func(ctx context.Context, _ []solver.Result) error {
				err := g.pass(ctx)
				ended <- err
				return err
			}
			all = append(all, w.start(w.job(s), n.Edge(0)))
			bubbleWait()
		}
		for i, b := range all {
			select {
			case err := <-ended:
				t.Fatalf("the op ended after %d had left: %v", i, err)
			default:
			}
			b.canceled()
			bubbleWait()
		}
		if err := <-ended; err == nil {
			t.Error("the op was not cancelled")
		}
		for _, b := range all {
			b.job.Discard()
		}
		w.idle(s)
	})
}

// contract 13: merges in opposite directions over several outputs.
func TestMergeBothDirections(t *testing.T) {
	for _, first := range []int{0, 1} {
		for _, leaves := range []int{-1, 0, 1} {
			t.Run(fmt.Sprint("first ", first, " leaves ", leaves), func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver()
					gx, gy := newGate(), newGate()
					graph := func(id string, x, y int) solver.Edge {
						nx, ny := w.equal("x", id), w.equal("y", id)
						nx.Outputs, ny.Outputs = 2, 2
						nx.OnExec, ny.OnExec = gx.exec, gy.exec
						top := w.node("top" + id)
						top.In = []solvertest.Input{{Node: nx, Output: x}, {Node: ny, Output: y}, {Node: ny, Output: 1 - y}, {Node: nx, Output: 1 - x}}
						if id == "1" {
							top.In = []solvertest.Input{top.In[2], top.In[3], top.In[0], top.In[1]}
						}
						return top.Edge(0)
					}
					all := make([]*building, 2)
					for _, i := range []int{first, 1 - first} {
						all[i] = w.start(w.job(s), graph(fmt.Sprint(i), i, 1-i))
						bubbleWait()
					}
					if leaves >= 0 {
						gx.open()
						bubbleWait()
						all[leaves].job.Discard()
						bubbleWait()
						gy.open()
					} else {
						gy.open()
						bubbleWait()
						gx.open()
					}
					want := []string{"top0(x(),y()#1,y(),x()#1)", "top1(y()#1,x(),x()#1,y())"}
					for i, b := range all {
						if <-b.done; i != leaves {
							b.wait(want[i])
						}
					}
					if x, y := w.run("x", "0", "1"), w.run("y", "0", "1"); x != 1 || y != 1 {
						t.Errorf("x was run %d times, y %d times", x, y)
					}
				})
			})
		}
	}
}

// contract 13: an edge that turns out to be equal to its own input: a step that
// changes nothing, repeated.
func TestEqualToOwnInput(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string) solver.Edge {
		n := w.node("src" + tag)
		n.Value = "same"
		for i := range 20 {
			n = w.equal("noop", fmt.Sprint(i, tag), n)
			n.Value, n.In[0].Content = "same", true
		}
		return n.Edge(0)
	}
	// All in one job: each step is equal to the one before, by what its input is.
	for _, tag := range []string{"a", "b"} {
		got := w.during(func() {
			if got := w.build(s, graph(tag)); got != "same" {
				t.Error(got)
			}
		})
		if tag == "b" && got.execs > 1 {
			t.Errorf("again: %+v", got)
		}
	}
	// And in two at once.
	one, two := w.start(w.job(s), graph("c")), w.start(w.job(s), graph("d"))
	one.wait("same")
	two.wait("same")
}

// contract 13: edges that are found equal by their content.
func TestMergeByContent(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		// So that content decides: something is in the cache that may match.
		graph := func(tag, value string, g *gate) solver.Edge {
			src := w.node("src" + tag)
			src.Value = value
			n := w.equal("copy", tag, src)
			n.In[0].Content = true
			if g != nil {
				n.OnExec = g.exec
			}
			return n.Edge(0)
		}
		w.build(s, graph("0", "another", nil))
		g := newGate()
		var all []*building
		for _, tag := range []string{"1", "2", "3"} {
			all = append(all, w.start(w.job(s), graph(tag, "same", g)))
			bubbleWait()
		}
		all[0].job.Discard()
		bubbleWait()
		g.open()
		all[1].wait("copy(same)")
		all[2].wait("copy(same)")
		if n := w.run("copy", "1", "2", "3"); n != 1 {
			t.Errorf("copy was run %d times", n)
		}
		all[1].job.Discard()
		all[2].job.Discard()
		w.costs("the next one", counts{maps: 2, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("4", "same", nil)) })
	})
}

// contract 13: a result that was merged is one record, which each of the chains
// leads to.
func TestMergedChainsLeadToOneRecord(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		graph := func(id string) solver.Edge {
			n := w.equal("n", id, w.equal("base", id))
			n.Outputs, n.OnExec = 2, g.exec
			return n.Edge(0)
		}
		a, b := w.start(w.job(s), graph("a")), w.start(w.job(s), graph("b"))
		<-g.reached
		g.open()
		<-a.done
		<-b.done
		a.job.Discard()
		b.job.Discard()
		if n := len(w.results.IDs()); n != 2 {
			t.Errorf("%d results are kept, not one of base and one of n", n)
		}
		w.costs("from cache", counts{maps: 2, loads: 1}, func() { w.build(s, graph("c")) })
	})
}

// contract 13: two jobs on ladders of equal keys: the work is linear.
func TestLadderOfEqualKeys(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	const rungs = 500
	graph := func(id string) solver.Edge {
		a, b := w.equal("a", id), w.equal("b", id)
		for i := range rungs {
			a, b = w.equal(fmt.Sprint("a", i), id, a, b), w.equal(fmt.Sprint("b", i), id, a, b)
			a.Value, b.Value = "a", "b"
		}
		top := w.equal("top", id, a, b)
		top.Value = "v"
		return top.Edge(0)
	}
	one, two := w.start(w.job(s), graph("1")), w.start(w.job(s), graph("2"))
	one.wait("v")
	two.wait("v")
	st := s.Stats()
	if each := float64(st.Visits) / (2 * (2*rungs + 3)); each > 20 {
		t.Errorf("%.1f visits a vertex", each)
	}
	if n := w.stats.Execs.Load(); n != 2*rungs+3 {
		t.Errorf("%d ops were run for %d keys", n, 2*rungs+3)
	}
}

// lateAnswers is a key storage whose answers about links arrive later than they are
// true: each waits for its gate.
type lateAnswers struct {
	solver.CacheKeyStorage
	late func() // nil: at once
}

func (l *lateAnswers) WalkLinks(id string, link solver.CacheInfoLink, fn func(string) error) error {
	var found []string
	err := l.CacheKeyStorage.WalkLinks(id, link, func(id string) error { found = append(found, id); return nil })
	if l.late != nil {
		l.late()
	}
	for _, id := range found {
		if err := fn(id); err != nil {
			return err
		}
	}
	return err
}

// contract 13: what is equal, and has ended for good since the caches were asked, is
// found in them when they are asked again, whatever else has ended before.
func TestEqualEndsWhileAsked(t *testing.T) {
	bubble(t, func(w *world) {
		gates := []*gate{newGate(), newGate(), newGate(), newGate()}
		var asked atomic.Int64
		late := &lateAnswers{CacheKeyStorage: w.storage}
		w.cache = solver.NewCacheManager("local", late, w.results)
		s := w.solver()
		n := func(id string) solver.Edge { return w.equal("n", id, w.node("in")).Edge(0) }
		w.build(s, w.node("in").Edge(0))
		unrelated := w.job(s)
		w.buildIn(unrelated, w.node("unrelated").Edge(0))
		late.late = func() {
			if i := int(asked.Add(1)) - 1; i < len(gates) {
				gates[i].stuck(t.Context())
			}
		}
		jobs := []*solver.Job{w.job(s), w.job(s)}
		both := []*building{w.start(jobs[0], n("first")), w.start(jobs[1], n("second"))}
		bubbleWait() // both have asked
		unrelated.Discard()
		for _, g := range gates { // after it both ask again, and one runs while the other's answer is late
			g.open()
			bubbleWait()
			for i, b := range both {
				select {
				case <-b.done:
					jobs[i].Discard()
				default:
				}
			}
			bubbleWait()
		}
		for _, b := range both {
			b.wait("n(in())")
		}
		if n := w.run("n", "first", "second"); n != 1 {
			t.Errorf("run %d times", n)
		}
	})
}
