package solver

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/graph"
	"github.com/tenonbuild/tenon/solver/internal/slots"
)

// Job is one caller's build, or several. It holds what it has loaded until it is
// discarded. Jobs share the vertices they have in common.
type Job struct {
	// SessionID is reachable, by SessionID(ctx) and SessionIDs(ctx), from the ops that run
	// for the job. To be set before the first Build.
	SessionID string
	// Priority is the job's share of the slots, relative to other jobs: 0 stands
	// for 1. To be set before the first Build.
	Priority int

	id     string
	serial uint64 // of all jobs of the solver, from 1
	s      *Solver
	number int // that the graph knows it by
	client slots.Client

	// Guarded by Solver.mu.
	held *held
	// gone is closed once Discard has given everything up, but for releasing it.
	gone      chan struct{}
	trash     []releaser // what Discard is to release
	requests  map[*request]struct{}
	failed    bool // a Build has returned an error
	discarded bool

	// watched says that watchers is, or was, not empty.
	watched atomic.Bool

	// What follows is guarded by Solver.watching.
	watchers []*watcher
	journal  journal // what was reported to the job itself
	ended    bool

	steps atomic.Uint64 // how often Begin was called

	// valuesMu guards values.
	valuesMu sync.Mutex
	values   map[string][]any
}

// request is a caller waiting in Build. Guarded by Solver.mu until done is closed.
type request struct {
	e      *edgeState
	done   chan struct{}
	result CachedResult
	err    error
	ended  bool
}

// NewJob starts a job. Its id must not be that of another job that is active.
func (s *Solver) NewJob(id string) (*Job, error) {
	if s.queue == nil {
		return nil, errNoSolver
	}
	s.lock()
	defer s.unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.jobs[id] != nil {
		return nil, fmt.Errorf("job %q exists already", id)
	}
	s.serial++
	j := &Job{serial: s.serial, id: id, s: s, requests: map[*request]struct{}{}, held: &held{}, gone: make(chan struct{})}
	j.client.Of = j
	if n := len(s.free); n > 0 {
		j.number = s.free[n-1]
		s.free = s.free[:n-1]
		s.numbers[j.number] = j
	} else {
		j.number = len(s.numbers)
		s.numbers = append(s.numbers, j)
	}
	s.jobs[id] = j
	s.announce()
	// What its vertices have to tell can be asked for as long as there is the job.
	runtime.AddCleanup(j, s.unpin, j.held)
	return j, nil
}

// held are the vertices that a job has held, in the order in which it took them: inputs
// before what uses them, mostly. They are pinned. It may hold them no more.
type held struct{ vertices []graph.Vertex }

// unpin gives up the vertices of a job that nobody knows any more.
func (s *Solver) unpin(h *held) {
	for len(h.vertices) > 0 {
		n := min(loadSteps, len(h.vertices))
		s.lock()
		for _, v := range h.vertices[:n] {
			s.g.Unpin(v)
		}
		s.unlock()
		h.vertices = h.vertices[n:]
	}
}

// announce wakes those who wait for a job to appear.
func (s *Solver) announce() {
	if s.arrived != nil {
		close(s.arrived)
		s.arrived = nil
	}
}

// getTimeout is how long Get waits for a job that is about to appear: calls that
// belong to one build may arrive in any order.
const getTimeout = 3 * time.Second

// Get returns an active job. It waits for one that is about to appear for about
// three seconds, and then returns an error.
func (s *Solver) Get(id string) (*Job, error) {
	if s.queue == nil {
		return nil, errNoSolver
	}
	timeout := time.NewTimer(getTimeout)
	defer timeout.Stop()
	for {
		s.lock()
		j, closed := s.jobs[id], s.closed
		if s.arrived == nil {
			s.arrived = make(chan struct{})
		}
		arrived := s.arrived
		s.unlock()
		switch {
		case j != nil:
			return j, nil
		case closed:
			return nil, errClosed
		}
		select {
		case <-arrived:
		case <-timeout.C:
			return nil, fmt.Errorf("no such job: %q", id)
		}
	}
}

// Build solves an edge. It loads the vertex and everything below it into the
// shared graph, where they stay until the job is discarded. The result becomes
// the caller's, who releases it. An error of an op comes as a *VertexError, or
// wraps one. When ctx ends, Build returns its cause at once; what others wait for
// goes on.
func (j *Job) Build(ctx context.Context, e Edge) (CachedResult, error) {
	if j.s == nil {
		return nil, errNoJob
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := newPlan(e)
	if err != nil {
		return nil, err
	}
	s := j.s
	v, err := s.load(p, j.self, nil)
	if err != nil {
		return nil, err
	}
	if j.discarded {
		s.g.Unref(v.id)
		s.unlock()
		return nil, errDiscarded
	}
	r := s.request(v, e.Index)
	if !r.ended {
		j.requests[r] = struct{}{}
	}
	s.g.Unref(v.id)
	s.unlock()
	defer func() {
		s.lock()
		delete(j.requests, r)
		j.failed = j.failed || r.err != nil
		s.unlock()
	}()
	return s.await(ctx, r, nil)
}

// self is the job as what holds its vertices; nobody once it was discarded.
func (j *Job) self() []*Job {
	if j.discarded {
		return nil
	}
	j.s.queue.SetPriority(&j.client, j.Priority)
	return []*Job{j}
}

// request demands the result of an edge.
func (s *Solver) request(v *vertex, index Index) *request {
	e := s.output(v, index)
	r := &request{e: e, done: make(chan struct{})}
	if s.g.StateOf(e.id) == graph.Done && s.isLost(e.result) && !s.lose(e.id, e.result) {
		r.end(nil, v.wrap(fmt.Errorf("the result is lost: %w", e.lostBy())))
		return r
	}
	if s.g.StateOf(e.id) != graph.Open {
		r.complete(e)
		return r
	}
	e.needExtra().requests = append(e.extra.requests, r)
	s.g.Demand(e.id, 1)
	return r
}

// await waits for a request to be met, until ctx ends or left is closed.
func (s *Solver) await(ctx context.Context, r *request, left <-chan struct{}) (CachedResult, error) {
	var err error
	select {
	case <-r.done:
		return r.result, r.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-left:
		err = context.Canceled
	}
	s.lock()
	s.withdraw(r, err)
	s.unlock()
	return r.result, r.err
}

// withdraw ends a request that has not been met.
func (s *Solver) withdraw(r *request, err error) {
	if r.ended {
		return
	}
	e := r.e
	requests := e.extra.requests
	for i, o := range requests {
		if o == r {
			e.extra.requests = append(requests[:i:i], requests[i+1:]...)
			break
		}
	}
	s.g.Demand(e.id, -1)
	r.end(nil, err)
}

func (r *request) complete(e *edgeState) {
	if e.result == nil {
		r.end(nil, e.failure())
		return
	}
	r.end(NewCachedResult(e.result.Clone(), e.savedKeys()), nil)
}

func (r *request) end(result CachedResult, err error) {
	r.ended = true
	r.result, r.err = result, err
	close(r.done)
}

// Discard gives up all that the job holds. Builds of the job that are under way
// return an error; those of other jobs are not disturbed. It may be repeated. An
// error is one of a Result's Release.
func (j *Job) Discard() error {
	s := j.s
	if s == nil {
		return nil
	}
	s.lock()
	if j.discarded {
		s.unlock()
		<-j.gone
		return nil
	}
	j.discarded = true
	for r := range j.requests {
		j.failed = j.failed || !r.ended || r.err != nil
		s.withdraw(r, errDiscarded)
	}
	delete(s.jobs, j.id)
	s.pause() // what was only wanted by the job is abandoned
	s.endWatch(j, s.pause)
	for n, v := range slices.Backward(j.held.vertices) {
		s.g.Unhold(v, j.number)
		if n%loadSteps == 0 {
			s.pause()
		}
	}
	for n := len(j.held.vertices); n > 0 && s.g.Dying(); n -= loadSteps {
		s.pause()
	}
	s.numbers[j.number] = nil
	s.free = append(s.free, j.number)
	s.unlock()
	close(j.gone)
	return releaseAll(j.trash) // last: a Release may end the goroutine
}

// SetValue keeps a value with the job, beside those of the same key.
func (j *Job) SetValue(key string, v interface{}) {
	j.valuesMu.Lock()
	defer j.valuesMu.Unlock()
	if j.values == nil {
		j.values = map[string][]any{}
	}
	j.values[key] = append(j.values[key], v)
}

// EachValue visits the job's values of a key in the order they were set. An
// error of fn, or the end of ctx, ends the walk and is returned.
func (j *Job) EachValue(ctx context.Context, key string, fn func(interface{}) error) error {
	j.valuesMu.Lock()
	values := append([]any(nil), j.values[key]...)
	j.valuesMu.Unlock()
	for _, v := range values {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

// Context returns a context by which code that is not an op's reports progress to
// the job's stream (ProgressFrom) and finds its session (SessionID).
func (j *Job) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, jobKey{}, j)
}

type jobKey struct{}

// Status sends what happens to the job's vertices to ch, beginning with all that
// has happened, until the job is discarded or ctx ends; then it closes ch. Called
// after Discard it tells how the vertices ended, without their logs, which are freed with
// the job. Of what a vertex logs, 2 MiB are kept for who joins late. Many
// may listen. One that does not read delays nobody.
func (j *Job) Status(ctx context.Context, ch chan *client.SolveStatus) error {
	if j.s == nil {
		if ch != nil {
			close(ch)
		}
		return errNoJob
	}
	if ch == nil {
		return errors.New("no channel to send the status to")
	}
	return j.s.watch(ctx, j, ch)
}
