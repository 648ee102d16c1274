// Package graph makes the build graphs that the benchmarks solve.
//
// A Graph is plain data: who depends on whom, and the digests that a solver's
// vertices hand out. Everything is computed before anything is measured, and
// everything follows from the shape, the size and the seed: the same three give
// the same graph on every machine.
package graph

import "github.com/opencontainers/go-digest"

// Graph is a directed graph without cycles. Vertices are numbered so that the
// inputs of a vertex come before it (in the order in which a walk from the root
// leaves them), hence the last one is the root, and every vertex is below it.
type Graph struct {
	Shape Shape
	// first[v] and first[v+1] delimit the inputs of v in inputs.
	first  []int32
	inputs []int32

	// Ops holds the digest of each vertex's operation by itself: what CacheMap
	// returns. No two are equal.
	Ops Digests
	// Definitions holds the digest of each vertex with all that is below it.
	Definitions Digests
	// Contents holds the digest of what each vertex's result is made of. It does
	// not follow from the definition: Change and Salted leave it as it was.
	Contents Digests
}

// Len is the number of vertices.
func (g *Graph) Len() int { return len(g.first) - 1 }

// Edges is the number of edges.
func (g *Graph) Edges() int { return len(g.inputs) }

// Root is the vertex that is solved.
func (g *Graph) Root() int { return g.Len() - 1 }

// Inputs lists the vertices that v depends on. An input may occur twice.
func (g *Graph) Inputs(v int) []int32 { return g.inputs[g.first[v]:g.first[v+1]] }

// Leaf is the vertex that Change changes: the one in the middle of all that
// have no inputs.
func (g *Graph) Leaf() int {
	var leaves []int
	for v := range g.Len() {
		if len(g.Inputs(v)) == 0 {
			leaves = append(leaves, v)
		}
	}
	return leaves[len(leaves)/2]
}

// Above counts the vertices that depend on v, and v itself.
func (g *Graph) Above(v int) int {
	depends := make([]bool, g.Len())
	depends[v] = true
	count := 1
	for w := v + 1; w < g.Len(); w++ {
		for _, in := range g.Inputs(w) {
			if depends[in] {
				depends[w] = true
				count++
				break
			}
		}
	}
	return count
}

// Change returns the graph as it is after the operation of one leaf was edited:
// that operation has another digest, and so have the definitions of all that is
// above it.
func (g *Graph) Change() *Graph {
	leaf := g.Leaf()
	c := *g
	c.Ops = g.Ops.with(leaf, digest.FromString("changed "+string(g.Ops.At(leaf))))
	c.define("")
	return &c
}

// Salted returns a graph of the same operations whose definitions all have
// other digests: vertices that differ, and whose cache keys are equal.
func (g *Graph) Salted(salt string) *Graph {
	c := *g
	c.define(salt)
	return &c
}
