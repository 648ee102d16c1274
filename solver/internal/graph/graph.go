// Package graph holds the vertices and edges that are being solved, and moves demands
// down and knowledge up between them.
//
// It knows no operation, no key and no result. A Host does what the edges ask for, and
// tells what came of it. Both name vertices and edges by dense numbers; the Host keeps
// what it knows of them in columns of its own. What is here has no pointer, so that a
// graph of a million vertices costs the garbage collector nothing.
//
// Nothing here takes a lock or starts a goroutine: the Host calls one method at a time.
package graph

import "github.com/tenonbuild/tenon/solver/internal/edge"

// Vertex numbers a vertex. 0 is none.
type Vertex uint32

// Edge numbers an output of a vertex. 0 is none.
type Edge uint32

// slot numbers an input of an edge. 0 is none.
type slot uint32

// Host does what edges ask for.
type Host interface {
	// Effect does what an edge's machine asks for, where that is not the graph's to do:
	// CallMap, Probe, FormKey, Match, Digest, Join, Load and Run. It may answer at once,
	// with an event and true; otherwise it answers later, with Tell.
	Effect(e Edge, eff edge.Effect) (edge.Event, bool)
	// Arrive completes an event that was given to Tell, when its turn has come. It
	// returns false if there is nothing to tell the machine any more.
	Arrive(e Edge, ev edge.Event) (edge.Event, bool)
	// Abandon cancels what is under way for an edge.
	Abandon(e Edge)
	// Wanted notes that the result of an edge is wanted.
	Wanted(e Edge)
	// InputFailed ends an edge, with Fail, because it needs an input that has failed.
	InputFailed(e Edge, input int)
	// Settled notes that an edge has ended, before those who wait for it hear of it.
	Settled(e Edge)
	// Release lets go of what is kept of a vertex that nobody holds any more. Its
	// outputs that have not ended were abandoned. The numbers may be used again after
	// the last Unpin.
	Release(v Vertex)
	// Fault notes a panic of the graph's or the Host's own code, which happened while
	// something was done for the vertex.
	Fault(v Vertex, reason any)
}

// State is how an edge has ended.
type State uint8

// The states.
const (
	Open State = iota
	Done
	Failed
)

// vertexRow is a vertex.
type vertexRow struct {
	jobs  uint64 // those numbered below 64 that hold it; see jobs.go
	first Edge   // its first output; the others follow by edgeRow.next
	n     uint32 // inputs
	// refs are the active vertices that stand on it. It is active as long as it has
	// jobs or refs.
	refs int32
	// pins are who needs its rows although it may have been released.
	pins     int32
	mark     uint32 // of the last walk that came by
	released bool
}

// edgeRow is one output of a vertex.
type edgeRow struct {
	m      edge.Machine
	vertex Vertex
	index  int32 // of the output; -1 while none was asked for
	next   Edge  // another output of the vertex
	slots  slot  // the first of its inputs
	// waiters is the first of the slots that wait for it, which follow by next.
	waiters slot
	// demand counts what waiters and callers want, by level from Keys on.
	demand [edge.Result]int32
	// missing counts the inputs that do not know yet what all of them were asked for.
	missing int32
	asks    int32 // inputs that have this edge as a waiter
	keys    int32 // how many keys those above may look up
	// epoch changes with each Abandon: an answer of an earlier one is void.
	epoch    uint32
	list     uint32 // the List that it is in; 0 if in none
	listNext Edge
	listPrev Edge
	state    State
	known    edge.Level // what was known when it ended: it stays known if it is opened again
}

// slotRow is one input of an edge.
type slotRow struct {
	parent, child Edge
	next, prev    slot  // of those that wait for the same child
	probed        int32 // how many of the child's keys the caches were asked about
	asked, level  edge.Level
	content       bool // they were asked about its content key
	waiting       bool // it is among the child's waiters, for level
	together      bool // its answer counts in the parent's missing, and is not told alone
}

// step is one thing that an edge is to be told.
type step struct {
	edge  Edge
	epoch uint32
	input int32 // -1: news of all inputs
	mask  edge.Managers
	kind  edge.EventKind
	flag  bool
}

// Graph is the vertices being solved. It is made by New.
type Graph struct {
	host Host

	vertexTable, edgeTable, slotTable table

	vertices Column[vertexRow]
	edges    Column[edgeRow]
	slots    Column[slotRow]
	inputs   Column[edge.Input]

	todo    Rounds[step]  // what is to be told, by job
	effects []edge.Effect // room for what one step asks
	dying   []deadVertex  // which may have lost their last holder
	leaving int           // the job that the vertex has gone with which is being released; -1 if none
	epochs  uint32
	marks   uint32
	lists   uint32
	more    map[Vertex][]uint64 // the jobs of a vertex that are numbered from 64 on
	active  int
	outputs int
	visits  uint64
}

// New returns an empty graph.
func New(h Host) *Graph {
	g := &Graph{host: h, more: map[Vertex][]uint64{}, leaving: -1}
	g.vertexTable.add(&g.vertices)
	g.edgeTable.add(&g.edges)
	g.slotTable.add(&g.slots)
	g.slotTable.add(&g.inputs)
	return g
}

// VertexColumn is a column of a graph's vertices.
type VertexColumn[T any] struct{ c Column[T] }

// EdgeColumn is a column of a graph's edges.
type EdgeColumn[T any] struct{ c Column[T] }

// AddTo makes a column part of an empty graph.
func (c *VertexColumn[T]) AddTo(g *Graph) { g.vertexTable.add(&c.c) }

// AddTo makes a column part of an empty graph.
func (c *EdgeColumn[T]) AddTo(g *Graph) { g.edgeTable.add(&c.c) }

// At returns what the column has of a vertex. It is zero when the vertex is made, and
// stays where it is until the vertex is released and no longer pinned.
func (c *VertexColumn[T]) At(v Vertex) *T { return c.c.at(uint32(v)) }

// At returns what the column has of an edge.
func (c *EdgeColumn[T]) At(e Edge) *T { return c.c.at(uint32(e)) }

// Stats are the numbers of active vertices, of their outputs that were asked for, and
// of the steps that edges have taken.
func (g *Graph) Stats() (vertices, edges int, visits uint64) { return g.active, g.outputs, g.visits }
