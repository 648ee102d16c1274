package solver_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenonbuild/tenon/solver"
)

// contract 7, 14: a source that a later job brings is asked for what an earlier
// one is already building, and what was begun in vain is cancelled.
func TestSourceAddedWhileBuilding(t *testing.T) {
	bubble(t, func(w *world) {
		far := w.source("far")
		far.fill(1, w.node("top", w.node("mid", w.node("in"))).Edge(0))
		s := w.solver()

		in := w.node("in")
		gate := newGate()
		in.OnExec = gate.exec
		top := w.node("top", w.node("mid", in))
		first := w.start(w.job(s), top.Edge(0))
		bubbleWait()

		again := w.node("top", top.In[0].Node)
		again.Opts.CacheSources = []solver.CacheManager{far.cache}
		second := w.start(w.job(s), again.Edge(0))
		first.wait("top(mid(in()))")
		second.wait("top(mid(in()))")
		if n := w.stats.Executed("mid") + w.stats.Executed("top"); n != 2 { // those that filled the source
			t.Errorf("%d ops were run beside a source that has them", n)
		}
		gate.open()
	})
}

// contract 7: an input that has failed does not fail what a cache holds.
func TestCachedBesideFailedInput(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	w.build(s, w.node("top", w.node("base")).Edge(0))

	w.pruneAll("top(base())")
	base := w.node("base")
	broken := errors.New("broken")
	base.OnExec = func(context.Context, []solver.Result) error { return broken }
	j := w.job(s)
	defer j.Discard()
	if _, err := j.Build(context.Background(), base.Edge(0)); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if got := w.build(s, w.node("top", base).Edge(0)); got != "top(base())" {
		t.Error(got)
	}
}
