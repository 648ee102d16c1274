package solver

import (
	"context"
	"runtime"

	"github.com/opencontainers/go-digest"
)

// Corrupt breaks what a solver knows of a vertex, so that the next step of its
// edges is a fault of the solver's own.
func Corrupt(s *Solver, dgst digest.Digest) {
	s.mu.Lock()
	defer s.unlock(true)
	for e := range s.active(dgst, hashOf(string(dgst))).normal.edges {
		e.maps = 7
	}
}

// LeaveWhenAnswered withdraws what a job's Builds wait for in the very turn in which
// the next call comes back. Free lets that call go on.
func LeaveWhenAnswered(s *Solver, j *Job, free func()) {
	s.mu.Lock()
	defer s.unlock(true)
	free()
	for s.inbox.Load() == nil {
		runtime.Gosched()
	}
	s.takeBack(s.inbox.Swap(nil))
	for r := range j.requests {
		s.withdraw(r, context.Canceled)
	}
}
