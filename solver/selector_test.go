package solver_test

import (
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 10: a selector changes the key that the input contributes.
func TestSelectors(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string, selectors ...string) solver.Edge {
		n := w.node("top" + tag)
		n.Key = "top"
		for _, sel := range selectors {
			n.In = append(n.In, solvertest.Input{Node: w.node("in"), Selector: sel})
		}
		return n.Edge(0)
	}
	miss, hit := counts{maps: 2, execs: 1, loads: 1}, counts{maps: 2, loads: 1}
	w.costs("cold", counts{maps: 2, execs: 2}, func() { w.build(s, graph("1", "x")) })
	w.costs("the same", hit, func() { w.build(s, graph("2", "x")) })
	w.costs("another", miss, func() { w.build(s, graph("3", "y")) })
	w.costs("none", miss, func() { w.build(s, graph("4", "")) })
	w.costs("none again", hit, func() { w.build(s, graph("5", "")) })
	// The same input through two selectors gives two keys, each at its place.
	w.costs("two", miss, func() { w.build(s, graph("6", "x", "y")) })
	w.costs("two again", hit, func() { w.build(s, graph("7", "x", "y")) })
	w.costs("swapped", miss, func() { w.build(s, graph("8", "y", "x")) })
	w.costs("one of the two", miss, func() { w.build(s, graph("9", "x", "x")) })
}

// contract 10: at the same time, two selectors are two keys, not one execution.
func TestSelectorsInOneBuild(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string) solver.Edge {
		in := w.node("in")
		one, two, three := w.node("one"+tag), w.node("two"+tag), w.node("three"+tag)
		for n, sel := range map[*solvertest.Node]string{one: "x", two: "y", three: "x"} {
			n.Key = "part"
			n.In = []solvertest.Input{{Node: in, Selector: sel}}
		}
		return w.node("top"+tag, one, two, three).Edge(0)
	}
	w.costs("cold", counts{maps: 5, execs: 4}, func() { w.build(s, graph("")) })
	if a, c := w.stats.Executed("one"), w.stats.Executed("three"); a+c != 1 {
		t.Errorf("equal keys were run %d times", a+c)
	}
	w.executed(map[string]int{"two": 1})
}
