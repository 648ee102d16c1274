package graph

import "math/bits"

// Jobs hold vertices. They are numbered from 0, and a number is used again when its job
// has gone. The first 64 have a bit in the vertex's row, the others in Graph.more.

// Hold has a job hold a vertex, and reports whether it did not before.
func (g *Graph) Hold(v Vertex, job int) bool {
	r := g.vertices.at(uint32(v))
	if job < 64 {
		before := r.jobs
		r.jobs |= 1 << job
		return r.jobs != before
	}
	words := g.more[v]
	for len(words) <= job/64-1 {
		words = append(words, 0)
	}
	before := words[job/64-1]
	words[job/64-1] |= 1 << (job % 64)
	g.more[v] = words
	return words[job/64-1] != before
}

// Unhold ends a job's hold of a vertex.
func (g *Graph) Unhold(v Vertex, job int) {
	r := g.vertices.at(uint32(v))
	if job < 64 {
		r.jobs &^= 1 << job
	} else if words := g.more[v]; job/64-1 < len(words) {
		words[job/64-1] &^= 1 << (job % 64)
	}
	if r.refs == 0 && g.unheld(v) {
		g.dying = append(g.dying, deadVertex{v, job})
	}
}

// Holds reports whether a job holds a vertex.
func (g *Graph) Holds(v Vertex, job int) bool {
	if job < 64 {
		return g.vertices.at(uint32(v)).jobs&(1<<job) != 0
	}
	words := g.more[v]
	return job/64-1 < len(words) && words[job/64-1]&(1<<(job%64)) != 0
}

// Jobs visits the jobs that hold a vertex, in order.
func (g *Graph) Jobs(v Vertex) func(func(int) bool) {
	return func(yield func(int) bool) {
		for w := g.vertices.at(uint32(v)).jobs; w != 0; w &= w - 1 {
			if !yield(bits.TrailingZeros64(w)) {
				return
			}
		}
		if len(g.more) == 0 {
			return
		}
		for i, w := range g.more[v] {
			for ; w != 0; w &= w - 1 {
				if !yield((i+1)*64 + bits.TrailingZeros64(w)) {
					return
				}
			}
		}
	}
}

// unheld reports whether no job holds a vertex.
func (g *Graph) unheld(v Vertex) bool {
	if g.vertices.at(uint32(v)).jobs != 0 {
		return false
	}
	if len(g.more) == 0 {
		return true
	}
	for _, w := range g.more[v] {
		if w != 0 {
			return false
		}
	}
	return true
}
