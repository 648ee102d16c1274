package solver_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// locally is top over an input that has a value, by which the default cache alone is to know it.
func (w *world) locally(in, value string) *solvertest.Node {
	root := w.node(in)
	root.Value = value
	top := w.node("top", root)
	top.Key = "top"
	top.In[0].Content, top.In[0].Local = true, true
	return top
}

// localKey is the content key of that value.
func localKey(value string) *solver.CacheKey {
	d := digest.FromString("content " + value + " seen through ")
	return solver.NewCacheKey(solver.LocalPrefix+digest.Digest(d.Encoded()), -1)
}

// A local content key leads to what the default cache has, and is exported neither of what was
// run nor of what only the cache knows.
func TestLocalContentKeys(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	for _, in := range []string{"a", "b"} {
		if got := w.build(s, w.locally(in, "X").Edge(0)); got != "top(X)" {
			t.Error(got)
		}
	}
	w.executed(map[string]int{"top": 1, "a": 1, "b": 1})
	for range 2 {
		target := w.export(w.solver(), w.locally("b", "X").Edge(0), solver.CacheExportModeMax)
		for _, r := range target.Records() {
			if r.Digest == digest.Digest(localKey("X").ID) {
				t.Error("a local key was exported")
			}
		}
		if len(target.Records()) < 2 {
			t.Errorf("%d records were exported", len(target.Records()))
		}
	}
}

// Caches elsewhere are not asked by a local key.
func TestLocalContentKeysAreNotAskedElsewhere(t *testing.T) {
	for kind := range wrapped(nil) {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			far := w.source("far")
			theirs := solvertest.NewResult("theirs", w.stats)
			res, err := far.results.Save(theirs)
			check(t, err)
			check(t, theirs.Release(t.Context()))
			res.CreatedAt = time.Unix(1, 0)
			check(t, far.storage.AddResult("theirs", res))
			check(t, far.storage.AddLink(localKey("X").ID, solver.CacheInfoLink{Digest: digest.FromString("op top")}, "theirs"))
			n := w.locally("a", "X")
			n.Opts.CacheSources = []solver.CacheManager{wrapped(far.cache)[kind]}
			if got := w.build(w.solver(), n.Edge(0)); got != "top(X)" {
				t.Error(got)
			}
		})
	}
}
