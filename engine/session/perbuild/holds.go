package perbuild

import (
	"context"
	"sync"

	"github.com/tenonbuild/tenon/solver"
)

// Holds keeps values for builds until these end. The zero value is ready.
type Holds[V any] struct {
	mu sync.Mutex     // guards of
	of map[string][]V // by build; those that are under way have a list
}

// Begin has values kept for a build from now on.
func (h *Holds[V]) Begin(build string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[string][]V{}
	}
	h.of[build] = nil
}

// Add keeps a value for the build that ctx works for. If it says no, that one is not, or no
// longer, under way.
func (h *Holds[V]) Add(ctx context.Context, v V) bool {
	build := solver.SessionID(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.of[build]; !ok {
		return false
	}
	h.of[build] = append(h.of[build], v)
	return true
}

// End returns what was kept for a build, and keeps nothing for it any more.
func (h *Holds[V]) End(build string) []V {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.of[build]
	delete(h.of, build)
	return kept
}
