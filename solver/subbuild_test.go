package solver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// building returns a node whose op builds other nodes, one after the other, and
// puts their values together.
func (w *world) building(id string, inner ...*solvertest.Node) *solvertest.Node {
	n := w.node(id)
	n.Exec = func(ctx context.Context, b solver.Builder, in []solver.Result) ([]solver.Result, error) {
		value := id + "["
		for _, i := range inner {
			r, err := b.Build(ctx, i.Edge(0))
			if err != nil {
				return nil, err
			}
			value += solvertest.Value(r)
			r.Release(ctx)
		}
		return []solver.Result{solvertest.NewResult(value+"]", w.stats)}, nil
	}
	return n
}

// contract 4: what an op builds belongs to its vertex: held by whoever holds that,
// and gone with it.
func TestSubBuild(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		outer := func() solver.Edge {
			return w.building("outer", w.node("x", w.node("shared")), w.building("y", w.node("shared"))).Edge(0)
		}
		one, two := w.job(s), w.job(s)
		for _, j := range []*solver.Job{one, two} {
			if got := w.buildIn(j, outer()); got != "outer[x(shared())y[shared()]]" {
				t.Error(got)
			}
			if st := s.Stats(); st.Vertices != 4 {
				t.Errorf("%+v", st)
			}
		}
		w.executed(map[string]int{"outer": 1, "x": 1, "y": 1, "shared": 1})
		one.Discard()
		w.costs("held by the other job", counts{}, func() { w.buildIn(two, w.node("x", w.node("shared")).Edge(0)) })
		two.Discard()
		w.costs("from cache as a whole", counts{maps: 1, loads: 1}, func() { w.build(s, outer()) })
		w.idle(s)
	})
}

// contract 4: a job that joins later holds what has been built, and what will be.
func TestSubBuildJoined(t *testing.T) {
	for _, equal := range []bool{false, true} {
		t.Run(fmt.Sprint("by an equal key ", equal), func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				g := newGate()
				slow := w.node("slow", w.node("in"))
				slow.OnExec = g.exec
				outer := func(id string) *solvertest.Node {
					n := w.building(id, w.node("quick"), slow, w.node("last"))
					n.Key = "outer"
					return n
				}
				first := w.start(w.job(s), outer("outer").Edge(0))
				<-g.reached
				bubbleWait()
				id := "outer"
				if equal {
					id = "other"
				}
				second := w.start(w.job(s), outer(id).Edge(0))
				bubbleWait()
				first.job.Discard()
				<-first.done
				bubbleWait()
				g.open()
				second.wait("outer[quick()slow(in())last()]")
				w.executed(map[string]int{"outer": 1, "other": 0, "quick": 1, "slow": 1, "last": 1, "in": 1})
				w.costs("what was built lives", counts{}, func() { w.buildIn(second.job, w.node("last").Edge(0)) })
				second.job.Discard()
				w.idle(s)
			})
		})
	}
}

// contract 4: it shows in the progress of every job that holds the vertex.
func TestSubBuildProgress(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		var all []*watching
		var jobs []*solver.Job
		for range 2 {
			j := w.job(s)
			jobs, all = append(jobs, j), append(all, w.watch(j))
			w.buildIn(j, w.building("outer", w.node("inner", w.node("leaf"))).Edge(0))
		}
		for i, st := range all {
			jobs[i].Discard()
			<-st.done
			want := []client.Outcome{client.Executed, client.Shared}[i]
			for _, name := range []string{"outer", "inner", "leaf"} {
				if got := st.byName[name].Outcome; got != want {
					t.Errorf("job %d: %s is %q, not %q", i, name, got, want)
				}
			}
		}
	})
}

// contract 4: an op may build several edges at once, also where there is one slot.
func TestSubBuildsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		n := w.node("outer")
		n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					chain := w.node(fmt.Sprint("leaf", i))
					for k := range i {
						chain = w.node(fmt.Sprint("chain", i, "-", k), chain)
					}
					r, err := b.Build(ctx, chain.Edge(0))
					if err != nil {
						t.Error(err)
						return
					}
					r.Release(ctx)
				})
			}
			all.Wait()
			return []solver.Result{solvertest.NewResult("v", w.stats)}, nil
		}
		w.build(s, n.Edge(0))
	})
}

// contract 4: an op may build while it is asked for its cache map.
func TestSubBuildInCacheMap(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		n := w.node("n")
		var b solver.Builder
		n.OnResolve = func(builder solver.Builder) error { b = builder; return nil }
		n.OnCacheMap = func(ctx context.Context, _ int) error {
			r, err := b.Build(ctx, w.node("inner", w.node("leaf")).Edge(0))
			if err == nil {
				r.Release(ctx)
			}
			return err
		}
		j := w.job(s)
		w.buildIn(j, n.Edge(0))
		w.costs("it is held", counts{}, func() { w.buildIn(j, w.node("inner", w.node("leaf")).Edge(0)) })
		j.Discard()
		w.idle(s)
	})
}

// contract 4, 17: a failed sub-build is the op's to judge.
func TestSubBuildFails(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		bad := w.node("bad")
		bad.OnExec = func(context.Context, []solver.Result) error { return errBroken }
		err := w.fails(s, w.building("outer", w.node("above", bad)).Edge(0))
		var v *solver.VertexError
		if !errors.Is(err, errBroken) || !errors.As(err, &v) || v.Name != "outer" || !errors.As(v.Err, &v) || v.Name != "bad" {
			t.Errorf("%v", err)
		}
		tolerant := w.node("tolerant")
		tolerant.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			if _, err := b.Build(ctx, bad.Edge(0)); !errors.Is(err, errBroken) {
				t.Errorf("%v", err)
			}
			return w.pass(b.Build(ctx, w.node("instead").Edge(0)))
		}
		if got := w.build(s, tolerant.Edge(0)); got != "instead()" {
			t.Error(got)
		}
		w.idle(s)
	})
}

// contract 4, 12: what an op builds may use caches or ignore them, as it says.
func TestSubBuildIgnoringCache(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	w.build(s, w.node("inner").Edge(0))
	outer := func(inner *solvertest.Node) solver.Edge {
		n := w.building("outer", inner)
		n.Opts.IgnoreCache = true
		return n.Edge(0)
	}
	w.costs("using it", counts{maps: 2, execs: 1, loads: 1}, func() { w.build(s, outer(w.node("inner"))) })
	w.costs("ignoring it", counts{maps: 2, execs: 2}, func() { w.build(s, outer(ignoring(w.node("inner")))) })
}

// contract 4: deep nesting, with as many levels as there are slots, and more.
func TestSubBuildsNested(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(2))
		n, want := w.node("leaf"), "leaf()"
		for i := range 50 {
			id := fmt.Sprint("n", i)
			n, want = w.building(id, n), id+"["+want+"]"
		}
		if got := w.build(s, n.Edge(0)); got != want {
			t.Error(got)
		}
		w.idle(s)
	})
}
