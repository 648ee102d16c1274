package solver_test

import (
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
)

// contract 11: a root's cache maps are asked for one by one until one matches,
// and a result is saved under all of them.
func TestSeveralCacheMaps(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []string
		want counts
	}{
		{"the first matches", []string{"a", "new"}, counts{maps: 1, loads: 1}},
		{"the second matches", []string{"new", "b", "newer"}, counts{maps: 2, loads: 1}},
		{"the last matches", []string{"new", "newer", "c"}, counts{maps: 3, loads: 1}},
		{"in another order", []string{"c", "b", "a"}, counts{maps: 1, loads: 1}},
		{"none matches", []string{"new", "newer", "newest"}, counts{maps: 3, execs: 1}},
		{"one map, which matches", []string{"b"}, counts{maps: 1, loads: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			root := w.node("first")
			root.Keys, root.Value = []string{"a", "b", "c"}, "v"
			w.costs("cold", counts{maps: 3, execs: 1}, func() { w.build(s, root.Edge(0)) })
			again := w.node("second")
			again.Keys, again.Value = c.keys, "v"
			w.costs(c.name, c.want, func() { w.build(s, again.Edge(0)) })
		})
	}
}

// contract 11: whichever of its keys led there, what stands on the root matches.
func TestSeveralCacheMapsBelow(t *testing.T) {
	for _, prune := range []bool{false, true} {
		t.Run(fmt.Sprint("record of the root gone ", prune), func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			graph := func(tag string, keys ...string) solver.Edge {
				root := w.node("root" + tag)
				root.Keys, root.Value = keys, "v"
				top := w.node("top"+tag, root)
				top.Key = "top"
				return top.Edge(0)
			}
			w.build(s, graph("1", "a", "b"))
			if prune {
				w.pruneAll("top(v)")
			}
			w.costs("by the first", counts{maps: 2, loads: 1}, func() { w.build(s, graph("2", "a", "b")) })
			w.costs("by the second", counts{maps: 3, loads: 1}, func() { w.build(s, graph("3", "x", "b")) })
			// A key of a root that matched leads to what another of its keys led to.
			w.build(s, graph("3", "x", "b"))
			w.costs("by none", counts{maps: 3, execs: 2}, func() { w.build(s, graph("4", "y", "z")) })
		})
	}
}

// contract 1, 11: each index is asked for once, however many want the vertex; an
// index is not mistaken for another.
func TestCacheMapIndexOnce(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		root := w.node("root")
		root.Keys, root.Outputs = []string{"a", "b", "c", "d"}, 3
		var all []*building
		w.costs("three outputs, two jobs each", counts{maps: 4, execs: 1}, func() {
			for i := range 6 {
				all = append(all, w.start(w.job(s), root.Edge(i%3)))
			}
			for _, b := range all {
				<-b.done
				if b.err != nil {
					t.Error(b.err)
				}
			}
		})
		for _, b := range all {
			b.job.Discard()
		}
		for i, key := range []string{"d", "b"} {
			for output := range 3 {
				n := w.node(fmt.Sprint("other", i))
				n.Key, n.Outputs = key, 3
				w.costs(key, counts{maps: 1, loads: 1}, func() { w.build(s, n.Edge(output)) })
			}
		}
	})
}
