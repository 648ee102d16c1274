package solver

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/solver/internal/graph"
	"github.com/tenonbuild/tenon/solver/internal/rows"
	"github.com/tenonbuild/tenon/solver/internal/slots"
)

// Solver provides a shared graph of all the vertices being solved. A vertex is
// loaded into a job first; ops are called, and progress is followed, through
// jobs.
type Solver struct {
	resolve  ResolveOpFunc
	defaults *cacheSet
	// patience is how long a cache that does not answer from memory may take.
	patience time.Duration
	queue    *slots.Queue
	// ops are the slots of SolverOpt.Parallelism; light those of the calls that take no
	// such slot: CacheMap, look-ups, loads, digests, saves. Releases have slots of their own,
	// which a Release that hangs keeps.
	ops, light, releases *slots.Lane

	// inbox is a stack of tasks that were run and wait to be taken back. Whoever
	// gives mu up looks at it once more.
	inbox atomic.Pointer[task]
	// backlog says that the graph has steps to take.
	backlog atomic.Bool
	// visitor is a worker that is sent to take a turn in the graph.
	visitor atomic.Int32
	// waiting counts who waits for mu.
	waiting atomic.Int32

	// mu guards everything below, and what belongs to vertices, edges, runs, loads and
	// jobs. It is taken with lock, and given up with unlock, after a bounded number of
	// steps. Code that is not the scheduler's is called under it only where it answers
	// from memory (MemoryAnswerer).
	mu       sync.Mutex
	g        *graph.Graph
	vertices graph.VertexColumn[vertex]
	edges    graph.EdgeColumn[edgeState]
	index    rows.Index[graph.Vertex] // of the active vertices, by rows.Hash(digest)
	jobs     map[string]*Job
	serial   uint64 // of the newest job
	numbers  []*Job // by the numbers that the graph knows jobs by; nil where free
	free     []int
	sources  map[string]*source // that were asked last, by ID
	orphans  slots.Client       // for work whose jobs have gone
	arrived  chan struct{}      // closed when a job appears; nil if nobody waits
	closed   bool

	holds []pendingHold       // what jobs are to hold
	back  graph.Rounds[*task] // tasks to be taken back, by job
	turns uint64
	ready []slots.Place // to be put into the queue when the turn ends
	trash []releaser    // to be released by a call, when the turn ends

	// runs are those that an edge with an equal key may share, by the rows.Hash of every name the
	// edge is known by: of edges that may use caches, and of those that do not.
	runs  [2]rows.Index[*run]
	loads map[loadName]*loading
	// begun counts the runs that were put into runs.
	begun uint64
	// released counts, from 1, the runs that were taken out: a cache may have their
	// results since. ended says, by the hash of a name, when the last one that had it
	// was: names that share a place there only cost a look-up.
	released uint64
	ended    [1024]uint64

	anyLost   bool      // a result was lost, at some time
	calls     [3]uint64 // CacheMap, Exec, loads
	freshOnes uint64    // vertices that were fresh

	// watching guards who watches what, and what ops report. It may be taken with
	// mu held, not the other way round.
	watching sync.Mutex
}

// NewSolver returns a solver. It has no goroutine of its own while nothing is
// being solved.
func NewSolver(opt SolverOpt) *Solver {
	if isNil(opt.DefaultCache) {
		opt.DefaultCache = NewInMemoryCacheManager()
	}
	if opt.Parallelism <= 0 {
		opt.Parallelism = DefaultParallelism()
	}
	if opt.CachePatience <= 0 {
		opt.CachePatience = DefaultCachePatience
	}
	s := &Solver{
		resolve:  opt.ResolveOpFunc,
		patience: opt.CachePatience,
		ops:      slots.NewLane(opt.Parallelism, false),
		light:    slots.NewLane(opt.Parallelism, true),
		releases: slots.NewLane(DefaultParallelism(), false),
		jobs:     map[string]*Job{},
		loads:    map[loadName]*loading{},
		released: 1,
	}
	s.defaults = setOf([]*source{s.source(opt.DefaultCache)})
	s.queue = slots.New(s.runWorker)
	s.g = graph.New((*host)(s))
	s.vertices.AddTo(s.g)
	s.edges.AddTo(s.g)
	return s
}

// errClosed is what a closed solver answers.
var errClosed = errors.New("the solver is closed")

// What zero values answer.
var (
	errNoSolver = errors.New("the Solver was not made by NewSolver")
	errNoJob    = errors.New("the Job was not made by NewJob")
)

// Close cancels what is being solved, discards all jobs, and waits until every
// op that was running has returned, and every result is saved, or its cache is left out: see
// SolverOpt.CachePatience. It does not wait for look-ups in caches, nor for what is loaded
// from other caches than the default one. Later calls of NewJob and Get return an error.
func (s *Solver) Close() {
	if s.queue == nil {
		return
	}
	s.lock()
	s.closed = true
	s.announce()
	var jobs []*Job
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	s.unlock()
	for _, j := range jobs {
		j.Discard() //nolint:errcheck // there is nobody to tell
	}
	s.queue.Wait()
}

// Stats are counters of a solver.
type Stats struct {
	// Jobs, Vertices and Edges are how many are active. A vertex counts twice
	// where one request ignores caches and another does not.
	Jobs, Vertices, Edges int
	// Visits counts the steps edges have taken since the start.
	Visits uint64
	// CacheMaps, Execs and Loads count the calls since the start.
	CacheMaps, Execs, Loads uint64
}

// Stats returns the counters as they are now.
func (s *Solver) Stats() Stats {
	if s.queue == nil {
		return Stats{}
	}
	s.lock()
	defer s.unlock()
	st := Stats{Jobs: len(s.jobs), CacheMaps: s.calls[0], Execs: s.calls[1], Loads: s.calls[2]}
	st.Vertices, st.Edges, st.Visits = s.g.Stats()
	return st
}
