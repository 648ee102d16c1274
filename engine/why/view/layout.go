package view

import (
	"cmp"
	"math"
	"slices"

	"github.com/tenonbuild/tenon/engine/why"
)

// A layout of our own: the graph of a build is narrow, so layers, and an order in each that
// lets few lines cross, are enough to be read. The time that it takes is bounded whatever a
// damaged record has, which the layout libraries for Go do not promise. And the page and the
// SVG have the same picture, also where there is no Graphviz.

// What a picture is measured in, as the page's script has it, too.
const (
	boxWidth  = 236
	boxHeight = 42
	pitch     = boxHeight + 34 // from one layer to the next
	gapAcross = 22
	lineWidth = 14 // what a line takes in a layer that it passes
)

const (
	// A line that passes more layers than this is drawn straight, behind all. So are the last
	// ones of a graph that has too many.
	maxPassed = 40
	maxCells  = 200_000
	// A source that so many steps read, as the context, is joined with none of those that
	// stand on another step first.
	manyReaders = 3
	maxOrders   = 8  // how often the order within layers is improved
	maxPlaced   = 24 // how often the places are; in the last half they look both ways
)

// layout says where the steps of a build are in a picture: each in a layer below those of all
// that it stands on.
type layout struct {
	width, height int
	x, y          []int // the middle of each step's box
	lines         []line
	unjoined      []int // how many lines from each step are left out
}

// line is an edge of the graph, from the lower side of a box to the upper side of another.
type line struct {
	from, to int
	via      []int // where it passes the layers between; none for one that is drawn straight
}

// cell is what takes room in a layer: a step, or a line that passes.
type cell struct {
	layer    int
	width    float64
	key      int // the order at first
	pos      int // the place in the layer
	x        float64
	up, down []int // the cells that it is joined with
}

// arranger arranges the steps of a build.
type arranger struct {
	ins    [][]int // what lines lead to each step from
	uses   []int   // how many lines lead from each
	alone  []int   // steps that no line leads to or from
	layer  []int
	cells  []cell  // first those of the steps
	passes [][]int // the cells of each line that passes layers
	layers [][]int // cells, from the left
}

// arrange lays the steps of a build out.
func arrange(b *why.Build) *layout {
	out := &layout{unjoined: make([]int, len(b.Steps))}
	a := &arranger{ins: make([][]int, len(b.Steps)), uses: make([]int, len(b.Steps))}
	a.join(allInputs(b), out)
	a.setLayers()
	a.setCells(out)
	a.order()
	a.place()
	a.finish(out)
	return out
}

// allInputs are the steps that each stands on, each once. Those that do not come before it are
// of a damaged record.
func allInputs(b *why.Build) [][]int {
	at := places(b)
	out := make([][]int, len(b.Steps))
	for i := range b.Steps {
		seen := map[int]bool{}
		for _, in := range b.Steps[i].Inputs {
			if j, known := at[in.Step]; known && j < i && !seen[j] {
				seen[j] = true
				out[i] = append(out[i], j)
			}
		}
	}
	return out
}

// join chooses the edges that are drawn.
func (a *arranger) join(inputs [][]int, out *layout) {
	readers := make([]int, len(inputs))
	for _, ins := range inputs {
		for _, j := range ins {
			readers[j]++
		}
	}
	for i, ins := range inputs {
		for n, j := range ins {
			if n > 0 && len(inputs[j]) == 0 && readers[j] >= manyReaders {
				out.unjoined[j]++
				continue
			}
			a.ins[i] = append(a.ins[i], j)
			a.uses[j]++
			out.lines = append(out.lines, line{from: j, to: i})
		}
	}
}

// setLayers puts each step right below what it stands on; one that more stands on than it
// stands on, right above that.
func (a *arranger) setLayers() {
	a.layer = make([]int, len(a.ins))
	above := make([]int, len(a.ins)) // the layer above the first that uses it
	for i, ins := range a.ins {
		above[i] = len(a.ins)
		for _, j := range ins {
			a.layer[i] = max(a.layer[i], a.layer[j]+1)
		}
	}
	for i := len(a.ins) - 1; i >= 0; i-- {
		if a.uses[i] > len(a.ins[i]) {
			a.layer[i] = above[i]
		}
		for _, j := range a.ins[i] {
			above[j] = min(above[j], a.layer[i]-1)
		}
	}
}

// setCells makes the cells of steps and of lines.
func (a *arranger) setCells(out *layout) {
	add := func(c cell) int {
		for len(a.layers) <= c.layer {
			a.layers = append(a.layers, nil)
		}
		a.layers[c.layer] = append(a.layers[c.layer], len(a.cells))
		a.cells = append(a.cells, c)
		return len(a.cells) - 1
	}
	for i, l := range a.layer {
		if len(a.ins[i]) == 0 && a.uses[i] == 0 {
			a.alone = append(a.alone, i)
			a.cells = append(a.cells, cell{layer: -1})
			continue
		}
		add(cell{layer: l, width: boxWidth + gapAcross, key: 2 * i})
	}
	a.passes = make([][]int, len(out.lines))
	for n, ln := range out.lines {
		passed := a.layer[ln.to] - a.layer[ln.from] - 1
		if passed > maxPassed || len(a.cells)+passed > maxCells {
			continue
		}
		from := ln.from
		for l := range passed {
			c := add(cell{layer: a.layer[ln.from] + l + 1, width: lineWidth, key: 2*ln.from + 1})
			a.passes[n] = append(a.passes[n], c)
			a.connect(from, c)
			from = c
		}
		a.connect(from, ln.to)
	}
	for _, l := range a.layers {
		slices.SortStableFunc(l, func(i, j int) int { return cmp.Compare(a.cells[i].key, a.cells[j].key) })
	}
}

func (a *arranger) connect(up, down int) {
	a.cells[up].down = append(a.cells[up].down, down)
	a.cells[down].up = append(a.cells[down].up, up)
}

// finish says where all is, with those steps that no line leads to in rows above the others.
func (a *arranger) finish(out *layout) {
	out.x, out.y = make([]int, len(a.ins)), make([]int, len(a.ins))
	left, right, widest := math.Inf(1), math.Inf(-1), 4
	for _, l := range a.layers {
		steps := 0
		for _, c := range l {
			left, right = min(left, a.cells[c].x-a.cells[c].width/2), max(right, a.cells[c].x+a.cells[c].width/2)
			if c < len(a.ins) {
				steps++
			}
		}
		widest = max(widest, steps)
	}
	if len(a.layers) == 0 {
		left, right = 0, 0
	}
	for n, i := range a.alone {
		out.x[i] = n%widest*(boxWidth+gapAcross) + (boxWidth+gapAcross)/2
		out.y[i] = n/widest*pitch + pitch/2
		right = max(right, left+float64(out.x[i]+(boxWidth+gapAcross)/2))
	}
	rows := (len(a.alone) + widest - 1) / widest
	for i, l := range a.layer {
		if a.cells[i].layer >= 0 {
			out.x[i], out.y[i] = int(a.cells[i].x-left), (rows+l)*pitch+pitch/2
		}
	}
	for n, cells := range a.passes {
		for _, c := range cells {
			out.lines[n].via = append(out.lines[n].via, int(a.cells[c].x-left))
		}
	}
	out.width, out.height = int(right-left), (rows+len(a.layers))*pitch
}
