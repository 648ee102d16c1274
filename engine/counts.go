package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/tenonbuild/tenon/solver"
)

// Counts says what an engine has done since it was opened.
type Counts struct {
	// Running is how many builds are under way.
	Running int
	// Succeeded, Failed and Canceled are how many have ended so.
	Succeeded, Failed, Canceled uint64
	// Sessions are those that are alive.
	Sessions int
	// Solver are the solver's counters: Execs are steps that were run, Loads results that
	// a cache had.
	Solver solver.Stats
}

// counter counts builds. It may be used concurrently.
type counter struct {
	mu sync.Mutex // guards what follows
	n  Counts
}

// begin counts a build that begins. What it returns is called once, with how it ended.
func (c *counter) begin() (end func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n.Running++
	return func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n.Running--
		switch {
		case err == nil:
			c.n.Succeeded++
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			c.n.Canceled++
		default:
			c.n.Failed++
		}
	}
}

// Counts returns the counters as they are now.
func (e *Engine) Counts() Counts {
	e.counter.mu.Lock()
	n := e.counter.n
	e.counter.mu.Unlock()
	n.Sessions, n.Solver = e.sessions.Len(), e.solver.Stats()
	return n
}
