package solver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 27, fault 11: whichever way a vertex ends, a reader who knows only times, Cached
// and Error sees the truth: see watching.ended. It does not matter whether he has watched
// from the beginning, has joined late, or watches another job that has the vertex.
func TestOutcomesForSimpleReaders(t *testing.T) {
	failing := func(where string) func(w *world, s *solver.Solver) (*solvertest.Node, func(j *solver.Job, e solver.Edge)) {
		return func(w *world, s *solver.Solver) (*solvertest.Node, func(j *solver.Job, e solver.Edge)) {
			bad := failingAt(w, where, false)
			if where == "ComputeDigestFunc" {
				bad.In[0].Content, bad.In[0].OnDigest = true, func(context.Context) error { return errBroken }
			}
			return w.node("top", w.node("mid", bad)), func(j *solver.Job, e solver.Edge) {
				if _, err := j.Build(context.Background(), e); err == nil {
					w.t.Error("no error")
				}
			}
		}
	}
	built := func(j *solver.Job, e solver.Edge) {
		if r, err := j.Build(context.Background(), e); err == nil {
			r.Release(context.Background())
		}
	}
	for name, c := range map[string]struct {
		graph func(w *world, s *solver.Solver) (*solvertest.Node, func(j *solver.Job, e solver.Edge))
		want  map[string]client.Outcome
		errs  map[string]string // a part of each error
	}{
		"op cannot be resolved": {failing("ResolveOpFunc"),
			map[string]client.Outcome{"in": client.NotNeeded, "culprit": client.Failed, "mid": client.NotNeeded, "top": client.Canceled},
			map[string]string{"culprit": "broken on purpose", "top": "culprit"}},
		"cache map fails": {failing("CacheMap"),
			map[string]client.Outcome{"in": client.NotNeeded, "culprit": client.Failed, "mid": client.NotNeeded, "top": client.Canceled},
			map[string]string{"culprit": "broken on purpose", "top": "culprit"}},
		"content key fails": {failing("ComputeDigestFunc"),
			map[string]client.Outcome{"in": client.Executed, "culprit": client.Failed, "mid": client.NotNeeded, "top": client.Canceled},
			map[string]string{"culprit": "content key", "top": "culprit"}},
		"op fails": {failing("Exec"),
			map[string]client.Outcome{"in": client.Executed, "culprit": client.Failed, "mid": client.Canceled, "top": client.Canceled},
			map[string]string{"culprit": "broken on purpose", "mid": "culprit", "top": "culprit"}},
		"cached and not needed": {func(w *world, s *solver.Solver) (*solvertest.Node, func(*solver.Job, solver.Edge)) {
			n := w.node("top", w.node("mid"))
			w.build(s, n.Edge(0))
			return n, built
		}, map[string]client.Outcome{"top": client.Cached, "mid": client.NotNeeded}, nil},
		"shared": {func(w *world, s *solver.Solver) (*solvertest.Node, func(*solver.Job, solver.Edge)) {
			n := w.node("top", w.node("mid"))
			w.buildIn(w.job(s), n.Edge(0))
			return n, built
		}, map[string]client.Outcome{"top": client.Shared, "mid": client.Shared}, nil},
		"shared of what was cached": {func(w *world, s *solver.Solver) (*solvertest.Node, func(*solver.Job, solver.Edge)) {
			n := w.node("top", w.node("mid"))
			w.build(s, n.Edge(0))
			w.buildIn(w.job(s), n.Edge(0))
			return n, built
		}, map[string]client.Outcome{"top": client.Cached, "mid": client.NotNeeded}, nil},
		"a load that fails": {func(w *world, s *solver.Solver) (*solvertest.Node, func(*solver.Job, solver.Edge)) {
			n := w.node("top", w.node("mid"))
			w.build(s, n.Edge(0))
			w.results.OnLoad = func(context.Context, string) error { return errBroken }
			return n, built
		}, map[string]client.Outcome{"top": client.Executed, "mid": client.Executed}, nil},
		"what an op has built fails": {func(w *world, s *solver.Solver) (*solvertest.Node, func(*solver.Job, solver.Edge)) {
			bad := failingAt(w, "Exec", false)
			return w.node("top", w.building("outer", bad)), built
		}, map[string]client.Outcome{"in": client.Executed, "culprit": client.Failed, "outer": client.Failed, "top": client.Canceled},
			map[string]string{"outer": "culprit", "top": "outer"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				n, build := c.graph(w, s)
				j := w.job(s)
				early := w.watch(j)
				build(j, n.Edge(0))
				bubbleWait()
				late := w.watch(j)
				j.Discard()
				for who, st := range map[string]*watching{"early": early, "late": late} {
					st.ended(t, c.want)
					for name, part := range c.errs {
						if got := st.byName[name].Error; !strings.Contains(got, part) {
							t.Errorf("%s: the error of %s is %q", who, name, got)
						}
					}
				}
			})
		})
	}
}

// contract 27, fault 11: of two jobs whose common vertex fails, both see it fail; and one
// that is cancelled before anything was begun for it has neither time.
func TestOutcomesOfFailedAndQueued(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		g := newGate()
		bad := w.node("bad")
		bad.OnExec = func(ctx context.Context, _ []solver.Result) error { g.stuck(ctx); return errBroken }
		one, two, three := w.job(s), w.job(s), w.job(s)
		first, second, third := w.watch(one), w.watch(two), w.watch(three)
		a := w.start(one, w.node("a", bad).Edge(0))
		<-g.reached
		b := w.start(two, w.node("b", bad).Edge(0))
		queued := w.start(three, w.node("queued").Edge(0))
		bubbleWait()
		queued.canceled()
		three.Discard()
		third.ended(t, map[string]client.Outcome{"queued": client.Canceled})
		if v := third.byName["queued"]; v.Started != nil || v.Completed != nil {
			t.Errorf("queued: from %v to %v", v.Started, v.Completed)
		}
		g.open()
		<-a.done
		<-b.done
		one.Discard()
		two.Discard()
		first.ended(t, map[string]client.Outcome{"bad": client.Failed, "a": client.Canceled})
		second.ended(t, map[string]client.Outcome{"bad": client.Failed, "b": client.Canceled})
	})
}
