package solver

import (
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// variants are the active vertices of one digest: what a request that may use
// caches is solved by, and what one that ignores them is. They share the op and
// its cache maps, nothing else.
type variants struct {
	normal, ignoring *vertex
}

// vertex is a vertex that some job holds. Unless a field says otherwise, it is
// guarded by Solver.mu.
type vertex struct {
	vtx    Vertex
	digest digest.Digest
	name   string
	inputs []*edgeState
	// weight is an option of who loaded it first.
	weight   int32
	ignore   bool
	released bool
	// caches begins with the default cache; the sources of all requests follow.
	// It grows, and is shared between vertices that have the same.
	caches *cacheSet

	op *opState // own, or the other variant's
	// exec is the execution that this vertex has started or waits for, also once
	// it is done; nil if none. The vertex counts in its holders.
	exec *execution
	// jobs are the slots of the jobs that hold the vertex. Without any it is
	// released.
	jobs bitset
	// rare is what few vertices have; nil until there is something. See more.
	rare *rareVertex

	first    edgeState // of whichever output was wanted first
	progress progress
	ownOp    opState

	inputsRoom [1]*edgeState // for inputs, where there is one
}

// rareVertex is the part of a vertex's state that one does without which has one
// output, builds nothing, succeeds, and is found or not by definition keys.
type rareVertex struct {
	// contents holds the content keys of the inputs; nil until one is asked for.
	contents []contentKey
	// subs are the vertices that the op built. Whoever holds this vertex holds them.
	subs       []*vertex
	others     []*edgeState // outputs beside the first
	exportable *bool        // the option of who loaded it first
	err        error        // why it failed
}

// noRareVertex is read in place of what is not there. It is never written to.
var noRareVertex rareVertex

// has reads the rare part of a vertex's state.
func (v *vertex) has() *rareVertex {
	if v.rare == nil {
		return &noRareVertex
	}
	return v.rare
}

// more returns the rare part of a vertex's state to be written to.
func (v *vertex) more() *rareVertex {
	if v.rare == nil {
		v.rare = &rareVertex{}
	}
	return v.rare
}

// content is the content key of an input; nil if it was not computed.
func (v *vertex) content(i int) *CacheKey {
	if v.rare == nil || v.rare.contents == nil {
		return nil
	}
	return v.rare.contents[i].key
}

// contents are the content keys of the inputs, to be written to.
func (v *vertex) contents() []contentKey {
	r := v.more()
	if r.contents == nil {
		r.contents = make([]contentKey, len(v.inputs))
	}
	return r.contents
}

// opState is an op and its cache maps, shared between the variants of a vertex.
// Guarded by Solver.mu.
type opState struct {
	op   Op
	call *mapCall // the CacheMap call under way; nil if none
	// first is the first of n cache maps, which were checked.
	first CacheMap
	n     int32
	done  bool // there are no more
	// rare is what few ops have; nil until there is something.
	rare *rareOp
	// root is the key of output 0 by the last cache map, until its edge takes it.
	root *CacheKey
	// vertices are the variants that use the op.
	vertices few[*vertex]
	builder  builder // the op's
}

// rareOp is the part of an op's state that only one has that fails, or has several
// cache maps.
type rareOp struct {
	err     error // the op could not be resolved, or CacheMap failed
	further []*CacheMap
}

// err is why an op cannot be used; nil if it can.
func (st *opState) err() error {
	if st.rare == nil {
		return nil
	}
	return st.rare.err
}

// mapAt is one of the op's cache maps.
func (st *opState) mapAt(i int32) *CacheMap {
	if i == 0 {
		return &st.first
	}
	return st.rare.further[i-1]
}

// more returns the rare part of an op's state to be written to.
func (st *opState) more() *rareOp {
	if st.rare == nil {
		st.rare = &rareOp{}
	}
	return st.rare
}

func (st *opState) addMap(m CacheMap) {
	if st.n == 0 {
		st.first = m
	} else {
		further := m // a copy, so that the first is not allocated
		st.more().further = append(st.more().further, &further)
	}
	st.n++
}

// contentKey is the content key of one input of a vertex. Guarded by Solver.mu.
type contentKey struct {
	key     *CacheKey
	failed  bool
	call    *digestCall // under way; nil if not
	waiting few[*edgeState]
}

// edgeState is what the driver knows of one output of a vertex. Guarded by
// Solver.mu.
type edgeState struct {
	// climb is nil once the edge has ended. Its fields are read as the edge's.
	*climb

	v     *vertex
	index Index

	// keys begins with the edge's definition key. Without inputs there is one for
	// each cache map; with inputs, keys that caches have for the edge follow. It
	// grows, and what is in it stays as it is.
	keys     []*CacheKey
	keysRoom [1]*CacheKey // for keys, where there is one

	// rare is what few edges have; nil until there is something. See more.
	rare *rareState

	// result is set when the edge is done. The vertex's execution, or the load,
	// holds it.
	result *SharedResult
	failed bool // for good; see failure
	// known is what was known when the edge ended.
	known edge.Level

	trace edgeTrace
}

// climb is what only an edge needs that has not ended.
type climb struct {
	m edge.Machine
	// epoch counts the machine's Abandons: an answer of an earlier one is void.
	epoch uint32
	// maps is how many of the op's cache maps the machine has been given.
	maps int32

	// waiters are the parents that wait for the edge to know more. demand counts
	// them, and the callers of Build, by level.
	waiters []waiter
	demand  [edge.Result + 1]int32

	// ins has an element for each input.
	ins  []inputState
	asks int32 // how many inputs have this edge as a waiter
	// rechecks is how often the caches were asked anew before running.
	rechecks uint8

	// asked is Solver.released as it was when the caches were first asked, or
	// asked anew; 0 before.
	asked uint64
	// joined is Solver.begun as it was when execs was last looked through.
	joined uint64
	exec   *execution // whose end is waited for

	// Room for what most edges have one of.
	insRoom     [1]inputState
	waitersRoom [1]waiter
}

// rareState is the part of an edge's state that is not needed to find nothing in
// caches that answer from memory, and to execute.
type rareState struct {
	requests []*request           // callers of Build
	err      error                // why the edge failed; nil if it was discarded
	saved    []ExportableCacheKey // the keys it was saved under, if not its execution's
	// found are keys that caches have for the edge; those before tried have no
	// record that can be loaded. candidates are records still to be tried.
	found      []foundKey
	tried      int
	candidates []candidate
	lookup     *lookupCall
	// toLookUp are inputs for the next look-up, while one is under way.
	toLookUp []probeItem
	// answers are the keys that managers found by one input, where looking them up
	// costs more than keeping them. Of the managers in tooMany they are not all.
	answers []answer
	tooMany edge.Managers
	load    *loading // waited for
	loaded  *loading // holds result
	save    *saveCall
	with    *vertex // whose execution gave the result
}

// noRare is read in place of what is not there. It is never written to.
var noRare rareState

// has reads the rare part of an edge's state.
func (e *edgeState) has() *rareState {
	if e.rare == nil {
		return &noRare
	}
	return e.rare
}

// more returns the rare part of an edge's state to be written to.
func (e *edgeState) more() *rareState {
	if e.rare == nil {
		e.rare = &rareState{}
	}
	return e.rare
}

// waiter is a parent that has asked an edge for something.
type waiter struct {
	parent *edgeState
	input  int32
	level  edge.Level
}

// inputState is what an edge has done about one of its inputs.
type inputState struct {
	slot    int32 // where it stands in the input's waiters; -1 if it does not
	probed  int32 // how many of the input's keys the caches were asked about
	matched edge.Managers
	content bool // the content key was asked about too
	asked   edge.Level
}

// answer is a key of an edge's operation to which one of its inputs leads in a
// cache.
type answer struct {
	manager int
	input   int32
	id      string
	key     *CacheKey // nil if the manager is of this package
}

// foundKey is a key that a cache has for an edge.
type foundKey struct {
	key     *CacheKey // as this build knows it
	theirs  *CacheKey // as the cache returned it
	manager int       // in the vertex's caches
}

// progress is what a vertex has to show. It is written by Solver.mu's holder
// unless a field says otherwise.
type progress struct {
	// started is when the op or a load began, in Unix nanoseconds; 0 before.
	started   atomic.Int64
	completed int64
	owner     uint64      // Job.serial of whom it was run or loaded for; 0 for nobody
	wanted    bool        // a result of it was wanted
	reported  bool        // a failure of a cache was
	outcome   outcomeCode // as its owner sees it
	// watched says that watchers is not empty.
	watched atomic.Bool
	journal *journal // what the op reported; guarded by Solver.watching
}

// outcomeCode is a client.Outcome in one byte; 0 while there is none.
type outcomeCode uint8

var outcomes = [...]client.Outcome{"", client.Executed, client.Cached, client.Shared, client.NotNeeded, client.Failed, client.Canceled}

func (c outcomeCode) name() client.Outcome { return outcomes[c] }

func codeOf(o client.Outcome) outcomeCode { return outcomeCode(slices.Index(outcomes[:], o)) }

// output returns the state of one of the vertex's outputs.
func (s *Solver) output(v *vertex, index Index) *edgeState {
	if v.first.v == nil {
		s.initEdge(&v.first, v, index)
		return &v.first
	}
	if v.first.index == index {
		return &v.first
	}
	for _, e := range v.has().others {
		if e.index == index {
			return e
		}
	}
	e := &edgeState{}
	s.initEdge(e, v, index)
	v.more().others = append(v.rare.others, e)
	return e
}

func (s *Solver) initEdge(e *edgeState, v *vertex, index Index) {
	e.climb, e.v, e.index = s.newClimb(), v, index
	managers := edge.Managers(0)
	if !v.ignore {
		managers = v.caches.mask()
	}
	e.m.Init(len(v.inputs), managers)
	e.waiters, e.keys = e.waitersRoom[:0], e.keysRoom[:0]
	switch n := len(v.inputs); n {
	case 0:
	case 1:
		e.ins = e.insRoom[:]
	default:
		e.ins = make([]inputState, n)
	}
	for i := range e.ins {
		e.ins[i].slot = -1
	}
	s.edges++
}

// edges visits the outputs of the vertex that somebody asked for.
func (v *vertex) edges(yield func(*edgeState) bool) {
	if v.first.v == nil || !yield(&v.first) {
		return
	}
	for _, e := range v.has().others {
		if !yield(e) {
			return
		}
	}
}

// settled reports whether the edge has ended, one way or the other.
func (e *edgeState) settled() bool { return e.result != nil || e.failed }

// failure is why an edge has failed; nil if it has not.
func (e *edgeState) failure() error {
	if err := e.has().err; err != nil || !e.failed {
		return err
	}
	return errDiscarded
}

func (e *edgeState) setFailed(err error) {
	e.failed, e.more().err = true, err
}

// savedKeys are the keys the edge's result was saved under.
func (e *edgeState) savedKeys() []ExportableCacheKey {
	if saved := e.has().saved; saved != nil || e.v.exec == nil {
		return saved
	}
	return e.v.exec.savedUnder(e.index)
}
