package solver_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// load follows how much is running at the same time.
type load struct {
	mu        sync.Mutex
	now, most int
	done      int
}

// work makes an op that takes a second, and weighs so much.
func (l *load) work(weight int) func(context.Context, []solver.Result) error {
	return func(context.Context, []solver.Result) error {
		l.add(weight)
		time.Sleep(time.Second)
		l.add(-weight)
		l.mu.Lock()
		l.done++
		l.mu.Unlock()
		return nil
	}
}

func (l *load) add(weight int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += weight
	l.most = max(l.most, l.now)
}

func (l *load) finished() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// wide returns a node with n inputs, each of which works for a second.
func (w *world) wide(id string, n int, l *load) *solvertest.Node {
	top := w.node(id)
	top.Value = id
	for i := range n {
		in := w.node(fmt.Sprint(id, "-", i))
		in.OnExec = l.work(1)
		top.In = append(top.In, solvertest.Input{Node: in})
	}
	return top
}

// contract 32: as many ops run at the same time as there are slots, no more and,
// while there is enough to do, no fewer.
func TestBound(t *testing.T) {
	for _, n := range []int{1, 3, 10} {
		bubble(t, func(w *world) {
			s := w.solver(slots(n))
			var l load
			begin := time.Now()
			a, b := w.start(w.job(s), w.wide("a", 30, &l).Edge(0)), w.start(w.job(s), w.wide("b", 30, &l).Edge(0))
			a.wait("a")
			b.wait("b")
			if l.most != n {
				t.Errorf("%d slots: %d ops ran at once", n, l.most)
			}
			if took := time.Since(begin); took != time.Duration(60/n)*time.Second {
				t.Errorf("%d slots: it took %v", n, took)
			}
		})
	}
}

// contract 32: an op takes as many slots as it weighs; more than there are takes
// all of them. A heavy one is not overtaken for ever.
func TestWeight(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(4))
		var l load
		top := w.node("top")
		top.Value = "v"
		for i := range 24 {
			weight := []int{1, 2, 3, 9}[i%4]
			in := w.node(fmt.Sprint("in", i))
			in.Opts.Weight, in.OnExec = weight, l.work(min(weight, 4))
			top.In = append(top.In, solvertest.Input{Node: in})
		}
		w.build(s, top.Edge(0))
		if l.most > 4 || l.done != 24 {
			t.Errorf("a weight of %d ran at once; %d are done", l.most, l.done)
		}
	})
}

// contract 32: one wide job does not starve a small one.
func TestFairness(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(4))
		var l load
		wide := w.start(w.job(s), w.wide("wide", 400, &l).Edge(0))
		time.Sleep(10 * time.Second)
		begin := time.Now()
		n := w.node("step0")
		for i := range 5 {
			n.OnExec = l.work(1)
			n = w.node(fmt.Sprint("step", i+1), n)
		}
		w.build(s, n.Edge(0))
		// Each step waits for one op of the other job at most.
		if took := time.Since(begin); took > 11*time.Second {
			t.Errorf("a chain of 5 took %v beside a wide job", took)
		}
		wide.wait("wide")
	})
}

// contract 32: the slots are shared by priority.
func TestPriority(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(8))
		var high, low load
		urgent, other := w.job(s), w.job(s)
		urgent.Priority = 3
		a, b := w.start(urgent, w.wide("a", 400, &high).Edge(0)), w.start(other, w.wide("b", 400, &low).Edge(0))
		time.Sleep(20*time.Second + time.Millisecond)
		bubbleWait()
		// All ops of a round end at one moment, so a round may go either way.
		if h, l := high.finished(), low.finished(); h < 2*l || h > 4*l {
			t.Errorf("of the urgent job %d ops are done, of the other %d", h, l)
		}
		a.wait("a")
		b.wait("b")
	})
}

// contract 32: what two jobs want counts for both, and goes with the more urgent.
func TestSharedWorkIsUrgent(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		var l load
		first := w.start(w.job(s), w.wide("wide", 100, &l).Edge(0))
		bubbleWait()
		begin := time.Now()
		in := w.node("wide-99")
		in.OnExec = l.work(1)
		w.build(s, w.node("top", in).Edge(0))
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("what both want took %v", took)
		}
		first.wait("wide")
		w.executed(map[string]int{"wide-99": 1})
	})
}

// contract 32: while an op waits for what it builds, its slot is free for others,
// and it does not run without one.
func TestSlotsOfSubBuilds(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(3))
		var l load
		top := w.node("top")
		top.Value = "v"
		for i := range 20 {
			n := w.node(fmt.Sprint("n", i))
			inner := w.wide(fmt.Sprint("inner", i), 3, &l)
			n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
				l.work(1)(ctx, nil)
				out, err := w.pass(b.Build(ctx, inner.Edge(0)))
				l.work(1)(ctx, nil)
				return out, err
			}
			top.In = append(top.In, solvertest.Input{Node: n})
		}
		begin := time.Now()
		w.build(s, top.Edge(0))
		if l.most != 3 {
			t.Errorf("%d ops ran at once", l.most)
		}
		if took, least := time.Since(begin), 20*5/3*time.Second; took < least || took > least+10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// contract 32: a build that comes from cache does not wait for ops that run.
func TestCacheBesideBusyOps(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		cached := func() solver.Edge { return w.node("cached", w.node("in")).Edge(0) }
		w.build(s, cached())
		g := newGate()
		busy := w.node("busy")
		busy.OnExec = g.exec
		b := w.start(w.job(s), busy.Edge(0))
		<-g.reached
		w.build(s, cached())
		g.open()
		b.wait("busy()")
	})
}

// contract 18, 32: what is cancelled while it waits for a slot never runs.
func TestCancelWhileQueued(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		g := newGate()
		busy := w.node("busy")
		busy.OnExec = g.exec
		b := w.start(w.job(s), busy.Edge(0))
		<-g.reached
		var all []*building
		for i := range 10 {
			all = append(all, w.start(w.job(s), w.node(fmt.Sprint("queued", i), w.node("in")).Edge(0)))
		}
		bubbleWait()
		for i, q := range all {
			if i != 7 {
				q.canceled()
				q.job.Discard()
			}
		}
		g.open()
		b.wait("busy()")
		all[7].wait("queued7(in())")
		if n := w.stats.Execs.Load(); n != 3 {
			t.Errorf("%d ops were run", n)
		}
	})
}

// contract 32: a fan-in of 100,000 leaves does not start 100,000 goroutines.
func TestWideFanIn(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	leaves := 100_000
	if testing.Short() {
		leaves = 20_000
	}
	var most atomic.Int64
	top := w.node("top")
	top.Value = "v"
	for i := range leaves {
		in := w.node(fmt.Sprint("in", i))
		in.OnExec = func(context.Context, []solver.Result) error {
			if n := int64(runtime.NumGoroutine()); n > most.Load() {
				most.Store(n)
			}
			return nil
		}
		top.In = append(top.In, solvertest.Input{Node: in})
	}
	w.build(s, top.Edge(0))
	if n, bound := most.Load(), int64(4*solver.DefaultParallelism()); n > bound {
		t.Errorf("%d goroutines", n)
	}
	w.costs("again", counts{maps: leaves + 1, loads: 1}, func() { w.build(s, top.Edge(0)) })
}

// contract 32: nor do 100,000 that all wait.
func TestWideFanInWaiting(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(16))
		before := runtime.NumGoroutine()
		g := newGate()
		top := w.node("top")
		top.Value = "v"
		for i := range 5_000 {
			in := w.node(fmt.Sprint("in", i))
			in.OnExec = g.exec
			top.In = append(top.In, solvertest.Input{Node: in})
		}
		b := w.start(w.job(s), top.Edge(0))
		bubbleWait()
		if n := runtime.NumGoroutine() - before; n > 100 {
			t.Errorf("%d goroutines wait", n)
		}
		g.open()
		b.wait("v")
	})
}
