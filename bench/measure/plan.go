package measure

import (
	"slices"

	"github.com/tenonbuild/tenon/bench/graph"
)

// Step is a case, or a probe of processes.
type Step struct {
	Case  Case
	Probe bool
}

// Short is the table that takes less than a minute. The peer's long builds come
// last, each once, and of the longest only the cold one: where time runs out, it
// is there.
func Short() []Step {
	var steps []Step
	add := func(c Case) { steps = append(steps, Step{Case: c}) }
	for _, shape := range []graph.Shape{graph.Tree, graph.FanIn, graph.Layered} {
		add(Case{Kind: Plain, Shape: shape, N: 1_000, Storage: Mem, Until: Warm})
	}
	for _, shape := range []graph.Shape{graph.Ladder, graph.Chain} {
		add(Case{Kind: Plain, Shape: shape, N: 1_000, Storage: Mem, Until: Warm, PeerTrials: 1})
	}
	add(Case{Kind: Export, Shape: graph.Tree, N: 1_000, Storage: Mem})
	add(Case{Kind: Plain, Shape: graph.Tree, N: 1_000, Storage: Bolt, Until: Discard, PeerTrials: 1})
	add(Case{Kind: SameJobs, Shape: graph.Tree, N: 1_000, Storage: Mem, PeerTrials: 1})
	add(Case{Kind: EqualKeys, Shape: graph.Ladder, N: rungs(12), Storage: Mem, PeerTrials: 1})
	add(Case{Kind: EqualKeys, Shape: graph.Ladder, N: rungs(1_000), Storage: Mem})
	steps = append(steps, Step{Case: Case{Shape: graph.Tree, N: 10_000}, Probe: true})
	for _, c := range []Case{
		{Kind: Plain, Shape: graph.Tree, N: 10_000, Storage: Mem, Until: Warm},
		{Kind: Plain, Shape: graph.FanIn, N: 10_000, Storage: Mem, Until: Warm},
		{Kind: Plain, Shape: graph.Layered, N: 10_000, Storage: Mem, Until: Warm},
		{Kind: Plain, Shape: graph.Ladder, N: 3_000, Storage: Mem, Until: Warm, PeerUntil: Cold},
		{Kind: Plain, Shape: graph.Chain, N: 3_000, Storage: Mem, Until: Warm, PeerUntil: Cold},
	} {
		c.PeerTrials = 1
		add(c)
	}
	add(Case{Kind: Plain, Shape: graph.Tree, N: 10_000, Storage: Bolt, PeerTrials: None})
	return steps
}

// Full is the whole table, from small to large.
func Full() []Step {
	var steps []Step
	each := func(kind Kind, n int, shapes ...graph.Shape) {
		for _, shape := range shapes {
			steps = append(steps, Step{Case: Case{Kind: kind, Shape: shape, N: n, Storage: Mem}})
		}
	}
	steep := []graph.Shape{graph.Chain, graph.Ladder}
	for _, n := range []int{1_000, 3_000, 10_000, 100_000} {
		if n == 3_000 {
			each(Plain, n, steep...)
			continue
		}
		each(Plain, n, graph.Shapes...)
		each(WithContent, n, graph.Shapes...)
		each(Export, n, graph.Shapes...)
		each(Watched, n, graph.Tree, graph.Chain)
	}
	// Of the peer there are no figures at a million.
	for _, shape := range graph.Shapes {
		steps = append(steps, Step{Case: Case{Kind: Plain, Shape: shape, N: 1_000_000, Storage: Mem, Until: Warm}})
	}
	each(SameJobs, 1_000, graph.Tree, graph.Layered)
	each(DisjointJob, 1_000, graph.Tree, graph.Layered)
	for _, r := range []int{6, 12, 18, 100, 1_000, 10_000} {
		each(EqualKeys, rungs(r), graph.Ladder)
	}
	each(DiscardJob, 1_000, graph.Tree)
	for _, c := range []Case{
		{Shape: graph.Tree, N: 1_000},
		{Shape: graph.Chain, N: 1_000},
		{Shape: graph.Tree, N: 10_000},
		{Shape: graph.Layered, N: 10_000},
		{Shape: graph.Tree, N: 100_000},
	} {
		c.Kind, c.Storage = Plain, Bolt
		steps = append(steps, Step{Case: c})
	}
	for _, n := range []int{10_000, 100_000} {
		for _, shape := range graph.Shapes {
			steps = append(steps, Step{Case: Case{Shape: shape, N: n}, Probe: true})
		}
	}
	return steps
}

// Only keeps the steps of one shape and size: 0 and "" stand for any.
func Only(steps []Step, shape graph.Shape, n int) []Step {
	return slices.DeleteFunc(steps, func(s Step) bool {
		return shape != "" && s.Case.Shape != shape || n != 0 && s.Case.N != n
	})
}

// rungs is the number of vertices of a ladder.
func rungs(r int) int { return 3*r + 1 }
