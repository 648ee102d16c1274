package solver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// pruneAll forgets all results but those of some values.
func (w *world) pruneAll(but ...string) {
	keep := map[string]bool{}
	for _, v := range but {
		keep[v] = true
	}
	for _, id := range w.results.IDs() {
		r, err := w.results.Load(context.Background(), solver.CacheResult{ID: id})
		if err != nil {
			continue
		}
		if !keep[solvertest.Value(r)] {
			w.results.Prune(id)
		}
		r.Release(context.Background())
	}
}

// contract 7: an edge whose definition keys match a record is loaded without its
// inputs, and a record is needed only at the top.
func TestRecordsOnTheWay(t *testing.T) {
	const (
		leaf = "leaf()"
		mid  = "mid(leaf())"
		side = "side()"
		top  = "top(mid(leaf()),side())"
	)
	for _, c := range []struct {
		name string
		keep []string
		want counts
	}{
		{"all", []string{leaf, mid, side, top}, counts{maps: 4, loads: 1}},
		{"top only", []string{top}, counts{maps: 4, loads: 1}},
		{"all but top", []string{leaf, mid, side}, counts{maps: 4, execs: 1, loads: 2}},
		{"inputs of top", []string{mid, side}, counts{maps: 4, execs: 1, loads: 2}},
		{"one input of top", []string{mid}, counts{maps: 4, execs: 2, loads: 1}},
		{"leaf", []string{leaf}, counts{maps: 4, execs: 3, loads: 1}},
		{"none", nil, counts{maps: 4, execs: 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			graph := func() solver.Edge {
				return w.node("top", w.node("mid", w.node("leaf")), w.node("side")).Edge(0)
			}
			w.build(s, graph())
			w.pruneAll(c.keep...)
			w.costs("again", c.want, func() {
				if got := w.build(s, graph()); got != top {
					t.Error(got)
				}
			})
			w.costs("and again", counts{maps: 4, loads: 1}, func() { w.build(s, graph()) })
		})
	}
}

// contract 7: keys without records chain through a new solver on the same caches.
func TestChainInNewSolver(t *testing.T) {
	w := newWorld(t)
	graph := func(top string) solver.Edge {
		return w.node(top, w.node("c", w.node("b", w.node("a")))).Edge(0)
	}
	first := w.solver()
	w.build(first, graph("one"))
	first.Close()
	w.pruneAll("one(c(b(a())))", "c(b(a()))")
	w.costs("what is there", counts{maps: 4, loads: 1}, func() { w.build(w.solver(), graph("one")) })
	w.costs("what is above of it", counts{maps: 4, execs: 1, loads: 1}, func() { w.build(w.solver(), graph("two")) })
}

// contract 7: only what changed and what stands on it is run.
func TestOneLeafChanged(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(leaf string) solver.Edge {
		top := w.node("top" + leaf)
		top.Key = "top"
		for i := range 10 {
			in := w.node(fmt.Sprint("mid", i), w.node(fmt.Sprint("leaf", i)))
			if i == 7 {
				in = w.node("mid"+leaf, w.node(leaf))
			}
			top.In = append(top.In, solvertest.Input{Node: in})
		}
		return top.Edge(0)
	}
	w.costs("cold", counts{maps: 21, execs: 21}, func() { w.build(s, graph("x")) })
	w.costs("warm", counts{maps: 21, loads: 1}, func() { w.build(s, graph("x")) })
	w.costs("one leaf changed", counts{maps: 21, execs: 3, loads: 9}, func() { w.build(s, graph("y")) })
	w.costs("and back", counts{maps: 21, loads: 1}, func() { w.build(s, graph("x")) })
}

// contract 8: an input's content key is not computed while another input can rule
// the match out, and not before the op runs if one has.
func TestRuledOutWithoutContent(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	// The source is another each time, and what it gives is the same. The other
	// input decides, by its definition.
	graph := func(source, other string, digests *int64) solver.Edge {
		src := w.node(source)
		src.Value = "same"
		top := w.node("top"+source+other, src, w.node(other))
		top.Key = "top"
		top.In[0].Content = true
		top.OnExec = func(context.Context, []solver.Result) error {
			*digests = w.stats.Digests.Load()
			return nil
		}
		return top.Edge(0)
	}
	var atExec int64
	w.build(s, graph("a", "x", &atExec))
	if atExec != 0 {
		t.Errorf("%d content keys were computed, and no cache has anything", atExec)
	}
	before := w.stats.Digests.Load()
	w.build(s, graph("b", "y", &atExec))
	if atExec != before {
		t.Errorf("%d content keys were computed although y rules a match out", atExec-before)
	}
	w.costs("where content decides", counts{maps: 3, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("c", "x", &atExec)) })
}

// contract 8: with definition keys that match all the way no content key is
// computed, and no input solved.
func TestNoContentForDefinitionMatch(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func() solver.Edge {
		n := w.node("leaf")
		for i := range 5 {
			n = w.node(fmt.Sprint("n", i), n, w.node(fmt.Sprint("side", i)))
			n.In[0].Content, n.In[1].Content = true, true
		}
		return n.Edge(0)
	}
	w.build(s, graph())
	w.costs("again", counts{maps: 11, loads: 1}, func() { w.build(s, graph()) })
}

// contract 8: an input that must be computed to get its content key is solved
// first, and only where its content can matter.
func TestSolvedForContent(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string) solver.Edge {
		src := w.node("src" + tag)
		src.Value = "same"
		copied := w.node("copy"+tag, src)
		copied.Key, copied.In[0].Content = "copy", true
		run := w.node("run"+tag, copied)
		run.Key = "run"
		return run.Edge(0)
	}
	w.costs("cold", counts{maps: 3, execs: 3, digests: 1}, func() { w.build(s, graph("1")) })
	// The source is run for its content. What stands on it comes from cache, by the
	// topmost record.
	w.costs("same content", counts{maps: 3, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("2")) })
	// contract 9: that the content matched is kept: next time the definition does.
	w.costs("linked", counts{maps: 3, loads: 1}, func() { w.build(s, graph("2")) })
	w.costs("the first", counts{maps: 3, loads: 1}, func() { w.build(s, graph("1")) })
}

// contract 9: also where the definition differs at several inputs.
func TestContentLinksSeveralInputs(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string) solver.Edge {
		top := w.node("top" + tag)
		top.Key = "top"
		for i := range 3 {
			src := w.node(fmt.Sprint("src", i, tag))
			src.Value = fmt.Sprint("same", i)
			top.In = append(top.In, solvertest.Input{Node: src, Content: true})
		}
		return top.Edge(0)
	}
	w.costs("cold", counts{maps: 4, execs: 4, digests: 3}, func() { w.build(s, graph("a")) })
	w.costs("same content", counts{maps: 4, execs: 3, loads: 1, digests: 3}, func() { w.build(s, graph("b")) })
	w.costs("linked", counts{maps: 4, loads: 1}, func() { w.build(s, graph("b")) })
}

// contract 16: an executed edge advertises its keys for as long as it lives, also
// when the cache has lost them.
func TestLiveEdgeAdvertises(t *testing.T) {
	for _, content := range []bool{false, true} {
		t.Run(fmt.Sprint("content ", content), func(t *testing.T) {
			w := newWorld(t)
			s := w.solver()
			base := func() *solvertest.Node { return w.node("base", w.node("root")) }
			child := func() solver.Edge {
				n := w.node("child", base())
				n.In[0].Content = content
				return n.Edge(0)
			}
			live := w.job(s)
			w.buildIn(live, base().Edge(0))
			w.build(s, child())
			got := w.during(func() { w.build(s, child()) })
			if got.execs != 0 || got.loads != 1 {
				t.Errorf("child again: %+v", got)
			}
			// Keys found by content are advertised as well.
			w.pruneAll("child(base(root()))")
			got = w.during(func() { w.build(s, child()) })
			if got.execs != 0 || got.loads != 1 {
				t.Errorf("child again, its base only alive: %+v", got)
			}
		})
	}
}

// contract 16: a live base that was found through content lets its child be found.
func TestLiveEdgeOfContentMatch(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	base := func(tag string) *solvertest.Node {
		src := w.node("src" + tag)
		src.Value = "same"
		n := w.node("base"+tag, src)
		n.Key, n.In[0].Content = "base", true
		return n
	}
	child := func(tag string) solver.Edge {
		n := w.node("child"+tag, base(tag))
		n.Key = "child"
		return n.Edge(0)
	}
	w.build(s, child("1"))
	live := w.job(s)
	w.costs("the base by its content", counts{maps: 2, execs: 1, loads: 1, digests: 1}, func() { w.buildIn(live, base("2").Edge(0)) })
	w.costs("its child", counts{maps: 1, loads: 1}, func() { w.build(s, child("2")) })
}
