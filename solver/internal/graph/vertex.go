package graph

import "github.com/tenonbuild/tenon/solver/internal/edge"

// Add makes a vertex over inputs. It is active once it is held.
func (g *Graph) Add(inputs []Edge) Vertex {
	v := Vertex(g.vertexTable.alloc(1))
	r := g.vertices.at(uint32(v))
	r.n = uint32(len(inputs))
	r.first = g.addEdge(v, r.n)
	slots := g.slotsOf(g.edges.at(uint32(r.first)), r.n)
	for i, in := range inputs {
		slots[i].child = in
		g.Ref(g.VertexOf(in))
	}
	g.active++
	return v
}

// addEdge makes an output, of which no index was asked for.
func (g *Graph) addEdge(v Vertex, n uint32) Edge {
	e := Edge(g.edgeTable.alloc(1))
	r := g.edges.at(uint32(e))
	g.epochs++
	r.vertex, r.index, r.epoch = v, -1, g.epochs
	if n > 0 {
		r.slots = slot(g.slotTable.alloc(n))
		for i := range n {
			g.slots.at(uint32(r.slots) + i).parent = e
		}
	}
	return e
}

// slotsOf are the inputs of an edge.
func (g *Graph) slotsOf(r *edgeRow, n uint32) []slotRow { return g.slots.run(uint32(r.slots), n) }

// Output returns an output of a vertex, and reports whether it was asked for the
// first time. It may then ask the managers.
func (g *Graph) Output(v Vertex, index int, caches edge.Caches) (e Edge, fresh bool) {
	r := g.vertices.at(uint32(v))
	for e = r.first; e != 0; e = g.edges.at(uint32(e)).next {
		o := g.edges.at(uint32(e))
		if o.index < 0 {
			o.index = int32(index)
			o.m.Init(int(r.n), caches)
			g.outputs++
			return e, true
		}
		if int(o.index) == index {
			return e, false
		}
	}
	e = g.addEdge(v, r.n)
	first, o := g.edges.at(uint32(r.first)), g.edges.at(uint32(e))
	slots := g.slotsOf(o, r.n)
	for i, s := range g.slotsOf(first, r.n) {
		slots[i].child = s.child
	}
	o.index, o.next, first.next = int32(index), first.next, e
	o.m.Init(int(r.n), caches)
	g.outputs++
	return e, true
}

// Outputs visits the outputs of a vertex that were asked for.
func (g *Graph) Outputs(v Vertex) func(func(Edge) bool) {
	return func(yield func(Edge) bool) {
		for e := g.vertices.at(uint32(v)).first; e != 0; e = g.edges.at(uint32(e)).next {
			if g.edges.at(uint32(e)).index >= 0 && !yield(e) {
				return
			}
		}
	}
}

// Inputs is the number of a vertex's inputs.
func (g *Graph) Inputs(v Vertex) int { return int(g.vertices.at(uint32(v)).n) }

// Input is one of a vertex's inputs.
func (g *Graph) Input(v Vertex, i int) Edge {
	first := g.edges.at(uint32(g.vertices.at(uint32(v)).first))
	return g.slots.at(uint32(first.slots) + uint32(i)).child
}

// Below visits the inputs of a vertex in order.
func (g *Graph) Below(v Vertex) func(func(int, Edge) bool) {
	return func(yield func(int, Edge) bool) {
		r := g.vertices.at(uint32(v))
		for i, s := range g.slotsOf(g.edges.at(uint32(r.first)), r.n) {
			if !yield(i, s.child) {
				return
			}
		}
	}
}

// VertexOf is the vertex that an edge is an output of.
func (g *Graph) VertexOf(e Edge) Vertex { return g.edges.at(uint32(e)).vertex }

// IndexOf is the number of the output.
func (g *Graph) IndexOf(e Edge) int { return int(g.edges.at(uint32(e)).index) }

// StateOf is how an edge has ended.
func (g *Graph) StateOf(e Edge) State { return g.edges.at(uint32(e)).state }

// Machine is what decides for an edge, to be read.
func (g *Graph) Machine(e Edge) *edge.Machine { return &g.edges.at(uint32(e)).m }

// Epoch changes whenever what is under way for an edge is abandoned.
func (g *Graph) Epoch(e Edge) uint32 { return g.edges.at(uint32(e)).epoch }

// Ref has a vertex stand on another.
func (g *Graph) Ref(v Vertex) { g.vertices.at(uint32(v)).refs++ }

// Unref ends what Ref began.
func (g *Graph) Unref(v Vertex) {
	r := g.vertices.at(uint32(v))
	if r.refs--; r.refs == 0 && !r.released && g.unheld(v) {
		g.dying = append(g.dying, deadVertex{v, g.leaving})
	}
}

// Pin keeps the numbers and rows of a vertex, and nothing else, for somebody who will
// Unpin it.
func (g *Graph) Pin(v Vertex) { g.vertices.at(uint32(v)).pins++ }

// Unpin ends what Pin began.
func (g *Graph) Unpin(v Vertex) {
	r := g.vertices.at(uint32(v))
	if r.pins--; r.pins == 0 && r.released {
		g.free(v)
	}
}

// Released reports whether a vertex that is pinned was released.
func (g *Graph) Released(v Vertex) bool { return g.vertices.at(uint32(v)).released }

// Reap releases vertices that nobody holds any more. It looks at no more than n, and
// returns how many it looked at.
func (g *Graph) Reap(n int) (seen int) {
	for ; seen < n && len(g.dying) > 0; seen++ {
		last := len(g.dying) - 1
		v := g.dying[last].vertex
		g.leaving = g.dying[last].job
		g.dying = g.dying[:last]
		if r := g.vertices.at(uint32(v)); !r.released && r.refs == 0 && g.unheld(v) {
			g.release(v)
		}
	}
	g.leaving = -1
	return seen
}

// deadVertex is a vertex that may have lost its last holder, and the job that it went with:
// -1 if that is not known.
type deadVertex struct {
	vertex Vertex
	job    int
}

// Leaving is the job that the vertex has gone with which is being released; ok is false
// outside of Host.Release and Host.Abandon, and where it is not known.
func (g *Graph) Leaving() (job int, ok bool) { return g.leaving, g.leaving >= 0 }

func (g *Graph) release(v Vertex) {
	defer g.contain(v)
	r := g.vertices.at(uint32(v))
	r.released = true
	g.active--
	for e := range g.Outputs(v) {
		g.outputs--
		if o := g.edges.at(uint32(e)); o.state == Open {
			g.abandon(e, o)
			g.dismiss(o) // those who wait are being released, too
			o.state = Failed
		}
	}
	g.host.Release(v)
	for _, child := range g.Below(v) {
		g.Unref(g.VertexOf(child))
	}
	if r.pins == 0 {
		g.free(v)
	}
}

// free gives the rows of a released vertex back.
func (g *Graph) free(v Vertex) {
	n := g.vertices.at(uint32(v)).n
	for e := g.vertices.at(uint32(v)).first; e != 0; {
		r := g.edges.at(uint32(e))
		next := r.next
		if n > 0 {
			g.slotTable.release(uint32(r.slots), n)
		}
		g.edgeTable.release(uint32(e), 1)
		e = next
	}
	delete(g.more, v)
	g.vertexTable.release(uint32(v), 1)
}

// BeginWalk begins a walk that comes to each vertex once: see Mark.
func (g *Graph) BeginWalk() { g.marks++ }

// Mark reports whether the walk comes to a vertex for the first time.
func (g *Graph) Mark(v Vertex) bool {
	r := g.vertices.at(uint32(v))
	if r.mark == g.marks {
		return false
	}
	r.mark = g.marks
	return true
}
