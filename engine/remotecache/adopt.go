package remotecache

import (
	"slices"

	"github.com/tenonbuild/tenon/solver"
)

// A step that an imported cache has need not be loaded for the ones above it to be found,
// and then nothing of it is in the cache of this builder. An export that left it out would
// make the next cache smaller with each build. So the records of imports go along that
// stand for what was collected, with what they are made of.

// adopt adds what an import knows of the nodes. One that is still being read knows nothing.
func (c *Collector) adopt(m *Import) {
	select {
	case <-m.loaded:
	default:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range m.finders {
		a := &adoption{c: c, g: f.graph, from: m, nodes: map[int32]int32{}}
		a.match()
		a.add()
	}
}

// adoption is one of a graph.
type adoption struct {
	c    *Collector
	g    *Graph
	from *Import
	// nodes are those of the graph's records; queue are the records still to be added.
	nodes map[int32]int32
	queue []int32
}

// match finds the records of the nodes.
func (a *adoption) match() {
	found := make([][]int32, len(a.c.nodes))
	for n, inputs := range a.c.derive() {
		node := a.c.nodes[n]
		if len(inputs) == 0 {
			if r, ok := a.g.roots[node.digest]; ok {
				found[n] = []int32{r}
			}
		}
		for i, alternatives := range inputs {
			var next []int32
			for _, l := range alternatives {
				for _, from := range found[l.from] {
					next = append(next, a.g.above[step{link{from, l.selector}, i, node.digest}]...)
				}
			}
			slices.Sort(next)
			next = slices.Compact(next)
			if i > 0 {
				next = slices.DeleteFunc(next, func(r int32) bool { return !slices.Contains(found[n], r) })
			}
			if found[n] = next; len(next) == 0 {
				break
			}
		}
		for _, r := range found[n] {
			if _, ok := a.nodes[r]; !ok {
				a.nodes[r] = n
				a.queue = append(a.queue, r)
			}
		}
	}
}

// add adds what the records say of their nodes, and the records that they are made of.
func (a *adoption) add() {
	for len(a.queue) > 0 {
		r := a.queue[len(a.queue)-1]
		a.queue = a.queue[:len(a.queue)-1]
		rec, n := a.g.records[r], a.c.nodes[a.nodes[r]]
		for i, alternatives := range rec.inputs {
			for len(n.inputs) <= i {
				n.inputs = append(n.inputs, nil)
			}
			for _, l := range alternatives {
				if add := (link{a.node(l.from), l.selector}); !slices.Contains(n.inputs[i], add) {
					n.inputs[i] = append(n.inputs[i], add)
				}
			}
		}
		if n.newest == nil {
			for _, res := range rec.results {
				if n.newest == nil || res.createdAt.After(n.createdAt) {
					n.newest = &solver.Remote{Descriptors: a.g.stack(res), Provider: a.from.source}
					n.createdAt = res.createdAt
				}
			}
		}
	}
}

// node is that of a record, which is made if need be.
func (a *adoption) node(r int32) int32 {
	n, ok := a.nodes[r]
	if !ok {
		n = int32(len(a.c.nodes))
		a.c.nodes = append(a.c.nodes, &node{c: a.c, n: n, digest: a.g.records[r].digest})
		a.nodes[r] = n
		a.queue = append(a.queue, r)
	}
	return n
}
