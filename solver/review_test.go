package solver_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 14: a later manager of an ID that was asked before is asked itself.
func TestNewManagerOfOldID(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	with := func(n *solvertest.Node, far *source) solver.Edge {
		n.Opts.CacheSources = []solver.CacheManager{far.cache}
		return n.Edge(0)
	}
	w.build(s, with(w.node("a", w.node("b")), w.source("remote")))
	later := w.source("remote")
	later.fill(1, w.node("c", w.node("d")).Edge(0))
	w.build(s, with(w.node("c", w.node("d")), later))
	if n := w.stats.Executed("c"); n != 1 { // to fill the source
		t.Errorf("c was run %d times", n)
	}
}

// contract 11, 13: a result that is shared is saved under all the cache maps of a
// root that waited for it.
func TestSharedRootSavedUnderAllItsKeys(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		a, b := w.node("a"), w.node("b")
		a.Keys, a.OnExec = []string{"k1"}, g.exec
		b.Keys = []string{"k2", "k1"}
		first := w.start(w.job(s), a.Edge(0))
		<-g.reached
		second := w.start(w.job(s), b.Edge(0))
		bubbleWait()
		g.open()
		<-first.done
		<-second.done
		c := w.node("c")
		c.Keys = []string{"k2"}
		w.build(s, c.Edge(0))
		if n := w.stats.Executed("b") + w.stats.Executed("c"); n != 0 {
			t.Errorf("%d ops were run of which the cache has all", n)
		}
	})
}

// contract 19: an op whose CacheMap builds something that needs the op.
func TestCacheMapNeedsItself(t *testing.T) {
	bubble(t, func(w *world) {
		a, b := w.node("a"), w.node("b")
		var of solver.Builder
		a.OnResolve = func(b solver.Builder) error { of = b; return nil }
		a.OnCacheMap = func(ctx context.Context, _ int) error {
			r, err := of.Build(ctx, b.Edge(0))
			if err != nil {
				return err
			}
			return r.Release(ctx)
		}
		b.Exec = func(ctx context.Context, of solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			r, err := of.Build(ctx, a.Edge(0))
			if err != nil {
				return nil, err
			}
			return []solver.Result{solvertest.NewResult("b", w.stats)}, r.Release(ctx)
		}
		w.fails(w.solver(), a.Edge(0))
	})
}

// contract 17: an error of shared work names the vertex of whoever gets it.
func TestSharedErrorNamesOwnVertex(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		broken := errors.New("broken")
		a, b := w.node("a"), w.node("b")
		a.Key, b.Key = "k", "k"
		a.OnExec = func(ctx context.Context, in []solver.Result) error {
			g.exec(ctx, in)
			return broken
		}
		first := w.start(w.job(s), a.Edge(0))
		<-g.reached
		second := w.start(w.job(s), b.Edge(0))
		bubbleWait()
		g.open()
		<-first.done
		<-second.done
		var of *solver.VertexError
		if !errors.As(second.err, &of) || of.Digest != b.Digest() || !errors.Is(second.err, broken) {
			t.Errorf("%v", second.err)
		}
	})
}

// contract 27: who comes after the end is told how everything ended.
func TestStatusAfterDiscard(t *testing.T) {
	w := newWorld(t)
	j := w.job(w.solver())
	w.buildIn(j, w.node("top", w.node("in")).Edge(0))
	j.Discard()
	ch := make(chan *client.SolveStatus, 10)
	if err := j.Status(context.Background(), ch); err != nil {
		t.Fatal(err)
	}
	ended := map[string]client.Outcome{}
	for st := range ch {
		for _, v := range st.Vertexes {
			ended[v.Name] = v.Outcome
		}
	}
	if ended["top"] != client.Executed || ended["in"] != client.Executed {
		t.Errorf("%v", ended)
	}
}

// contract 32: a weight beyond all bounds takes all slots, and no more.
func TestHugeWeight(t *testing.T) {
	bubble(t, func(w *world) {
		var l load
		top := w.node("top")
		for i := range 3 {
			in := w.node(string(rune('a' + i)))
			in.Opts.Weight = 1 << (30 + i)
			in.OnExec = l.work(2)
			top.In = append(top.In, solvertest.Input{Node: in})
		}
		w.build(w.solver(slots(2)), top.Edge(0))
		if l.most > 2 {
			t.Errorf("a weight of %d ran at once", l.most)
		}
	})
}
