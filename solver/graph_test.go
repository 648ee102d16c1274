package solver_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 1: vertices of one digest are one vertex, whichever jobs asked.
func TestOneVertex(t *testing.T) {
	bubble(t, func(w *world) {
		g := newGate()
		graph := func(output int) solver.Edge {
			base := w.node("base", w.node("root"))
			base.Outputs = 3
			base.OnExec = g.exec
			top := w.node(fmt.Sprint("top", output))
			top.In = []solvertest.Input{{Node: base, Output: output}, {Node: base, Output: 0}}
			return top.Edge(0)
		}
		s := w.solver()
		var all []*building
		for i := range 6 {
			all = append(all, w.start(w.job(s), graph(i%3)))
		}
		<-g.reached
		g.open()
		for i, b := range all {
			n := i % 3
			base := "base(root())"
			seen := base
			if n > 0 {
				seen = fmt.Sprintf("%s#%d", base, n)
			}
			b.wait(fmt.Sprintf("top%d(%s,%s)", n, seen, base))
		}
		w.executed(map[string]int{"root": 1, "base": 1, "top0": 1, "top1": 1, "top2": 1})
		if n := w.stats.Resolved.Load(); n != 5 {
			t.Errorf("%d ops were resolved, not 5", n)
		}
		if n := w.stats.CacheMaps.Load(); n != 5 {
			t.Errorf("%d cache maps were asked for, not 5", n)
		}
	})
}

// contract 1: further outputs of a live vertex do not run it again.
func TestOutputsLater(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	j := w.job(s)
	n := w.node("many")
	n.Outputs = 4
	for _, i := range []int{2, 0, 3, 1, 2} {
		want := "many()"
		if i > 0 {
			want += fmt.Sprint("#", i)
		}
		if got := w.buildIn(j, n.Edge(i)); got != want {
			t.Errorf("output %d is %q", i, got)
		}
	}
	w.executed(map[string]int{"many": 1})
}

// reading counts how often the inputs of vertices are read.
type reading struct {
	*solvertest.Node
	in    []solver.Edge
	reads *atomic.Int64
}

func (r *reading) Inputs() []solver.Edge {
	r.reads.Add(1)
	return r.in
}

// contract 1: loading is linear in the graph, however many paths there are in it.
func TestLadderLoadsLinearly(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	var reads atomic.Int64
	rung := func(id string, in ...*reading) *reading {
		r := &reading{Node: w.node(id), reads: &reads}
		r.Node.Value = id
		for _, i := range in {
			r.Node.In = append(r.Node.In, solvertest.Input{Node: i.Node})
			r.in = append(r.in, solver.Edge{Vertex: i})
		}
		return r
	}
	const depth = 200
	a, b := rung("a"), rung("b")
	for i := range depth {
		a, b = rung(fmt.Sprint("a", i), a, b), rung(fmt.Sprint("b", i), a, b)
	}
	begin := time.Now()
	w.build(s, solver.Edge{Vertex: rung("top", a, b)})
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
	if n := reads.Load(); n != 2*depth+3 {
		t.Errorf("inputs were read %d times for %d vertices", n, 2*depth+3)
	}
	if n := w.stats.Execs.Load(); n != 2*depth+3 {
		t.Errorf("%d ops were run", n)
	}
}

// contract 1: a graph's depth is not bounded by a stack.
func TestDeepChain(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	const depth = 50_000
	defer debug.SetMaxStack(debug.SetMaxStack(1 << 20))
	n := w.node("bottom")
	for i := range depth {
		n = w.node(fmt.Sprint("n", i), n)
		n.Value = "v"
	}
	w.build(s, n.Edge(0))
	w.costs("again", counts{maps: depth + 1, loads: 1}, func() { w.build(s, n.Edge(0)) })
}

// contract 2: independent inputs run at the same time.
func TestInputsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		const n = 10
		var all sync.WaitGroup
		all.Add(n)
		top := w.node("top")
		for i := range n {
			in := w.node(fmt.Sprint("in", i))
			in.OnExec = func(context.Context, []solver.Result) error {
				all.Done()
				all.Wait() // for ever, unless all of them run
				return nil
			}
			top.In = append(top.In, solvertest.Input{Node: in})
		}
		w.build(w.solver(), top.Edge(0))
	})
}

// contract 2: nothing is started that no job needs.
func TestNothingUnneeded(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func() (mid, top *solvertest.Node) {
		mid = w.node("mid", w.node("leaf"))
		return mid, w.node("top", mid, w.node("other"))
	}
	j := w.job(s)
	mid, top := graph()
	// The vertices of top's graph that mid stands on are all that is run.
	w.costs("mid alone", counts{maps: 2, execs: 2}, func() { w.buildIn(j, mid.Edge(0)) })
	w.costs("the rest", counts{maps: 2, execs: 2}, func() { w.buildIn(j, top.Edge(0)) })
	w.costs("again in the same job", counts{}, func() { w.buildIn(j, top.Edge(0)) })
	j.Discard()
	w.costs("from cache", counts{maps: 4, loads: 1}, func() { _, top := graph(); w.build(s, top.Edge(0)) })
}

// contract 3: Discard drops a hold, and what nobody holds is released.
func TestDiscardReleases(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		shared := func() *solvertest.Node { return w.node("shared", w.node("root")) }
		one, two := w.job(s), w.job(s)
		w.buildIn(one, w.node("one", shared()).Edge(0))
		w.buildIn(two, w.node("two", shared()).Edge(0))
		if st := s.Stats(); st.Vertices != 4 || st.Jobs != 2 || w.stats.Live.Load() != 4 {
			t.Errorf("%+v, %d results", st, w.stats.Live.Load())
		}
		if err := one.Discard(); err != nil {
			t.Error(err)
		}
		bubbleWait()
		if st := s.Stats(); st.Vertices != 3 || st.Jobs != 1 || w.stats.Live.Load() != 3 {
			t.Errorf("%+v, %d results", st, w.stats.Live.Load())
		}
		w.costs("what the other job holds", counts{}, func() { w.buildIn(two, shared().Edge(0)) })
		for range 2 {
			if err := two.Discard(); err != nil {
				t.Error(err)
			}
		}
		w.idle(s)
	})
}

// contract 3: a result that the caller still has outlives the job.
func TestResultOutlivesJob(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		for _, phase := range []string{"executed", "loaded"} {
			j := w.job(s)
			r, err := j.Build(context.Background(), w.node("n").Edge(0))
			if err != nil {
				t.Fatal(err)
			}
			j.Discard()
			bubbleWait()
			if n := w.stats.Live.Load(); n != 1 {
				t.Errorf("%s: %d results are held", phase, n)
			}
			if got := solvertest.Value(r); got != "n()" {
				t.Errorf("%s: %q", phase, got)
			}
			r.Release(context.Background())
		}
		w.idle(s)
	})
}

// contract 3: many jobs on one graph, discarded in every order.
func TestManyJobs(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		const n = 130 // more than fit into a word
		var all []*solver.Job
		top := func() solver.Edge { return w.node("top", w.node("mid", w.node("leaf"))).Edge(0) }
		var building []*building
		for range n {
			j := w.job(s)
			all = append(all, j)
			building = append(building, w.start(j, top()))
		}
		for _, b := range building {
			b.wait("top(mid(leaf()))")
		}
		w.executed(map[string]int{"top": 1, "mid": 1, "leaf": 1})
		for i := range n {
			if st := s.Stats(); st.Vertices != 3 {
				t.Fatalf("%+v after %d jobs", st, i)
			}
			all[(i*37)%n].Discard()
		}
		w.idle(s)
	})
}

// contract 3: Close discards all jobs and waits for what runs.
func TestClose(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		n := w.node("slow", w.node("in"))
		n.OnExec = g.exec
		b := w.start(w.job(s), n.Edge(0))
		<-g.reached
		s.Close()
		<-b.done
		if b.err == nil {
			t.Error("a build outlived the solver")
		}
		if _, err := s.NewJob("late"); err == nil {
			t.Error("NewJob on a closed solver")
		}
		if _, err := b.job.Build(context.Background(), n.Edge(0)); err == nil {
			t.Error("Build on a closed solver")
		}
		s.Close()
		w.released()
	})
}

// contract 1: how often an edge is looked at depends on its own inputs, not on the
// graph.
func TestVisitsAreFlat(t *testing.T) {
	for name, graph := range map[string]func(w *world, n int) solver.Edge{
		"chain": func(w *world, n int) solver.Edge {
			top := w.node("bottom")
			for i := range n {
				top = w.node(fmt.Sprint("n", i), top)
				top.Value = "v"
			}
			return top.Edge(0)
		},
		"fan-out": func(w *world, n int) solver.Edge {
			base, top := w.node("base"), w.node("top")
			for i := range n {
				top.In = append(top.In, solvertest.Input{Node: w.node(fmt.Sprint("n", i), base)})
			}
			top.Value = "v"
			return top.Edge(0)
		},
		"ladder": func(w *world, n int) solver.Edge {
			a, b := w.node("a"), w.node("b")
			for i := range n / 2 {
				a, b = w.node(fmt.Sprint("a", i), a, b), w.node(fmt.Sprint("b", i), a, b)
				a.Value, b.Value = "a", "b"
				a.In[0].Content = true
			}
			return w.node("top", a, b).Edge(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each := func(n int) float64 {
				w := newWorld(t)
				s := w.solver()
				w.build(s, graph(w, n))
				w.build(s, graph(w, n))
				return float64(s.Stats().Visits) / float64(2*n)
			}
			small, large := each(100), each(5000)
			if large > 1.2*small {
				t.Errorf("%.1f visits a vertex in a graph of 100, %.1f in one of 5,000", small, large)
			}
		})
	}
}
