package solver

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/tenonbuild/tenon/solver/internal/slots"
)

// work is one kind of call into code that is not the scheduler's: an op, a
// cache, a digest function.
type work interface {
	base() *task
	// do makes the call, on a worker, without any lock.
	do(ctx context.Context)
	// fail notes that do ended its goroutine.
	fail(err error)
	// done takes what came of it into the graph. The solver's lock is held. It is
	// not called for a task that was dropped before it began.
	done()
	// vertices visits those that wait for the call. The solver's lock is held.
	vertices(fn func(*vertex))
}

// task is one call that waits for a slot, runs, and is taken back into the graph.
type task struct {
	slots.Ticket
	s *Solver
	// v is the vertex that the call is for; it is pinned until the task is taken back.
	v    *vertex
	next *task // in Solver.inbox
	ctx  atomic.Pointer[callContext]
	err  error // of the call

	// also are the jobs that do not hold v, and wait for the task. Guarded by Solver.mu.
	also map[int]struct{}
	// dropped: nobody waits for it any more. taken: it was taken back. kept: somebody may
	// still look at it after that. Guarded by Solver.mu.
	dropped, taken, kept bool
	returned             bool // of the worker: do has returned
	// through counts who is through with it: its worker, and whoever took it back.
	through atomic.Int32
}

func (t *task) base() *task { return t }

func (t *task) work() work { return t.Work.(work) }

// owner is the job in whose turn the task was taken; nil if that has gone.
func (t *task) owner() *Job {
	j, _ := t.Owner.Of.(*Job)
	return j
}

func (t *task) fail(err error) { t.err = err }

// join notes that a job waits for the task, and reports whether it did not before.
func (t *task) join(job int) bool {
	if _, ok := t.also[job]; ok {
		return false
	}
	if t.also == nil {
		t.also = map[int]struct{}{}
	}
	t.also[job] = struct{}{}
	return true
}

// reusable is work whose object is used again for another call once nobody looks at it any
// more.
type reusable interface{ reuse() }

var (
	mapCalls = sync.Pool{New: func() any { return &mapCall{} }}
	runCalls = sync.Pool{New: func() any { return &runCall{} }}
)

func (c *mapCall) reuse() {
	*c = mapCall{}
	mapCalls.Put(c)
}

func (c *runCall) reuse() {
	*c = runCall{}
	runCalls.Put(c)
}

// ended notes that its worker, or whoever took it back, is through with a task.
func (t *task) ended() {
	w, ok := t.Work.(reusable)
	if !ok || t.through.Add(1) < 2 {
		return
	}
	c := t.ctx.Load()
	if c.task.Store(nil); !c.asked.Load() {
		w.reuse()
	}
}

// recovered turns a panic of foreign code into an error. To be deferred.
func recovered(what string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s panicked: %v\n%s", what, r, debug.Stack())
	}
}
