// Package keygraph is the graph of cache keys in memory: nodes by ID, links between
// them, and the results that nodes hold. It serves the solver's storage in memory,
// and is the index of the one on disk, which reads and writes its journal.
//
// # Layout
//
// Nodes, links, results and labels are numbered rows of columns, their names are bytes,
// and rows are found by their names through indexes. Nothing of it holds a pointer that
// the collector would have to follow.
//
// A label is an operation, one of its outputs, and a selector. It is kept once, with all
// links that name it. So most look-ups that find nothing end at the label: one access to
// an index. A digest in one of its usual forms is kept as 32 bytes.
//
// # Locks
//
// One lock guards everything. It is held for short times: what can be long is done in
// steps of a bounded size, between which the lock is free. Graph.Release says what that
// means for those who write meanwhile.
package keygraph

import (
	"errors"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// Link says by which operation one node leads to another: it stands for the
// operation's input number Input, seen through Selector.
type Link struct {
	Input, Output int
	Op, Selector  string
}

// Result is a stored result.
type Result struct {
	CreatedAt time.Time
	ID        string
}

// Errors of this package.
var (
	ErrEmptyID = errors.New("cache storage: empty id")
	ErrFull    = errors.New("cache storage: full")
	ErrRange   = errors.New("cache storage: the input of a link is out of range")
)

// node is a key. Row 0 of a column is none, here and below.
type node struct {
	name uint32
	// results is the newest entry; firstOut and firstIn begin lists of links. Outgoing
	// links that are equal but for their targets are neighbours.
	results, firstOut, firstIn uint32
	flags                      uint32
	number                     uint32 // in the journal
}

const (
	// used marks a row that is a node.
	used = 1 << iota
	// indexed marks a node whose outgoing links are in Graph.byLink.
	indexed
	// lost marks a node that has lost a result or a link, and that a release has yet to
	// look at. Whoever adds something to the node takes the mark away.
	lost
	// visited marks a node that the search for cycles has met.
	visited
)

// entry is a result as one node holds it.
type entry struct {
	node, name uint32
	next, prev uint32 // in the node's list
	// holder is the next entry for the same result; only where entries are indexed.
	holder            uint32
	secHi, secLo, nan uint32
}

// link is a link. It holds a reference to its label.
type link struct {
	from, to, label  uint32
	input            int32
	nextOut, prevOut uint32
	nextIn           uint32
}

// label is an operation, an output and a selector, while links refer to it.
type label struct {
	name, refs uint32
	number     uint32 // in the journal
}

// Graph is the graph. It may be used concurrently. Make it with New.
type Graph struct {
	// releasing is held over a release and over a dump, before mu.
	releasing sync.Mutex
	// mu guards what follows, and is never held over a callback.
	mu sync.Mutex

	names rows.Bytes
	nodes rows.Column[node]
	byID  rows.Index[uint32] // nodes
	// entries are the nodes' results. Those with a number below indexedTo are in
	// byResult, the first holder of each result. Nothing is indexed before it is asked
	// for.
	entries   rows.Column[entry]
	byResult  rows.Index[uint32]
	indexedTo uint32
	links     rows.Column[link]
	// byLink has the outgoing links of nodes with many: each link by all that it is, and
	// the first of those that are equal but for their targets by what they have in common.
	byLink  rows.Index[uint32]
	labels  rows.Column[label]
	byLabel rows.Index[uint32]

	// walks counts the walks under way: meanwhile no row is used again.
	walks int
	// credit pays for the search for cycles: see deadRegion.
	credit int
	// disturbed says that a node was added to that the search has visited.
	disturbed bool
	// work are the nodes that were marked as lost.
	work []uint32
	seed maphash.Seed
	salt uint64
	// journal is told of all changes; nil in memory.
	journal *Journal
}

// New returns an empty graph.
func New() *Graph { return &Graph{seed: maphash.MakeSeed(), salt: rand.Uint64() | 1} }

// stepRows is how many rows a call looks at before it gives the lock to others.
const stepRows = 256

// pause counts a step, and lets others have the lock after stepRows of them. It
// reports whether it did. Pointers to rows are not valid any more if so.
func (g *Graph) pause(steps *int) bool {
	if *steps++; *steps%stepRows != 0 {
		return false
	}
	g.yield()
	return true
}

func (g *Graph) yield() {
	g.mu.Unlock()
	runtime.Gosched()
	g.mu.Lock()
}

// name is a packed name with its hash.
type name struct {
	bytes []byte
	hash  uint32
}

func (g *Graph) hashed(b []byte) name { return name{b, uint32(maphash.Bytes(g.seed, b) >> 32)} }

// is reports whether the name at a place is n.
func (g *Graph) is(at uint32, n name) bool {
	b := g.names.From(at)
	return len(b) >= len(n.bytes) && string(b[:len(n.bytes)]) == string(n.bytes)
}

// nameAt returns the bytes of the packed name at a place.
func (g *Graph) nameAt(at uint32) []byte {
	b := g.names.From(at)
	return b[:packedLen(b)]
}

// labelAt returns the bytes of the label at a place.
func (g *Graph) labelAt(at uint32) []byte {
	b := g.names.From(at)
	return b[:labelLen(b)]
}

func (g *Graph) stringAt(at uint32) string {
	s, _ := unpack(g.names.From(at))
	return s
}

func (g *Graph) id(row uint32) string { return g.stringAt(g.nodes.At(row).name) }

// known returns the node of a name; 0 if there is none.
func (g *Graph) known(n name) uint32 {
	return g.byID.Find(n.hash, func(row uint32) bool { return g.is(g.nodes.At(row).name, n) })
}

// node returns the node of a name, and makes it if there is none. In any case it has
// gained something.
func (g *Graph) node(n name) uint32 {
	row := g.known(n)
	if row != 0 {
		g.touch(row)
		return row
	}
	row, r := g.nodes.Add(g.walks == 0)
	*r = node{name: g.names.Add(n.bytes), flags: used}
	g.byID.Insert(n.hash, row)
	g.journal.node(r, n.bytes)
	return row
}

// touch says that a node gains something: what it has lost before does not matter.
func (g *Graph) touch(row uint32) {
	r := g.nodes.At(row)
	if r.flags&visited != 0 {
		g.disturbed = true
	}
	r.flags &^= lost
}

// knownLabel returns the row of a label; 0 if there is none.
func (g *Graph) knownLabel(n name) uint32 {
	return g.byLabel.Find(n.hash, func(row uint32) bool { return g.is(g.labels.At(row).name, n) })
}

// label finds or makes the row of a label. It counts no reference.
func (g *Graph) label(n name) uint32 {
	row := g.knownLabel(n)
	if row != 0 {
		return row
	}
	row, r := g.labels.Add(g.walks == 0)
	r.name = g.names.Add(n.bytes)
	g.byLabel.Insert(n.hash, row)
	g.journal.label(r, n.bytes)
	return row
}

// releaseLabel gives up one reference to a label.
func (g *Graph) releaseLabel(row uint32) {
	r := g.labels.At(row)
	if r.refs--; r.refs > 0 {
		return
	}
	b := g.labelAt(r.name)
	g.byLabel.Remove(g.hashed(b).hash, row)
	g.names.Drop(r.name, len(b))
	g.labels.Remove(row, g.walks == 0)
}

// admit says why nothing can be added; nil if it can.
func (g *Graph) admit() error {
	if g.names.Full() || max(g.nodes.End(), g.links.End(), g.entries.End()) > math.MaxUint32-rows.ChunkRows {
		return ErrFull
	}
	return g.journal.admit()
}

// AddResult stores a result under a node, and makes the node.
func (g *Graph) AddResult(id string, res Result) error {
	if res.ID == "" {
		return ErrEmptyID
	}
	return g.Save(&Save{ID: id, Result: res})
}

// AddLink links two nodes, and makes both.
func (g *Graph) AddLink(id string, l Link, target string) error {
	return g.Save(&Save{ID: target, Op: l.Op, Output: l.Output, Sources: []Source{{Input: l.Input, ID: id, Selector: l.Selector}}})
}

// Source is a key that an input is known by, seen through a selector.
type Source struct {
	Input        int
	ID, Selector string
}

// Save is a key to be stored: a result under it, unless that has no ID, and the links
// that lead to it from the keys that its inputs are known by.
type Save struct {
	ID      string
	Result  Result
	Op      string
	Output  int
	Sources []Source
}

// Save stores a key. A node leads to something from its first moment on.
func (g *Graph) Save(s *Save) error {
	if s.ID == "" {
		return ErrEmptyID
	}
	for i := range s.Sources {
		if s.Sources[i].ID == "" {
			return ErrEmptyID
		}
		if s.Sources[i].Input != int(int32(s.Sources[i].Input)) {
			return ErrRange
		}
	}
	q := newQuery(g)
	defer q.free()
	for first := 0; first == 0 || first < len(s.Sources); first += stepRows {
		q.reset()
		id, result := q.name(s.ID), span{}
		if first == 0 && s.Result.ID != "" {
			result = q.name(s.Result.ID)
		}
		q.add(s.Op, s.Output, s.Sources[first:min(first+stepRows, len(s.Sources))])
		if err := q.save(id, result, s.Result.CreatedAt); err != nil {
			return err
		}
	}
	return nil
}

// save stores a key with its result, unless that is empty, and the sources.
func (q *query) save(id, result span, at time.Time) error {
	g := q.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.admit(); err != nil {
		return err
	}
	to := g.node(q.at(id))
	if result.to > 0 {
		g.addResult(to, q.at(result), at)
	}
	for i := range q.sources {
		s := &q.sources[i]
		g.addLink(link{from: g.node(q.at(s.id)), to: to, label: g.label(q.at(s.label)), input: s.input})
	}
	g.journal.endWrite()
	return nil
}
