package measure

import (
	"fmt"
	"io"

	"github.com/tenonbuild/tenon/bench/graph"
)

// Bar is what our solver is to reach.
type Bar struct {
	What string
	// AtLeast says that more is better.
	AtLeast bool
	Limit   float64
	Unit    string
	// value finds the figure, and says whether it was measured.
	value value
}

type value func(*Table) (float64, bool)

// at names the row of a Build in memory.
func at(shape graph.Shape, n int, p Phase) Key { return Key{Time, shape, n, p, Mem} }

// figureOf is what ours has in a row.
func figureOf(k Key) value {
	return func(t *Table) (float64, bool) {
		v, ok := t.rows[k][oursName]
		return v, ok
	}
}

// ratioOf is the quotient of two solvers' figures in a row.
func ratioOf(k Key, a, b string) value {
	return func(t *Table) (float64, bool) { return t.rows[k].ratio(a, b) }
}

// quotient divides ours in one row by ours in another.
func quotient(k, by Key) value {
	return func(t *Table) (float64, bool) {
		a, okA := t.rows[k][oursName]
		b, okB := t.rows[by][oursName]
		return a / b, okA && okB && b != 0
	}
}

// largest is the largest of ours in the rows of a metric that are of builds in
// memory and not tiny.
func largest(m Metric) value {
	return func(t *Table) (most float64, ok bool) {
		for k, row := range t.rows {
			if v, has := row[oursName]; has && k.Metric == m && k.Storage == Mem && k.N >= 1_000 {
				most, ok = max(most, v), true
			}
		}
		return most, ok
	}
}

// Bars lists the bars of the specification.
func Bars() []Bar {
	var bars []Bar
	add := func(what string, atLeast bool, limit float64, unit string, v value) {
		bars = append(bars, Bar{what, atLeast, limit, unit, v})
	}
	faster := func(n int, limit float64, shapes ...graph.Shape) {
		for _, shape := range shapes {
			for _, phase := range []Phase{Cold, Warm} {
				add(fmt.Sprintf("%s %d %s, faster than the peer", shape, n, phase), true, limit, "times",
					ratioOf(at(shape, n, phase), peerName, oursName))
			}
		}
	}
	faster(10_000, 25, graph.Tree, graph.FanIn, graph.Layered)
	faster(3_000, 400, graph.Chain, graph.Ladder)
	for _, shape := range graph.Shapes {
		add(fmt.Sprintf("%s 100000 cold, to the floor", shape), false, 8, "times", ratioOf(at(shape, 100_000, Cold), oursName, floorName))
	}
	for _, shape := range scaled {
		add(fmt.Sprintf("%s, ratio to the floor at 1000000 to that at %d", shape, scaleFrom), false, 1.5, "times", scaleOf(shape))
	}
	add("allocated a vertex, most of all rows in memory", false, 4096, "B", largest(Alloc))
	add("live a vertex, most of all rows in memory", false, 1536, "B", largest(Live))

	bolt := Key{Time, graph.Tree, 10_000, Cold, Bolt}
	add("tree 10000 cold, bolt to memory", false, 2, "times", quotient(bolt, at(graph.Tree, 10_000, Cold)))
	add("tree 10000 cold, bolt and flush to memory, beyond the bar", false, 2, "times", flushed(bolt))
	for _, n := range []int{10_000, 100_000} {
		add(fmt.Sprintf("on disk a record, tree %d", n), false, 350, "B", figureOf(Key{Disk, graph.Tree, n, Cold, Bolt}))
		add(fmt.Sprintf("reopening a key, tree %d", n), false, 1000, "ns", figureOf(Key{ReopenTime, graph.Tree, n, Reopen, Bolt}))
	}

	add("100 jobs on one graph of 1000, a job and vertex", false, 1000, "ns", figureOf(at(graph.Tree, 1_000, Same)))
	add("two jobs on equal keys, 1000 rungs to 100", false, 2, "times", quotient(at(graph.Ladder, rungs(1_000), Equal), at(graph.Ladder, rungs(100), Equal)))
	add("discard of 1000 vertices, beside 100000 to alone", false, 2, "times", quotient(at(graph.Tree, 1_000, Beside), at(graph.Tree, 1_000, Discard)))
	for _, shape := range graph.Shapes {
		for _, phase := range []Phase{ExportMax, ExportMin} {
			add(fmt.Sprintf("%s 10000 %s, a key", shape, phase), false, 4000, "ns", figureOf(at(shape, 10_000, phase)))
			add(fmt.Sprintf("%s %s, a key of 100000 to one of 10000", shape, phase), false, 2, "times", quotient(at(shape, 100_000, phase), at(shape, 10_000, phase)))
		}
	}
	return bars
}

// flushed is a build on disk with the wait for the disk, to one in memory.
func flushed(bolt Key) value {
	return func(t *Table) (float64, bool) {
		flush, mem := bolt, bolt
		flush.Phase, mem.Storage = Flush, Mem
		a, okA := t.rows[bolt][oursName]
		b, okB := t.rows[flush][oursName]
		c, okC := t.rows[mem][oursName]
		return (a + b) / c, okA && okB && okC && c != 0
	}
}

// PrintBars says which bars were met. Those of which nothing was measured are
// only counted.
func PrintBars(out io.Writer, t *Table) {
	left := 0
	for _, b := range Bars() {
		v, ok := b.value(t)
		if !ok {
			left++
			continue
		}
		sign, verdict := "<=", "met"
		if b.AtLeast {
			sign = ">="
		}
		if b.AtLeast && v < b.Limit || !b.AtLeast && v > b.Limit {
			verdict = "missed"
		}
		fmt.Fprintf(out, "bar %-6s %s: %s (%s %g %s)\n", verdict, b.What, figure(v, true), sign, b.Limit, b.Unit)
	}
	if left > 0 {
		fmt.Fprintf(out, "bars not measured: %d\n", left)
	}
}

// scaled are the shapes whose ratio to the floor must not grow with the graph.
var scaled = []graph.Shape{graph.Chain, graph.Tree}

const (
	scaleFrom = 10_000
	scaleTo   = 1_000_000
)

func scaleOf(shape graph.Shape) value {
	return func(t *Table) (float64, bool) {
		large, okL := t.rows[at(shape, scaleTo, Cold)].ratio(oursName, floorName)
		small, okS := t.rows[at(shape, scaleFrom, Cold)].ratio(oursName, floorName)
		return large / small, okL && okS
	}
}

// PrintScale prints the rows of how the ratio to the floor grows.
func PrintScale(t *Table) {
	for _, shape := range scaled {
		if v, ok := scaleOf(shape)(t); ok {
			t.Set(Key{Scale, shape, scaleTo, Cold, Mem}, Row{oursName: v})
		}
	}
}
