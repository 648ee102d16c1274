package solvertest

import (
	"context"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// Results is a solver.CacheResultStorage for results of this package. It keeps
// their values, and hands out a new result at each Load, so that holds can be
// counted.
type Results struct {
	// Stats counts what is handed out; nil counts nothing.
	Stats *Stats
	// OnSave and OnLoad, if set, are called first; an error is what is returned.
	OnSave func() error
	OnLoad func(ctx context.Context, id string) error
	// Remote, if set, is what LoadRemote returns for a value.
	Remote func(value string) *solver.Remote
	// Now, if set, tells the time of a Save.
	Now func() time.Time

	mu     sync.Mutex
	values map[string]string // by ID
	loads  int
}

// Save implements solver.CacheResultStorage.
func (s *Results) Save(r solver.Result) (solver.CacheResult, error) {
	if s.OnSave != nil {
		if err := s.OnSave(); err != nil {
			return solver.CacheResult{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]string{}
	}
	s.values[r.ID()] = Value(r)
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	return solver.CacheResult{ID: r.ID(), CreatedAt: now}, nil
}

// Load implements solver.CacheResultStorage.
func (s *Results) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	s.mu.Lock()
	s.loads++
	s.mu.Unlock()
	if s.OnLoad != nil {
		if err := s.OnLoad(ctx, res.ID); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[res.ID]
	if !ok {
		return nil, solver.ErrNotFound
	}
	return handOut(res.ID, value, s.Stats), nil
}

// LoadRemote implements solver.CacheResultStorage.
func (s *Results) LoadRemote(_ context.Context, res solver.CacheResult) (*solver.Remote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[res.ID]
	if !ok {
		return nil, solver.ErrNotFound
	}
	if s.Remote == nil {
		return nil, nil
	}
	return s.Remote(value), nil
}

// Exists implements solver.CacheResultStorage.
func (s *Results) Exists(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.values[id]
	return ok
}

// Prune forgets a result, as a garbage collector would.
func (s *Results) Prune(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, id)
}

// IDs returns the IDs of what is kept.
func (s *Results) IDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for id := range s.values {
		out = append(out, id)
	}
	return out
}

// Loads returns how often Load was called.
func (s *Results) Loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}
