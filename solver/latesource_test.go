package solver_test

import (
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// lateCache is a source that is asked later.
type lateCache struct{ *foreign }

func (lateCache) AskedLate() bool { return true }

// lately is a graph of a top over an input that has a content key, and another one.
func (w *world) lately(tag string, sources ...solver.CacheManager) solver.Edge {
	low := w.node("low" + tag)
	low.Value = "same"
	mid := w.node("mid"+tag, low, w.node("side"))
	mid.Value = "mid"
	mid.Key, mid.In[0].Content = "mid", true
	top := w.node("top"+tag, mid)
	top.Key, top.In[0].Content = "top", true
	for _, n := range []*solvertest.Node{low, mid, top} {
		n.Opts.CacheSources = sources
	}
	return top.Edge(0)
}

// What the default cache has by its definition does not wait for a late source, and what
// it does not have is found there before anything is solved for its content.
func TestLateSource(t *testing.T) {
	w := newWorld(t)
	far := w.source("far")
	far.fill(9, w.lately(""))
	s := w.solver()
	source := lateCache{&foreign{m: far.cache}}

	execs := w.stats.Execs.Load()
	w.build(s, w.lately("", source))
	if n := w.stats.Execs.Load() - execs; n != 0 {
		t.Errorf("%d ops were run beside a late source that has them", n)
	}
	if source.queries.Load() == 0 {
		t.Error("the late source was not asked")
	}

	// It is in the default cache now. What has another definition is found by content
	// there, and is asked about once it is not found by that.
	again := lateCache{&foreign{m: far.cache, before: func(method string) error {
		if method == "Query" {
			t.Error("a late source is asked about what the default cache has")
		}
		return nil
	}}}
	s = w.solver()
	j := w.job(s)
	top := w.lately("", again)
	w.buildIn(j, top)
	j.Discard()
}

// A late source that does not answer holds up only what the default cache does not have.
func TestLateSourceHangs(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		w.build(s, w.lately(""))
		gate := newGate()
		source := lateCache{&foreign{m: w.source("far").cache, before: func(method string) error {
			if method != "ID" {
				_ = gate.stuck(t.Context())
			}
			return nil
		}}}
		w.build(s, w.lately("", source))
		other := w.start(w.job(s), w.lately(" other", source))
		bubbleWait()
		gate.open()
		other.wait("top(mid)")
	})
}
