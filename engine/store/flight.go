package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/tenonbuild/tenon/solver"
)

// flights are calls by key. Who asks for one that is under way waits for it, too. It
// goes on as long as somebody waits, whoever began it: BuildKit's flightcontrol is
// the same, but loses the values of its context (the namespace, the session, the
// progress) when the first caller leaves. The zero value is ready.
type flights[T any] struct {
	mu    sync.Mutex // guards byKey, and what flights say it does
	byKey map[string]*flight[T]
}

// flight is one call.
type flight[T any] struct {
	in *flights[T]
	// callers are the contexts of those who wait, and of the last one when it has
	// left. Guarded by in.mu, as is left.
	callers []context.Context
	left    bool // nobody waits any more
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when value and err are there
	value   T
	err     error
}

// Do returns what fn says, which is not called for a key while a call for it is under
// way. Fn's context ends when everybody who waits has left; its values are those of
// somebody who has not, and solver.SessionIDs finds the sessions of all. When ctx ends,
// Do returns its cause: at once, or, if nobody else waits, when fn has ended.
func (f *flights[T]) Do(ctx context.Context, key string, fn func(context.Context) (T, error)) (value T, err error) {
	for {
		c, joined := f.join(ctx, key, fn)
		select {
		case <-c.ended:
			if joined {
				return c.value, c.err
			}
		case <-ctx.Done():
			if joined && c.leave(ctx) {
				c.cancel(context.Cause(ctx))
				<-c.ended
			}
			return value, context.Cause(ctx)
		}
	}
}

// join finds or begins the call of a key. One that all have left is not joined: it
// has to end before there is another.
func (f *flights[T]) join(ctx context.Context, key string, fn func(context.Context) (T, error)) (c *flight[T], joined bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.byKey[key]; c != nil {
		if !c.left {
			c.callers = append(c.callers, ctx)
		}
		return c, !c.left
	}
	c = &flight[T]{in: f, callers: []context.Context{ctx}, ended: make(chan struct{})}
	var inner context.Context
	inner, c.cancel = context.WithCancelCause(solver.WithCallers(callerValues[T]{context.Background(), c}, c.current))
	if f.byKey == nil {
		f.byKey = map[string]*flight[T]{}
	}
	f.byKey[key] = c
	go c.run(inner, key, fn) // for which the last caller waits
	return c, true
}

func (c *flight[T]) run(ctx context.Context, key string, fn func(context.Context) (T, error)) {
	defer func() {
		if r := recover(); r != nil {
			c.err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		c.cancel(errors.New("the call has ended"))
		c.in.mu.Lock()
		delete(c.in.byKey, key)
		c.in.mu.Unlock()
		close(c.ended)
	}()
	c.value, c.err = fn(ctx)
}

// leave takes a caller away, and reports whether it was the last one.
func (c *flight[T]) leave(ctx context.Context) bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if len(c.callers) == 1 {
		c.left = true
		return true
	}
	i := slices.Index(c.callers, ctx)
	c.callers = slices.Delete(slices.Clone(c.callers), i, i+1)
	return false
}

// current are the contexts of those who wait.
func (c *flight[T]) current() []context.Context {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return slices.Clone(c.callers)
}

// callerValues is a context with the values of those who wait for a flight.
type callerValues[T any] struct {
	context.Context
	of *flight[T]
}

// Value is that of the first of them who has one and has not been cancelled, or else
// of any.
func (v callerValues[T]) Value(key any) any {
	var ended any
	for _, ctx := range v.of.current() { // a caller may be a flight of these, too
		x := ctx.Value(key)
		if x != nil && ctx.Err() == nil {
			return x
		}
		if ended == nil {
			ended = x
		}
	}
	return ended
}
