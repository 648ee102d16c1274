package solver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// Job is one caller's build, or several. It holds what it has loaded until it is
// discarded. Jobs share the vertices they have in common.
type Job struct {
	// SessionID is reachable, by SessionID(ctx), from the ops that run for the job.
	// To be set before the first Build.
	SessionID string
	// Priority is the job's share of the slots, relative to other jobs: 0 stands
	// for 1. To be set before the first Build.
	Priority int

	id     string
	serial uint64 // of all jobs of the solver, from 1
	s      *Solver
	slot   int // in Solver.slots

	// lines are the job's places in the queue; guarded by queue.mu.
	lines [lanes]line

	// Guarded by Solver.mu.
	vertices  []*vertex // kept when the job is discarded, for Trace
	requests  map[*request]struct{}
	failed    bool // a Build has returned an error
	discarded bool

	// watched says that watchers is, or was, not empty.
	watched atomic.Bool

	// What follows is guarded by Solver.watching.
	watchers []*watcher
	journal  []entry // what was reported to the job itself
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
	s.mu.Lock()
	defer s.unlock(true)
	if s.closed {
		return nil, errClosed
	}
	if s.jobs[id] != nil {
		return nil, fmt.Errorf("job %q exists already", id)
	}
	s.serial++
	j := &Job{serial: s.serial, id: id, s: s, requests: map[*request]struct{}{}}
	if n := len(s.free); n > 0 {
		j.slot = s.free[n-1]
		s.free = s.free[:n-1]
		s.slots[j.slot] = j
	} else {
		j.slot = len(s.slots)
		s.slots = append(s.slots, j)
	}
	for i := range j.lines {
		j.lines[i] = line{job: j, priority: 1, pos: -1}
	}
	s.jobs[id] = j
	if s.arrived != nil {
		close(s.arrived)
		s.arrived = nil
	}
	return j, nil
}

// getTimeout is how long Get waits for a job that is about to appear: calls that
// belong to one build may arrive in any order.
const getTimeout = 3 * time.Second

// Get returns an active job. It waits for one that is about to appear for about
// three seconds, and then returns an error.
func (s *Solver) Get(id string) (*Job, error) {
	timeout := time.NewTimer(getTimeout)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		j := s.jobs[id]
		if s.arrived == nil {
			s.arrived = make(chan struct{})
		}
		arrived := s.arrived
		s.unlock(true)
		if j != nil {
			return j, nil
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
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := newPlan(e)
	if err != nil {
		return nil, err
	}
	s := j.s
	s.mu.Lock()
	if j.discarded {
		s.unlock(true)
		return nil, errDiscarded
	}
	s.queue.setPriority(j)
	v, err := s.load(p, []*Job{j}, nil)
	if err != nil {
		s.unlock(true)
		return nil, err
	}
	r := s.request(v, e.Index)
	if !r.ended {
		j.requests[r] = struct{}{}
	}
	s.unlock(true)
	defer func() {
		s.mu.Lock()
		delete(j.requests, r)
		j.failed = j.failed || r.err != nil
		s.unlock(true)
	}()
	return s.await(ctx, r)
}

// request demands the result of an edge.
func (s *Solver) request(v *vertex, index Index) *request {
	e := s.output(v, index)
	r := &request{e: e, done: make(chan struct{})}
	if e.settled() {
		r.complete(e)
		return r
	}
	e.more().requests = append(e.rare.requests, r)
	s.addDemand(e, edge.Result, 1)
	return r
}

// await waits for a request to be met.
func (s *Solver) await(ctx context.Context, r *request) (CachedResult, error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		s.mu.Lock()
		s.withdraw(r, context.Cause(ctx))
		s.unlock(true)
	}
	return r.result, r.err
}

// withdraw ends a request that has not been met.
func (s *Solver) withdraw(r *request, err error) {
	if r.ended {
		return
	}
	e := r.e
	requests := e.rare.requests
	for i, o := range requests {
		if o == r {
			e.rare.requests = append(requests[:i:i], requests[i+1:]...)
			break
		}
	}
	s.addDemand(e, edge.Result, -1)
	r.end(nil, err)
}

func (r *request) complete(e *edgeState) {
	if e.failed {
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
	s.mu.Lock()
	if j.discarded {
		s.unlock(true)
		return nil
	}
	j.discarded = true
	for r := range j.requests {
		j.failed = j.failed || !r.ended || r.err != nil
		s.withdraw(r, errDiscarded)
	}
	s.turn(false) // what was only wanted by the job is abandoned
	s.endWatch(j)
	delete(s.jobs, j.id)
	for _, v := range j.vertices {
		v.jobs.remove(j.slot)
		if v.jobs.empty() {
			s.releaseAtLast(v)
		}
	}
	s.slots[j.slot] = nil
	s.free = append(s.free, j.slot)
	s.turn(false)
	trash := s.trash
	s.trash = nil
	s.unlock(true)
	return releaseAll(trash)
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

// SessionID returns the session of a job that ctx works for. For an op that
// several jobs share it is one that is alive; each call may find another.
// Without one it returns "".
func SessionID(ctx context.Context) string {
	if t := taskOf(ctx); t != nil {
		s := t.solver()
		s.mu.Lock()
		defer s.unlock(true)
		return sessionOf(s.jobsOf(t))
	}
	if b, ok := ctx.Value(builderKey{}).(*builder); ok {
		b.s.mu.Lock()
		defer b.s.unlock(true)
		return sessionOf(b.jobs(nil))
	}
	if j, ok := ctx.Value(jobKey{}).(*Job); ok {
		return j.SessionID
	}
	return ""
}

func sessionOf(jobs []*Job) string {
	for _, j := range jobs {
		if j.SessionID != "" {
			return j.SessionID
		}
	}
	return ""
}

// jobsOf are the jobs a call is made for.
func (s *Solver) jobsOf(t *task) []*Job {
	var vertices []*vertex
	t.vertices(func(v *vertex) { vertices = append(vertices, v) })
	return s.jobsHolding(vertices)
}

// jobsHolding are the jobs that hold any of some vertices.
func (s *Solver) jobsHolding(vertices []*vertex) []*Job {
	var set bitset
	for _, v := range vertices {
		for slot := range v.jobs.all {
			set.add(slot)
		}
	}
	var jobs []*Job
	for slot := range set.all {
		jobs = append(jobs, s.slots[slot])
	}
	return jobs
}

// Status sends what happens to the job's vertices to ch, beginning with all that
// has happened, until the job is discarded or ctx ends; then it closes ch. Many
// may listen. One that does not read delays nobody.
func (j *Job) Status(ctx context.Context, ch chan *client.SolveStatus) error {
	if ch == nil {
		return errors.New("no channel to send the status to")
	}
	return j.s.watch(ctx, j, ch)
}
