package store

import "slices"

// piece is what one layer of a tree is: what has to be done to lower to get upper.
// Either may be nil, the empty tree. Rec is whose layer it is.
type piece struct {
	rec, lower, upper *record
}

// pieces are the layers of a tree, the lowest first. There are at most as many as
// its countLayers says.
func pieces(rec *record) []piece {
	f := newForest()
	return f.pieces(f.top(rec))
}

// forest has the layers of trees. What trees have in common, from the lowest layer on, is there
// once, so that the layers of a chain of trees, each made upon the one before, take as much
// as those of the last.
type forest struct {
	// nodes come after those that they are on top of.
	nodes []forestNode
	known map[forestNode]int32
	// tops are the uppermost nodes of records, -1 if there is none.
	tops map[*record]int32
}

// forestNode is a layer on top of others: of the node below, or of none, which is -1.
type forestNode struct {
	piece
	below, depth int32
}

func newForest() *forest {
	return &forest{known: map[forestNode]int32{}, tops: map[*record]int32{nil: -1}}
}

// top is the uppermost layer of a tree.
func (f *forest) top(rec *record) int32 {
	todo := []*record{rec}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		if _, known := f.tops[r]; known {
			todo = todo[:len(todo)-1]
			continue
		}
		n := len(todo)
		for _, p := range r.parents {
			if _, known := f.tops[p]; !known {
				todo = append(todo, p)
			}
		}
		if len(todo) == n {
			f.tops[r] = f.made(r)
			todo = todo[:n-1]
		}
	}
	return f.tops[rec]
}

// made is the uppermost layer of a tree. Those of its parents are known. The layers of a diff of
// two trees of which one was built on the other are those in between.
func (f *forest) made(r *record) int32 {
	switch r.facts.Kind {
	case kindMerge:
		top := int32(-1)
		for _, p := range r.parents {
			top = f.upon(top, f.tops[p], -1)
		}
		return top
	case kindDiff:
		lower, upper := r.parents[0], r.parents[1]
		if lower != nil && upper != nil {
			if below, above := f.tops[lower], f.tops[upper]; f.depth(below) < f.depth(above) && f.ancestor(above, f.depth(below)) == below {
				return f.upon(-1, above, below)
			}
		}
		return f.on(-1, piece{rec: r, lower: lower, upper: upper})
	}
	return f.on(f.tops[r.parent()], piece{rec: r, lower: r.parent(), upper: r})
}

// on is the node of a layer on top of another.
func (f *forest) on(below int32, p piece) int32 {
	node := forestNode{p, below, f.depth(below) + 1}
	n, known := f.known[node]
	if !known {
		n = int32(len(f.nodes))
		f.nodes = append(f.nodes, node)
		f.known[node] = n
	}
	return n
}

// upon puts the layers from one that is above another up to top on top of others.
func (f *forest) upon(below, top, above int32) int32 {
	if below == -1 && above == -1 {
		return top
	}
	var list []piece
	for ; top != above; top = f.nodes[top].below {
		list = append(list, f.nodes[top].piece)
	}
	for _, p := range slices.Backward(list) {
		below = f.on(below, p)
	}
	return below
}

// depth is of how many layers a node is the top.
func (f *forest) depth(n int32) int32 {
	if n < 0 {
		return 0
	}
	return f.nodes[n].depth
}

// ancestor is the node of a depth below one.
func (f *forest) ancestor(n, depth int32) int32 {
	for n >= 0 && f.nodes[n].depth > depth {
		n = f.nodes[n].below
	}
	return n
}

// pieces are the layers up to a node, the lowest first.
func (f *forest) pieces(top int32) []piece {
	out := make([]piece, f.depth(top))
	for n := top; n >= 0; n = f.nodes[n].below {
		out[f.nodes[n].depth-1] = f.nodes[n].piece
	}
	return out
}
