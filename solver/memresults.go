package solver

import (
	"context"
	"errors"
	"sync"
	"time"
)

// memResults keeps results as they are.
type memResults struct {
	// mu guards results.
	mu      sync.RWMutex
	results map[string]Result
}

// NewInMemoryResultStorage returns a storage that keeps the Result objects
// themselves, and hands the same object out at each Load. It makes no hold of its
// own, so it is for results that stay valid after their Release, such as plain
// values; such a result is released once for each time it was handed out. Nothing
// in it is transferable, and nothing is ever taken out.
func NewInMemoryResultStorage() CacheResultStorage {
	return &memResults{results: map[string]Result{}}
}

func (s *memResults) Save(res Result) (CacheResult, error) {
	// A handle of a shared result counts, and is used up when it is released. What
	// is kept is what it stands for.
	res = unshared(res)
	if res == nil {
		return CacheResult{}, errors.New("save: no result")
	}
	id := res.ID()
	s.mu.Lock()
	s.results[id] = res
	s.mu.Unlock()
	return CacheResult{ID: id, CreatedAt: time.Now()}, nil
}

func (s *memResults) get(id string) (Result, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if res, ok := s.results[id]; ok {
		return res, nil
	}
	return nil, ErrNotFound
}

func (s *memResults) Load(_ context.Context, res CacheResult) (Result, error) {
	return s.get(res.ID)
}

func (s *memResults) LoadRemote(_ context.Context, res CacheResult) (*Remote, error) {
	_, err := s.get(res.ID)
	return nil, err
}

func (s *memResults) Exists(id string) bool {
	_, err := s.get(id)
	return err == nil
}
