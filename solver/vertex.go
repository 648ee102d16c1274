package solver

import (
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// vertex is what the solver knows of an active vertex: a row of Solver.vertices. There
// are several of one digest where requests differ in what ignores caches. Unless a
// field says otherwise, it is guarded by Solver.mu.
type vertex struct {
	id graph.Vertex
	// weight is an option of who loaded it first.
	weight int32
	// ignore: caches are not read for it. fresh: that, or an input is fresh. The
	// definition key of what is fresh leads nowhere: a cache knows it from another time.
	ignore, fresh bool
	// serial tells it apart from others, if it is fresh.
	serial uint64
	// op is shared by the vertices of one digest.
	op *opState
	// caches begins with the default cache; the sources of all requests follow.
	// It grows, and is shared between vertices that have the same.
	caches *cacheSet
	// run is the run of an op that this vertex has started or waits for, also once it
	// is done; nil if none.
	run *run
	// extra is what few vertices have; nil until there is something. See needExtra.
	extra    *vertexExtra
	progress progress
}

// vertexExtra is state that few vertices need: those that fail, whose op builds something,
// or whose inputs have content keys.
type vertexExtra struct {
	// contents holds the content keys of the inputs; nil until one is asked for.
	contents []contentKey
	// subs are the vertices that the op built outside of a run, as in CacheMap, or in a run
	// that was given up. Each counts this vertex in its refs.
	subs       []graph.Vertex
	isSub      map[graph.Vertex]struct{}
	exportable *bool // the option of who loaded it first
	err        error // why it failed
}

// noVertexExtra is read in place of what is not there. It is never written to.
var noVertexExtra vertexExtra

// readExtra reads the extra part of a vertex's state.
func (v *vertex) readExtra() *vertexExtra {
	if v.extra == nil {
		return &noVertexExtra
	}
	return v.extra
}

// needExtra returns the extra part of a vertex's state to be written to.
func (v *vertex) needExtra() *vertexExtra {
	if v.extra == nil {
		v.extra = &vertexExtra{}
	}
	return v.extra
}

// content is the content key of an input; nil if it was not computed.
func (v *vertex) content(i int) *CacheKey {
	if v.extra == nil || v.extra.contents == nil {
		return nil
	}
	return v.extra.contents[i].key
}

// contents are the content keys of the inputs, to be written to.
func (v *vertex) contents() []contentKey {
	r := v.needExtra()
	if r.contents == nil {
		r.contents = make([]contentKey, len(v.op.first.Deps))
	}
	return r.contents
}

// opState is an op and its cache maps. It outlives its vertices where an op goes on
// reporting. Guarded by Solver.mu.
type opState struct {
	builder builder // the op's
	vtx     Vertex
	digest  digest.Digest
	name    string

	op   Op
	call *mapCall // the CacheMap call under way; nil if none
	// first is the first of n cache maps, which were checked.
	first CacheMap
	n     int32
	done  bool // there are no more
	// extra is what few ops have; nil until there is something.
	extra *opExtra
	// root is the key of output 0 by the last cache map, until its edge takes it.
	root *CacheKey
	// vertices are the active ones that use the op.
	vertices shortList[*vertex]

	// watched says that somebody follows what the op reports.
	watched atomic.Bool
	// journal is what the op has reported; forgotten says that nobody will ask for it
	// any more. Guarded by Solver.watching.
	journal   *journal
	forgotten bool
}

// opExtra is state that few ops need: those that fail, or have several cache maps
// or aliases.
type opExtra struct {
	err     error // the op could not be resolved, or CacheMap failed
	further []*CacheMap
	aliases map[int32]*Aliases // by the number of the cache map
}

// err is why an op cannot be used; nil if it can.
func (st *opState) err() error {
	if st.extra == nil {
		return nil
	}
	return st.extra.err
}

// mapAt is one of the op's cache maps.
func (st *opState) mapAt(i int32) *CacheMap {
	if i == 0 {
		return &st.first
	}
	return st.extra.further[i-1]
}

// needExtra returns the extra part of an op's state to be written to.
func (st *opState) needExtra() *opExtra {
	if st.extra == nil {
		st.extra = &opExtra{}
	}
	return st.extra
}

func (st *opState) addMap(m CacheMap) {
	if st.n == 0 {
		st.first = m
	} else {
		further := m // a copy, so that the first is not allocated
		st.needExtra().further = append(st.needExtra().further, &further)
	}
	st.n++
}

// contentKey is the content key of one input of a vertex. Guarded by Solver.mu.
type contentKey struct {
	key     *CacheKey
	of      *SharedResult // that key was computed from
	call    *digestCall   // under way; nil if not
	waiting shortList[*edgeState]
}

// edgeState is what the solver knows of one output of a vertex: a row of
// Solver.edges. Guarded by Solver.mu.
type edgeState struct {
	id    graph.Edge
	index Index
	v     *vertex

	// keys begins with the key by definition. Without inputs there is one for each cache
	// map; with inputs, keys follow that caches have found for the edge. It grows, and what
	// is in it stays as it is.
	keys []*CacheKey
	defs int32 // keys by definition

	// maps is how many of the op's cache maps the machine has been given.
	maps int32
	// rechecks is how often the caches were asked anew before running, rewinds how often
	// the op ran again for a result that was lost.
	rechecks, rewinds uint8
	// uncached: no cache is asked any more, for one has handed out what was lost.
	uncached bool

	// asked is Solver.released as it was when the caches were first asked, or
	// asked anew; 0 before.
	asked uint64
	// joined is Solver.begun as it was when runs was last looked through.
	joined uint64
	run    *run // whose end is waited for

	// extra is what few edges have; nil until there is something. See needExtra.
	extra *edgeExtra
	// result is set when the edge is done. The vertex's run, or the load, holds it.
	result *SharedResult
	trace  edgeTrace
}

// edgeExtra is state that an edge needs once a caller waits for it, a cache knows its key,
// or a cache is asked that does not answer from memory.
type edgeExtra struct {
	requests []*request           // callers of Build
	err      error                // why the edge failed; nil if it was discarded
	saved    []ExportableCacheKey // the keys it was saved under, if not its run's
	// found are keys that caches have for the edge, known by name; those before tried
	// have no record that can be loaded.
	found []foundKey
	known map[foundName]struct{}
	tried int
	// linked counts those of found that the default cache was told of: see linkBelow.
	linked int
	// learned are the IDs of the keys that those above may look up.
	learned map[string]struct{}
	// candidates are records still to be tried, of the keys that were found.
	candidates []candidate
	// lookups are the calls under way to caches that do not answer from memory; asking
	// is what they are to find out together.
	lookups []*lookupCall
	asking  *asking
	// answers are the keys that managers that are not of this package found by one input.
	answers []answer
	load    *loading // waited for
	loaded  *loading // holds result
	save    *saveCall
	with    digest.Digest // of the vertex whose run gave the result
}

// noEdgeExtra is read in place of what is not there. It is never written to.
var noEdgeExtra edgeExtra

// readExtra reads the extra part of an edge's state.
func (e *edgeState) readExtra() *edgeExtra {
	if e.extra == nil {
		return &noEdgeExtra
	}
	return e.extra
}

// needExtra returns the extra part of an edge's state to be written to.
func (e *edgeState) needExtra() *edgeExtra {
	if e.extra == nil {
		e.extra = &edgeExtra{}
	}
	return e.extra
}

// lookups are the keys of an edge that may be looked up by those above.
func (e *edgeState) lookups() []*CacheKey {
	from := 0
	if e.v.fresh {
		from = int(e.defs)
	}
	return e.keys[from:len(e.keys):len(e.keys)]
}

// learn adds a key to those that an edge is known by.
func (s *Solver) learn(e *edgeState, key *CacheKey) {
	e.keys = append(e.keys, key)
	s.g.SetKeys(e.id, len(e.lookups()))
}

// answer is a key of an edge's operation to which one of its inputs leads in a
// cache.
type answer struct {
	manager int
	input   int32
	key     *CacheKey
}

// foundKey is a key that a cache has for an edge.
type foundKey struct {
	key     *CacheKey // as this build knows it
	theirs  *CacheKey // as the cache returned it
	manager int       // in the vertex's caches
}

// foundName tells keys that were found apart.
type foundName struct {
	manager int
	id      string
}

// progress is what a vertex has to show. It is written by Solver.mu's holder
// unless a field says otherwise.
type progress struct {
	// started is when the op or a load began, in Unix nanoseconds; 0 before.
	started   atomic.Int64
	completed int64
	owner     uint64      // Job.serial of whom it was run for; 0 for nobody
	wanted    bool        // a result of it was wanted
	reported  bool        // a failure of a cache was
	lost      bool        // a result is lost, and nothing was begun to make it again
	remaking  bool        // that was begun
	outcome   outcomeCode // as its owner sees it
}

// outcomeCode is a client.Outcome in one byte; 0 while there is none.
type outcomeCode uint8

var outcomes = [...]client.Outcome{"", client.Executed, client.Cached, client.Shared, client.NotNeeded, client.Failed, client.Canceled}

func (c outcomeCode) name() client.Outcome { return outcomes[c] }

func codeOf(o client.Outcome) outcomeCode { return outcomeCode(slices.Index(outcomes[:], o)) }

// output returns the state of one of the vertex's outputs.
func (s *Solver) output(v *vertex, index Index) *edgeState {
	id, fresh := s.g.Output(v.id, int(index), v.managers())
	e := s.edge(id)
	if fresh {
		e.id, e.v, e.index = id, v, index
	}
	return e
}

// managers are the caches that a machine may ask.
func (v *vertex) managers() edge.Caches {
	if v.ignore {
		return edge.Caches{}
	}
	return v.caches.among(v.caches.mask())
}

// failure is why an edge has failed.
func (e *edgeState) failure() error {
	if err := e.readExtra().err; err != nil {
		return err
	}
	return errDiscarded
}

// built visits the vertices that a vertex's op, and the run it uses, have built.
func (v *vertex) built(yield func(graph.Vertex) bool) {
	for _, sub := range v.readExtra().subs {
		if !yield(sub) {
			return
		}
	}
	if v.run == nil {
		return
	}
	for _, sub := range v.run.readExtra().subs {
		if !yield(sub) {
			return
		}
	}
}

// savedKeys are the keys the edge's result was saved under.
func (e *edgeState) savedKeys() []ExportableCacheKey {
	if saved := e.readExtra().saved; saved != nil || e.v.run == nil {
		return saved
	}
	return e.v.run.savedUnder(e.index)
}
