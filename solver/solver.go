package solver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// Solver provides a shared graph of all the vertices being solved. A vertex is
// loaded into a job first; ops are called, and progress is followed, through
// jobs.
type Solver struct {
	resolve  ResolveOpFunc
	defaults *cacheSet
	queue    queue

	// inbox is a stack of tasks that were run and wait to be taken back. Whoever
	// gives mu up looks at it once more.
	inbox atomic.Pointer[task]

	// mu guards the graph: everything below, and what belongs to vertices, edges,
	// executions, loads and jobs. It is taken with Lock and TryLock, and given up
	// with unlock. Code that is not the scheduler's is called under it only where
	// it answers from memory (MemoryAnswerer).
	mu          sync.Mutex
	vertices    table[*vertex] // by hashOf(digest)
	jobs        map[string]*Job
	serial      uint64 // of the newest job
	slots       []*Job // by the numbers in vertex.jobs; nil where free
	free        []int
	orphans     [lanes]line   // for work whose jobs have gone
	spare       []vertex      // room for vertices to come
	spareClimbs []climb       // and for their edges
	arrived     chan struct{} // closed when a job appears; nil if nobody waits
	closed      bool

	todo    []step        // what is to be done in this turn, last first
	effects []edge.Effect // room for what one step asks
	ready   []place       // to be put into the queue when the turn ends
	trash   []releaser    // to be released when the turn ends

	// execs are the executions that an edge with an equal key may share, by hashOf
	// every name the edge is known by; of edges that may use caches, and of those
	// that ignore them.
	execs [2]table[*execution]
	loads map[loadName]*loading
	// begun counts the executions that were put into execs.
	begun uint64
	// released counts, from 1, the executions that were taken out of execs: a cache
	// may have their results since. ended says, by the hash of a name, when the last
	// one that had it was: names that share a place there only cost a look-up.
	released uint64
	ended    [1024]uint64

	edges  int // of active vertices
	visits uint64
	calls  [3]uint64 // CacheMap, Exec, loads

	// watching guards who watches what, and what ops report. It may be taken with
	// mu held, not the other way round.
	watching sync.Mutex
}

// NewSolver returns a solver. It has no goroutine of its own while nothing is
// being solved.
func NewSolver(opt SolverOpt) *Solver {
	if opt.DefaultCache == nil {
		opt.DefaultCache = NewInMemoryCacheManager()
	}
	if opt.Parallelism <= 0 {
		opt.Parallelism = DefaultParallelism()
	}
	s := &Solver{
		resolve:  opt.ResolveOpFunc,
		defaults: newCacheSet(opt.DefaultCache),
		jobs:     map[string]*Job{},
		loads:    map[loadName]*loading{},
		released: 1,
	}
	for i := range s.orphans {
		s.orphans[i] = line{priority: 1, pos: -1}
	}
	s.queue.init(opt.Parallelism, s.runWorker)
	return s
}

// errClosed is what a closed solver answers.
var errClosed = errors.New("the solver is closed")

// Close cancels what is being solved, discards all jobs, and waits until every
// op that was running has returned. Later calls of NewJob return an error.
func (s *Solver) Close() {
	s.mu.Lock()
	s.closed = true
	var jobs []*Job
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	s.unlock(true)
	for _, j := range jobs {
		j.Discard()
	}
	s.queue.wait()
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
	s.mu.Lock()
	defer s.unlock(true)
	st := Stats{Jobs: len(s.jobs), Vertices: s.vertices.n, Edges: s.edges, Visits: s.visits, CacheMaps: s.calls[0], Execs: s.calls[1], Loads: s.calls[2]}
	return st
}

// flushEvery is how many tasks a turn collects before workers are given them,
// so that a long turn does not keep them waiting.
const flushEvery = 256

// maxIdle is how much room for steps is kept for later turns.
const maxIdle = 4096

// unlock ends the turn of whoever holds the graph: it does all there is to do,
// gives mu up, and releases what is not needed any more. A caller that does not
// take tasks itself passes starts, so that a worker is started for them.
func (s *Solver) unlock(starts bool) {
	var trash []releaser
	defer func() { releaseAll(trash) }() // when nobody waits for the caller any more
	for {
		s.turn(!starts)
		ready := s.ready
		trash = append(trash, s.trash...)
		s.trash = nil
		if len(ready) > 0 {
			s.queue.push(ready, starts)
			clear(ready)
			s.ready = ready[:0]
		}
		s.mu.Unlock()
		if s.inbox.Load() == nil {
			return
		}
		if starts {
			s.queue.visit()
			return
		}
		if !s.mu.TryLock() {
			return
		}
	}
}

// turn works until there is nothing to do. Only workers take back what was run:
// they have what they need at hand.
func (s *Solver) turn(worker bool) {
	var back *task // tasks to be taken back
	for {
		for len(s.todo) > 0 {
			last := len(s.todo) - 1
			st := s.todo[last]
			s.todo = s.todo[:last]
			s.perform(st)
			if len(s.ready) >= flushEvery {
				s.queue.push(s.ready, true)
				clear(s.ready)
				s.ready = s.ready[:0]
			}
		}
		if back == nil && worker {
			back = s.inbox.Swap(nil)
		}
		if back == nil {
			if cap(s.todo) > maxIdle {
				s.todo = nil
			}
			return
		}
		// One, and what follows from it, while what it is about is at hand.
		t := back
		back, t.next = t.next, nil
		s.takeBack(t)
	}
}

// takeBack takes a finished task into the graph. A fault there fails the edges
// that the task was for.
func (s *Solver) takeBack(t *task) {
	defer s.containTask(t)
	t.work.done()
}

// releaser is a hold on a result.
type releaser interface{ Release(context.Context) error }

// releaseAll releases what nobody needs any more.
func releaseAll(holds []releaser) error {
	var errs []error
	for _, r := range holds {
		if err := release(r); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func release(r releaser) (err error) {
	defer recovered("Release", &err)
	return r.Release(context.Background())
}
