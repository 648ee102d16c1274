package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 8: of several inputs those that already match wait for those that can
// still rule the match out.
func TestContentOfUnmatchedFirst(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	// Both inputs have content keys. The first one's definition is always the same.
	graph := func(tag, value string) solver.Edge {
		same, src := w.node("same"), w.node("src"+tag)
		src.Value = value
		top := w.node("top"+tag, same, src)
		top.Key = "top"
		top.In[0].Content, top.In[1].Content = true, true
		return top.Edge(0)
	}
	w.costs("cold", counts{maps: 3, execs: 3, digests: 2}, func() { w.build(s, graph("1", "v")) })
	w.costs("the other one by content", counts{maps: 3, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("2", "v")) })
	// Where it rules the match out, the first one is loaded for the op to run, and
	// its content key computed for saving only.
	w.costs("ruled out", counts{maps: 3, execs: 2, loads: 1, digests: 2}, func() { w.build(s, graph("3", "w")) })
}

// contract 8, 10: a content key stands without the selector: what is selected may
// be the same through another selector of the same digest function.
func TestContentWithSelector(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(source, selector string) solver.Edge {
		src := w.node(source)
		src.Value = "same"
		top := w.node("top"+source+selector, src)
		top.Key = "top"
		top.In[0].Content, top.In[0].Selector = true, selector
		return top.Edge(0)
	}
	w.costs("cold", counts{maps: 2, execs: 2, digests: 1}, func() { w.build(s, graph("a", "x")) })
	w.costs("by definition and selector", counts{maps: 2, loads: 1}, func() { w.build(s, graph("a", "x")) })
	w.costs("by content", counts{maps: 2, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("b", "x")) })
	// Seen through another selector the content is another.
	w.costs("another selector", counts{maps: 2, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("a", "y")) })
}

// contract 31: when an op gives the same as before, what depends on it is not run.
func TestEarlyCutoff(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag, made string) solver.Edge {
		n := w.node("generate" + tag)
		n.Value = made
		for i := range 5 {
			next := w.node(fmt.Sprint("step", i, tag), n)
			next.Key, next.In[0].Content = fmt.Sprint("step", i), true
			n = next
		}
		return n.Edge(0)
	}
	w.costs("cold", counts{maps: 6, execs: 6, digests: 5}, func() { w.build(s, graph("1", "made")) })
	w.costs("the same comes out", counts{maps: 6, execs: 1, loads: 1, digests: 1}, func() { w.build(s, graph("2", "made")) })
	got := w.during(func() { w.build(s, graph("3", "made otherwise")) })
	if got.execs != 6 {
		t.Errorf("something else comes out: %+v", got)
	}
}

// contract 31: the cut is where the outputs are equal again, in the middle.
func TestCutoffInTheMiddle(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string) solver.Edge {
		src := w.node("src" + tag)
		compile := w.node("compile"+tag, src)
		compile.Key, compile.Value = "compile", "binary" // comments do not show
		compile.In[0].Content = true
		run := w.node("run"+tag, compile)
		run.Key, run.In[0].Content = "run", true
		return w.node("image"+tag, run).Edge(0)
	}
	w.build(s, graph("1"))
	w.build(s, graph("2"))
	w.executed(map[string]int{"compile1": 1, "compile2": 1, "run1": 1, "run2": 0, "image2": 1})
}

// contract 8: the content key of one input is computed once, whoever asks.
func TestContentOnce(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		graph := func(tag string) *solvertest.Node {
			src := w.node("src" + tag)
			src.Value = "same"
			n := w.node("n"+tag, src)
			n.Key, n.Outputs, n.In[0].Content = "n", 3, true
			return n
		}
		w.build(s, graph("1").Edge(0))
		w.build(s, graph("1").Edge(1))
		n, j := graph("2"), w.job(s)
		w.costs("two outputs of one vertex", counts{maps: 2, execs: 1, loads: 2, digests: 1}, func() {
			a, b := w.start(j, n.Edge(0)), w.start(j, n.Edge(1))
			<-a.done
			<-b.done
		})
	})
}

// contract 17: a content key that cannot be computed is an error of the op, for every
// waiter, whether a match could have depended on it or it was computed after the run.
func TestContentKeyFails(t *testing.T) {
	for name, onDigest := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return errors.New("unreadable") },
		"panic": func(context.Context) error { panic("unreadable") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				top := func(tag string) *solvertest.Node {
					src := w.node("src" + tag)
					src.Value = "same"
					top := w.node("top"+tag, src)
					top.Key = "top"
					top.In[0].Content = true
					return top
				}
				broken := func(tag string) solver.Edge {
					top := top(tag)
					top.In[0].OnDigest = onDigest
					return top.Edge(0)
				}
				fails := func(tag string) {
					var all []*building
					for range 2 {
						all = append(all, w.start(w.job(s), broken(tag)))
					}
					for _, b := range all {
						<-b.done
						var of *solver.VertexError
						if !errors.As(b.err, &of) || of.Name != "top"+tag || !strings.Contains(b.err.Error(), "content key of input 0") || !strings.Contains(b.err.Error(), "unreadable") {
							t.Errorf("%s: %v", tag, b.err)
						}
						b.job.Discard()
					}
				}
				fails("computed after the run")
				w.build(s, top("of another").Edge(0))
				fails("may match")
			})
		})
	}
}
