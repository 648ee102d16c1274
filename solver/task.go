package solver

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
// It is also the context of the call, which is cancelled when the last one who
// waits has gone, and carries no values but the task itself.
type task struct {
	work work
	// v is the vertex whose op or edge the call is for; sharers are further
	// vertices that wait for it. Guarded by Solver.mu.
	v       *vertex
	sharers *[]*vertex // nil if there are none
	// owner is the job in whose turn the task was taken; set before do.
	owner *Job
	next  *task // in Solver.inbox
	end   atomic.Pointer[taskEnd]

	// The queue's part, guarded by queue.mu.
	line   *line  // whose slot it has; nil without one
	pause  *pause // nil if its op has built nothing
	queued bool   // it is to be run
	over   bool   // its op has returned

	// dropped: nobody waits for it any more. Guarded by Solver.mu.
	dropped bool
	lane    lane
	weight  int32
}

// pause is the part of a task that only ops which build something have. Guarded by
// queue.mu.
type pause struct {
	builds  int           // how many things its op waits for that it builds
	yielded *line         // whose slot it gave back for that; nil if it had none
	resumed chan struct{} // the task is a place in line for an op that goes on
}

// solver is the solver the call is made for.
func (t *task) solver() *Solver { return t.v.ownOp.builder.s }

// taskEnd is the part of a task's context that most calls do not look at.
type taskEnd struct {
	// mu guards what follows.
	mu    sync.Mutex
	ended chan struct{}
	err   error
	after map[*func()]struct{}
}

type taskKey struct{}

// Deadline implements context.Context.
func (t *task) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (t *task) Done() <-chan struct{} { return t.ending().ended }

// Err implements context.Context.
func (t *task) Err() error {
	end := t.end.Load()
	if end == nil {
		return nil
	}
	end.mu.Lock()
	defer end.mu.Unlock()
	return end.err
}

// Value implements context.Context.
func (t *task) Value(key any) any {
	if key == (taskKey{}) {
		return t
	}
	return nil
}

func (t *task) ending() *taskEnd {
	if end := t.end.Load(); end != nil {
		return end
	}
	t.end.CompareAndSwap(nil, &taskEnd{ended: make(chan struct{})})
	return t.end.Load()
}

// AfterFunc lets package context derive contexts without a goroutine each.
func (t *task) AfterFunc(f func()) (stop func() bool) {
	end := t.ending()
	end.mu.Lock()
	defer end.mu.Unlock()
	if end.err != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		return context.AfterFunc(ended, f)
	}
	if end.after == nil {
		end.after = map[*func()]struct{}{}
	}
	end.after[&f] = struct{}{}
	return func() bool {
		end.mu.Lock()
		defer end.mu.Unlock()
		_, ok := end.after[&f]
		delete(end.after, &f)
		return ok
	}
}

func (t *task) cancel() {
	end := t.ending()
	end.mu.Lock()
	if end.err != nil {
		end.mu.Unlock()
		return
	}
	end.err = context.Canceled
	close(end.ended)
	after := end.after
	end.after = nil
	end.mu.Unlock()
	for f := range after {
		(*f)()
	}
}

// taskOf returns the task in whose call ctx was handed out; nil if there is none.
func taskOf(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

// enqueue has a call be made for v once the current turn ends.
func (s *Solver) enqueue(t *task, w work, v *vertex, ln lane, weight int32) {
	t.work, t.v, t.lane, t.weight, t.queued = w, v, ln, weight, true
	waiting := false
	for slot := range v.jobs.all {
		s.ready = append(s.ready, place{t, &s.slots[slot].lines[ln]})
		waiting = true
	}
	if !waiting {
		s.ready = append(s.ready, place{t, &s.orphans[ln]})
	}
}

// place is where a task is to wait.
type place struct {
	t *task
	l *line
}

// vertices visits the vertices the task is for.
func (t *task) vertices(fn func(*vertex)) {
	fn(t.v)
	if t.sharers != nil {
		for _, v := range *t.sharers {
			fn(v)
		}
	}
}

// drop says that nobody waits for the task any more, and reports whether it had
// not begun: then neither do nor done will be called.
func (s *Solver) drop(t *task) bool {
	t.dropped = true
	if s.queue.forget(t) {
		return true
	}
	t.cancel()
	return false
}

// runWorker takes tasks until there are none.
func (s *Solver) runWorker() {
	s.queue.arrive()
	s.takeAllBack()
	for t := s.queue.next(nil); t != nil; t = s.queue.next(t) {
		t.work.do(t)
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
	s.takeAllBack()
}

// takeAllBack takes what was run back into the graph, if nobody else has it.
func (s *Solver) takeAllBack() {
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
