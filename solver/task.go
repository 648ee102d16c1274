package solver

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// work is one kind of call into code that is not the scheduler's: an op, a
// cache, a digest function.
type work interface {
	// do makes the call, on a worker, without any lock.
	do(ctx context.Context)
	// done takes what came of it into the graph. The solver's lock is held. It is
	// not called for a task that was dropped before it began.
	done()
}

// task is one call that waits for a slot, runs, and is taken back into the graph.
type task struct {
	work work
	// v is the vertex whose op or edge the call is for; sharers are further
	// vertices that wait for it. Guarded by Solver.mu.
	solver  *Solver // set when it is enqueued
	v       *vertex
	sharers []*vertex
	lines   []*line  // where push puts it
	room    [1]*line // for lines, where there is one
	// dropped: nobody waits for it any more. Guarded by Solver.mu.
	dropped bool
	lane    lane
	weight  int32

	// owner is the job in whose turn the task was taken; set before do.
	owner *Job

	// The queue's part, guarded by queue.mu.
	queued  bool          // it is to be run
	line    *line         // whose slot it has; nil without one
	resumed chan struct{} // this is a place in line for an op that goes on

	next *task // in Solver.inbox
	ctx  taskContext
}

// taskContext is the context of a task. It is cancelled when the last one who
// waits has gone. It carries no values but the task itself.
type taskContext struct {
	t *task

	// mu guards what follows.
	mu    sync.Mutex
	ended chan struct{} // made when somebody asks
	err   error
	after map[*func()]struct{}
}

type taskKey struct{}

func (c *taskContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *taskContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = make(chan struct{})
		if c.err != nil {
			close(c.ended)
		}
	}
	return c.ended
}

func (c *taskContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *taskContext) Value(key any) any {
	if key == (taskKey{}) {
		return c.t
	}
	return nil
}

// AfterFunc lets package context derive contexts without a goroutine each.
func (c *taskContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		return context.AfterFunc(ended, f)
	}
	if c.after == nil {
		c.after = map[*func()]struct{}{}
	}
	c.after[&f] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.after[&f]
		delete(c.after, &f)
		return ok
	}
}

func (c *taskContext) cancel() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = context.Canceled
	if c.ended != nil {
		close(c.ended)
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for f := range after {
		(*f)()
	}
}

// taskOf returns the task in whose call ctx was handed out; nil if there is none.
func taskOf(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

// init prepares a task for a call made for v.
func (t *task) init(w work, v *vertex, ln lane, weight int) {
	t.work, t.v, t.lane, t.weight = w, v, ln, int32(max(1, weight))
	t.ctx.t = t
}

// enqueue has the task run when the current turn ends.
func (s *Solver) enqueue(t *task) {
	t.lines = t.room[:0]
	t.vertices(func(v *vertex) {
		for slot := range v.jobs.all {
			t.lines = append(t.lines, &s.slots[slot].lines[t.lane])
		}
	})
	if len(t.lines) == 0 {
		t.lines = append(t.lines, &s.orphans[t.lane])
	}
	t.queued, t.solver = true, s
	s.ready = append(s.ready, t)
}

// vertices visits the vertices the task is for.
func (t *task) vertices(fn func(*vertex)) {
	fn(t.v)
	for _, v := range t.sharers {
		fn(v)
	}
}

// drop says that nobody waits for the task any more, and reports whether it had
// not begun: then neither do nor done will be called.
func (s *Solver) drop(t *task) bool {
	t.dropped = true
	if s.queue.forget(t) {
		return true
	}
	t.ctx.cancel()
	return false
}

// runWorker takes tasks until there are none.
func (s *Solver) runWorker() {
	for t := s.queue.next(nil); t != nil; t = s.queue.next(t) {
		t.work.do(&t.ctx)
		s.finish(t)
	}
}

// finish takes a task that was run back into the graph. If another goroutine
// has the graph, that one does it.
func (s *Solver) finish(t *task) {
	for {
		head := s.inbox.Load()
		t.next = head
		if s.inbox.CompareAndSwap(head, t) {
			break
		}
	}
	for s.inbox.Load() != nil && s.mu.TryLock() {
		s.unlock(false)
	}
}

// recovered turns a panic of foreign code into an error. To be deferred.
func recovered(what string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s panicked: %v\n%s", what, r, debug.Stack())
	}
}
