package solver

import "github.com/opencontainers/go-digest"

// Corrupt breaks what a solver knows of a vertex, so that the next step of its
// edges is a fault of the solver's own.
func Corrupt(s *Solver, dgst digest.Digest) {
	s.mu.Lock()
	defer s.unlock(true)
	for e := range s.vertices[dgst].normal.edges {
		e.maps = 7
	}
}
