package solver_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// Each test of this file fails if one mechanism is taken out by which lost results are
// made again.

// losesOnce has a node's op lose its input once, when a gate opens. The cache then has lost
// all but what is to be kept.
func (w *world) losesOnce(n *solvertest.Node, keep ...string) *gate {
	g := newGate()
	var lost atomic.Bool
	n.OnExec = func(ctx context.Context, _ []solver.Result) error {
		if lost.Swap(true) {
			return nil
		}
		g.stuck(ctx)
		w.pruneAll(keep...)
		return &solver.LostInputError{Err: errBroken}
	}
	return g
}

// contract 13, 15: the run of an equal edge, whose result was found to be gone, serves
// nobody any more, although others still have it.
func TestLostRunIsNotShared(t *testing.T) {
	for _, passed := range []bool{false, true} {
		t.Run(map[bool]string{false: "made", true: "passed on"}[passed], func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				in := w.node("in")
				equal := func(id string) *solvertest.Node {
					if !passed {
						return w.equal("e", id)
					}
					n := w.equal("e", id, in)
					n.Exec = func(_ context.Context, _ solver.Builder, in []solver.Result) ([]solver.Result, error) { return in, nil }
					return n
				}
				holds := w.job(s)
				value := w.buildIn(holds, equal("first").Edge(0))
				n := w.node("n", equal("second"))
				if passed {
					n = w.node("n", in)
				}
				g := w.losesOnce(n)
				b := w.start(w.job(s), n.Edge(0))
				<-g.reached
				g.open()
				b.wait("n(" + value + ")")
				j := w.job(s)
				w.buildIn(j, w.node("top", equal("third")).Edge(0))
				for _, tr := range j.Trace() {
					for _, d := range tr.Decisions {
						if d.Kind == solver.TraceLost && tr.Name == "e-third" {
							t.Errorf("%s took what was known to be lost", tr.Name)
						}
					}
				}
				for _, j := range []*solver.Job{holds, b.job, j} {
					j.Discard()
				}
				w.idle(s)
			})
		})
	}
}

// contract 15, 17: an edge whose result was lost is none of those who wait for a content key
// that was asked for before. Its failure is no failure of what is made again.
func TestContentKeyAskedBeforeLoss(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		over := func(id string, in ...*solvertest.Node) *solvertest.Node { return w.equal("n", id, in...) }
		in := func(id, value string) *solvertest.Node {
			n := w.node(id)
			n.Value = value
			return n
		}
		known := over("known", in("a", "same"), in("b", "one"))
		known.In[0].Content, known.In[1].Content = true, true
		w.build(s, known.Edge(0))

		// An equal edge ignores caches, and runs until the gate opens.
		c, d, runs := in("c", "same"), in("d", "another"), newGate()
		ignoring := over("ignoring", c, d)
		ignoring.Opts.IgnoreCache, ignoring.OnExec = true, runs.exec
		first := w.start(w.job(s), ignoring.Edge(0))
		<-runs.reached

		// The edge asks for both content keys. That of d rules every match out, and so it
		// shares that run, while that of c is still computed.
		digest, again := newGate(), newGate()
		var asked atomic.Int64
		n := over("n", c, d)
		n.In[0].Content, n.In[1].Content = true, true
		n.In[0].OnDigest = func(ctx context.Context) error {
			if asked.Add(1) > 1 {
				return nil
			}
			digest.pass(ctx)
			return errBroken
		}
		n.OnExec = again.exec
		top := w.node("top", n)
		loses := w.losesOnce(top)
		second := w.start(w.job(s), top.Edge(0))
		<-digest.reached
		runs.open()
		<-loses.reached
		loses.open()
		<-again.reached
		digest.open()
		bubbleWait()
		again.open()
		second.wait("top(n(same,another))")
		first.wait("n(same,another)")
		first.job.Discard()
		second.job.Discard()
		w.executed(map[string]int{"n-n": 1, "n-ignoring": 1, "top": 2})
		w.idle(s)
	})
}

// contract 13, 15: an edge that has the input's result waits for another input when that
// result is lost to somebody else. It asks for it again.
func TestLostWhileOthersAreAwaited(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		in, slow := w.node("in"), w.node("slow")
		awaited, again := newGate(), newGate()
		slow.OnExec = awaited.exec
		in.OnExec = func(ctx context.Context, _ []solver.Result) error {
			if w.stats.Executed("in") > 1 {
				again.pass(ctx)
			}
			return nil
		}
		n := w.node("n", in)
		g := w.losesOnce(n)
		j := w.job(s)
		both := w.start(j, w.node("both", in, slow).Edge(0))
		<-awaited.reached
		b := w.start(j, n.Edge(0))
		<-g.reached
		g.open()
		<-again.reached
		awaited.open()
		bubbleWait()
		again.open()
		both.wait("both(in(),slow())")
		b.wait("n(in())")
		j.Discard()
		w.executed(map[string]int{"in": 2, "slow": 1, "both": 1})
		w.idle(s)
	})
}

// contract 13: an edge does not share a run that is done and stands on that edge: neither
// would ever be let go.
func TestDoneRunThatStandsOnTheEdge(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		two := func(id string) *solvertest.Node {
			n := w.equal("two", id)
			n.Outputs = 2
			return n
		}
		w.build(s, two("earlier").Edge(0))
		below, ignoring := two("below"), two("ignoring")
		ignoring.Opts.IgnoreCache = true
		ignoring.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			built, err := b.Build(ctx, w.node("built", below).Edge(0))
			if err != nil {
				return nil, err
			}
			return w.twice("two()"), built.Release(ctx)
		}
		j := w.job(s)
		w.buildIn(j, ignoring.Edge(0))
		w.executed(map[string]int{"two-below": 0}) // it was loaded
		w.buildIn(j, below.Edge(1))
		w.executed(map[string]int{"two-below": 1})
		j.Discard()
		w.idle(s)
	})
}

// twice are two outputs of a value.
func (w *world) twice(value string) []solver.Result {
	return []solver.Result{w.guarded(value), w.guarded(value + "#1")}
}

// contract 15: what a run returned is lost while another output of it is being saved. That
// comes of the next run.
func TestLostWhileAnotherOutputIsSaved(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		two := w.node("two")
		two.Outputs = 2
		two.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
			return w.twice("two"), nil
		}
		saves := newGate()
		var saved atomic.Int64
		w.results.OnSave = func() error {
			if saved.Add(1) == 2 {
				saves.stuck(context.Background())
			}
			return nil
		}
		first, second := w.node("first", two), w.node("second", two)
		second.In[0].Output = 1
		g := w.losesOnce(first)
		j := w.job(s)
		a := w.start(j, first.Edge(0))
		<-g.reached
		b := w.start(j, second.Edge(0))
		<-saves.reached
		g.open()
		a.wait("first(two)")
		saves.open()
		b.wait("second(two#1)")
		third := w.node("third", two)
		third.In[0].Output = 1
		if got := w.buildIn(j, third.Edge(0)); got != "third(two#1)" {
			t.Error(got)
		}
		j.Discard()
		w.executed(map[string]int{"two": 2, "first": 2, "second": 1})
		w.idle(s)
	})
}

// contract 15, fault 2: what is known of an edge's keys stays known when its result is lost.
// Whoever needs no more than its keys does not wait for the cache that it asks again.
func TestKeysStayKnownWhenLost(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		in := func() *solvertest.Node { return w.node("in", w.node("leaf")) }
		w.build(s, w.node("known", in()).Edge(0))
		w.pruneAll("known(in(leaf()))")
		g := newGate()
		var hangs atomic.Bool
		far := w.source("far")
		source := &foreign{m: far.cache, before: func(string) error {
			if hangs.Load() {
				return g.stuck(context.Background())
			}
			return nil
		}}
		asks := in()
		asks.Opts.CacheSources = []solver.CacheManager{source}
		n := w.node("n", asks)
		loses := w.losesOnce(n, "known(in(leaf()))")
		b := w.start(w.job(s), n.Edge(0))
		<-loses.reached
		hangs.Store(true)
		loses.open()
		<-g.reached
		begin := time.Now()
		w.costs("what needs the keys", counts{maps: 1, loads: 1}, func() { w.build(s, w.node("known", in()).Edge(0)) })
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("it waited %v", waited)
		}
		g.open()
		b.wait("n(in(leaf()))")
		b.job.Discard()
		w.idle(s)
	})
}

// contract 7, 15: a result was made of an input that fails when it is made again. When the
// result is lost, too, a cache still has it: the input is asked for no more than its keys.
func TestLostAboveFailedInput(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		in := w.node("in", w.node("leaf"))
		in.OnExec = func(context.Context, []solver.Result) error {
			if w.stats.Executed("in") > 1 {
				return errBroken
			}
			return nil
		}
		mid := w.node("mid", in)
		reads, above := w.node("reads", in), w.node("above", mid)
		first, second := w.losesOnce(reads, "mid(in(leaf()))"), w.losesOnce(above, "mid(in(leaf()))")
		j := w.job(s)
		a, b := w.start(j, reads.Edge(0)), w.start(j, above.Edge(0))
		<-first.reached
		<-second.reached
		first.open()
		<-a.done
		if !errors.Is(a.err, errBroken) {
			t.Error(a.err)
		}
		second.open()
		b.wait("above(mid(in(leaf())))")
		j.Discard()
		w.executed(map[string]int{"in": 2, "mid": 1, "above": 2})
		w.idle(s)
	})
}

// contract 13, 15: an op that is to run again builds what it built before. Meanwhile that
// shares no run which stands on the op.
func TestBuiltAgainIsNotShared(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		again := newGate()
		builds := func(id string, below *solvertest.Node) *solvertest.Node {
			n := w.equal("e", id)
			n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
				if w.stats.Executed(n.ID) > 1 {
					again.pass(ctx)
				}
				built, err := b.Build(ctx, below.Edge(0))
				if err != nil {
					return nil, err
				}
				if n.ID == "e-middle" {
					return []solver.Result{built}, nil
				}
				return []solver.Result{w.guarded("v")}, built.Release(ctx)
			}
			return n
		}
		lower := w.equal("e", "lower")
		lower.Value = "v"
		middle := builds("middle", lower)
		upper := builds("upper", middle)
		j := w.job(s)
		w.buildIn(j, upper.Edge(0))
		one := w.node("one", middle)
		loses := w.losesOnce(one)
		a := w.start(j, one.Edge(0))
		<-loses.reached
		loses.open()
		<-again.reached
		b := w.start(j, lower.Edge(0))
		bubbleWait()
		again.open()
		a.wait("one(v)")
		b.wait("v")
		j.Discard()
		w.idle(s)
	})
}
