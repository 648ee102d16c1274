package remotecache

import (
	"slices"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// none is the node of no layers, and gone that of a result which cannot be had any more.
const (
	none int32 = -1
	gone int32 = -2
)

// stacks puts the layers of results into a list: what results have in common is gone through
// once.
type stacks struct {
	list *layerList
	made *store.Stacks
	at   map[*solver.Remote]int // in made.Of
	// nodes are those of made.Nodes.
	nodes []int32
	// imported has the nodes of layers of imports.
	imported map[*Graph]map[int32]int32
}

func newStacks(list *layerList, made *store.Stacks, at map[*solver.Remote]int) *stacks {
	s := &stacks{list: list, made: made, at: at, imported: map[*Graph]map[int32]int32{}}
	layers := make([]int32, len(made.Layers))
	for i, l := range made.Layers {
		layers[i] = list.add(dated(l), nil)
	}
	for _, n := range made.Nodes {
		below := none
		if n.Below >= 0 {
			below = s.nodes[n.Below]
		}
		s.nodes = append(s.nodes, list.on(below, layers[n.Layer]))
	}
	return s
}

// of are the results of a node that can be had and have layers.
func (s *stacks) of(n *node) (all []stackAt) {
	for _, f := range n.results {
		if top := s.top(f); top >= 0 {
			all = append(all, stackAt{top, f.createdAt})
		}
	}
	return all
}

// top is the uppermost layer of a result.
func (s *stacks) top(f found) int32 {
	if f.imported != nil {
		return s.topOf(f.imported)
	}
	if t, ok := s.at[f.remote]; ok {
		if n := s.made.Of[t]; n >= 0 {
			return s.nodes[n]
		}
		return none
	}
	if _, tree := f.remote.Provider.(store.TreeProvider); tree {
		return gone
	}
	top := none
	for _, desc := range f.remote.Descriptors {
		top = s.list.on(top, s.list.add(desc, f.remote.Provider))
	}
	return top
}

// topOf is that of a result of an import.
func (s *stacks) topOf(i *imported) int32 {
	known := s.imported[i.graph]
	if known == nil {
		known = map[int32]int32{none: none}
		s.imported[i.graph] = known
	}
	on := func(below, n int32) int32 {
		desc := i.graph.layers[n].desc
		if below == gone || i.from.layers.Gone(desc.Digest) {
			return gone
		}
		return s.list.on(below, s.list.add(desc, i.from.layers))
	}
	if i.top < 0 {
		top := none
		for _, n := range i.list {
			top = on(top, n)
		}
		return top
	}
	var left []int32 // the topmost first
	n := i.top
	for ; ; n = i.graph.layers[n].parent {
		if _, done := known[n]; done {
			break
		}
		left = append(left, n)
	}
	top := known[n]
	for _, n := range slices.Backward(left) {
		top = on(top, n)
		known[n] = top
	}
	return top
}
