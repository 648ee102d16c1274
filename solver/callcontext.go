package solver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// callEnd is the part of a task's context that most calls do not look at.
type callEnd struct {
	// mu guards what follows.
	mu    sync.Mutex
	ended chan struct{}
	err   error
	after map[*func()]struct{}
}

// callContext is the context of one call. It is cancelled when the last one who waits for
// the call has gone, and carries no values but itself. It may outlive the call.
type callContext struct {
	s  *Solver
	op *opState
	// task is the call; nil once that is over. asked says that somebody has looked for it.
	task  atomic.Pointer[task]
	asked atomic.Bool
	end   atomic.Pointer[callEnd]
	// runs says that the call runs an op, and reports are what it tells of that; nil until
	// there is something.
	runs    bool
	reports atomic.Pointer[reports]
}

// context returns the context of a call, which is made when it is first needed.
func (t *task) context() *callContext {
	if c := t.ctx.Load(); c != nil {
		return c
	}
	c := &callContext{s: t.s, op: t.v.op}
	_, c.runs = t.Work.(*runCall)
	c.task.Store(t)
	t.ctx.CompareAndSwap(nil, c)
	return t.ctx.Load()
}

type callKey struct{}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.ending().ended }

// Err implements context.Context.
func (c *callContext) Err() error {
	end := c.end.Load()
	if end == nil {
		return nil
	}
	end.mu.Lock()
	defer end.mu.Unlock()
	return end.err
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return nil
}

func (c *callContext) ending() *callEnd {
	if end := c.end.Load(); end != nil {
		return end
	}
	c.end.CompareAndSwap(nil, &callEnd{ended: make(chan struct{})})
	return c.end.Load()
}

// AfterFunc lets package context derive contexts without a goroutine each.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	end := c.ending()
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

func (c *callContext) cancel() {
	end := c.ending()
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

// callOf returns the context of the call in which ctx was handed out; nil if it is of none.
func callOf(ctx context.Context) *callContext {
	c, _ := ctx.Value(callKey{}).(*callContext)
	return c
}

// taskOf returns the task in whose call ctx was handed out; nil if there is none. Of a call
// that is over it returns one that was taken back.
func taskOf(ctx context.Context) *task {
	c := callOf(ctx)
	if c == nil {
		return nil
	}
	c.asked.Store(true)
	if t := c.task.Load(); t != nil {
		return t
	}
	t := &task{s: c.s, taken: true}
	t.ctx.Store(c)
	return t
}
