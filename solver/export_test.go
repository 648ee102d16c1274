package solver

import (
	"context"
	"runtime"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/graph"
	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// activeVertex is the active vertex of a digest. The lock is held.
func (s *Solver) activeVertex(dgst digest.Digest) *vertex {
	id := s.index.Find(rows.Hash(string(dgst)), func(id graph.Vertex) bool { return s.vertex(id).op.digest == dgst })
	return s.vertex(id)
}

// Corrupt breaks what a solver knows of a vertex, so that the next step of its
// edges is a fault of the solver's own.
func Corrupt(s *Solver, dgst digest.Digest) {
	s.lock()
	defer s.unlock()
	for id := range s.g.Outputs(s.activeVertex(dgst).id) {
		s.edge(id).maps = 7
	}
}

// LeaveWhenAnswered withdraws what a job's Builds wait for in the very turn in which
// the next call comes back. Free lets that call go on.
func LeaveWhenAnswered(s *Solver, j *Job, free func()) {
	s.lock()
	defer s.unlock()
	free()
	for s.inbox.Load() == nil {
		runtime.Gosched()
	}
	s.takeBack(s.inbox.Swap(nil))
	for r := range j.requests {
		s.withdraw(r, context.Canceled)
	}
}
