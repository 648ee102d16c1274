package view

import (
	"cmp"
	"slices"
	"sort"
)

// order finds an order of the cells of each layer in which few lines cross: each goes to the
// middle of those that it is joined with, down and up again. The best order is kept.
func (a *arranger) order() {
	a.number()
	best, fewest := a.saved(), a.crossings()
	for n := 0; n < maxOrders && fewest > 0; n++ {
		for i := range a.layers {
			l := i
			if n%2 == 1 {
				l = len(a.layers) - 1 - i
			}
			a.orderLayer(a.layers[l], n%2 == 0)
		}
		if c := a.crossings(); c < fewest {
			best, fewest = a.saved(), c
		}
	}
	a.layers = best
	a.number()
}

func (a *arranger) orderLayer(layer []int, down bool) {
	middle := make(map[int]float64, len(layer))
	for _, c := range layer {
		middle[c] = a.middle(c, down)
	}
	slices.SortStableFunc(layer, func(i, j int) int { return cmp.Compare(middle[i], middle[j]) })
	for p, c := range layer {
		a.cells[c].pos = p
	}
}

// middle is the median of the places of what a cell is joined with, above or below it; its own
// place if that is nothing.
func (a *arranger) middle(c int, above bool) float64 {
	of := a.cells[c].down
	if above {
		of = a.cells[c].up
	}
	if len(of) == 0 {
		return float64(a.cells[c].pos)
	}
	at := make([]int, len(of))
	for i, o := range of {
		at[i] = a.cells[o].pos
	}
	sort.Ints(at)
	return float64(at[(len(at)-1)/2]+at[len(at)/2]) / 2
}

func (a *arranger) number() {
	for _, l := range a.layers {
		for p, c := range l {
			a.cells[c].pos = p
		}
	}
}

func (a *arranger) saved() [][]int {
	out := make([][]int, len(a.layers))
	for i, l := range a.layers {
		out[i] = slices.Clone(l)
	}
	return out
}

// crossings counts the lines that cross: pairs of which one begins further left and ends
// further right. A tree of sums counts them.
func (a *arranger) crossings() (n int) {
	for i := 0; i+1 < len(a.layers); i++ {
		width := len(a.layers[i+1])
		sums := make([]int, width+1)
		seen := 0
		for _, c := range a.layers[i] {
			for _, d := range a.cells[c].down {
				n += seen
				for p := a.cells[d].pos + 1; p > 0; p &= p - 1 {
					n -= sums[p]
				}
			}
			for _, d := range a.cells[c].down {
				seen++
				for p := a.cells[d].pos + 1; p <= width; p += p & -p {
					sums[p]++
				}
			}
		}
	}
	return n
}

// place puts each cell as near to those that it is joined with as the others of its layer allow.
func (a *arranger) place() {
	for _, l := range a.layers {
		x := 0.0
		for _, c := range l {
			a.cells[c].x = x + a.cells[c].width/2
			x += a.cells[c].width
		}
	}
	for n := range maxPlaced {
		for i := range a.layers {
			l := i
			if n%2 == 1 {
				l = len(a.layers) - 1 - i
			}
			a.placeLayer(a.layers[l], n%2 == 0 || n >= maxPlaced/2, n%2 == 1 || n >= maxPlaced/2)
		}
	}
}

// block is a run of cells of a layer that stand side by side, without room between them.
type block struct {
	x, weight float64 // where its first cell would best be
	cells     int
}

// placeLayer minimizes the sum of squares of how far cells are from where they would best be, in
// the order that they have: where two of them would overlap they become one block.
func (a *arranger) placeLayer(layer []int, above, below bool) {
	var blocks []block
	across := make([]float64, len(layer)) // where a cell is if all stand side by side
	for p, c := range layer {
		if p > 0 {
			across[p] = across[p-1] + (a.cells[layer[p-1]].width+a.cells[c].width)/2
		}
		best, weight := a.best(c, above, below)
		b := block{best - across[p], weight, 1}
		for len(blocks) > 0 && blocks[len(blocks)-1].x > b.x {
			last := blocks[len(blocks)-1]
			blocks = blocks[:len(blocks)-1]
			sum := last.weight + b.weight
			b = block{(last.x*last.weight + b.x*b.weight) / sum, sum, last.cells + b.cells}
		}
		blocks = append(blocks, b)
	}
	p := 0
	for _, b := range blocks {
		for range b.cells {
			a.cells[layer[p]].x = b.x + across[p]
			p++
		}
	}
}

// best is where a cell would best be, and how much that matters: lines that pass are to be
// straight first.
func (a *arranger) best(c int, above, below bool) (x, weight float64) {
	cell := &a.cells[c]
	add := func(others []int) {
		for _, o := range others {
			w := 1.0
			if a.passing(c) && a.passing(o) {
				w = 8
			}
			x += w * a.cells[o].x
			weight += w
		}
	}
	if above {
		add(cell.up)
	}
	if below {
		add(cell.down)
	}
	if weight == 0 {
		return cell.x, 0.1
	}
	return x / weight, weight
}

func (a *arranger) passing(c int) bool { return c >= len(a.ins) }
