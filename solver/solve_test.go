package solver_test

import (
	"testing"

	"github.com/tenonbuild/tenon/solver/solvertest"
)

func TestFirst(t *testing.T) {
	w := newWorld(t)
	graph := func() *solvertest.Node {
		a, b := w.node("a"), w.node("b")
		c := w.node("c", a, b)
		return w.node("d", c, a)
	}
	s := w.solver()
	if got := w.build(s, graph().Edge(0)); got != "d(c(a(),b()),a())" {
		t.Fatal(got)
	}
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if got := w.build(s, graph().Edge(0)); got != "d(c(a(),b()),a())" {
		t.Fatal(got)
	}
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if n := w.results.Loads(); n != 1 {
		t.Fatal(n)
	}
}

func TestContentFirst(t *testing.T) {
	w := newWorld(t)
	graph := func(src string) *solvertest.Node {
		a := w.node(src)
		a.Value = "same"
		c := w.node("copy", a)
		c.ID = "copy" + src
		c.Key = "copy"
		c.In[0].Content = true
		d := w.node("run"+src, c)
		d.Key = "run"
		return d
	}
	s := w.solver()
	w.build(s, graph("a1").Edge(0))
	if n := w.stats.Execs.Load(); n != 3 {
		t.Fatal(n)
	}
	w.build(s, graph("a2").Edge(0))
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if n := w.results.Loads(); n != 1 {
		t.Fatal(n)
	}
	d := w.stats.Digests.Load()
	w.build(s, graph("a2").Edge(0))
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if n := w.stats.Digests.Load(); n != d {
		t.Fatal(n, d)
	}
}
