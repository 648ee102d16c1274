package solver

import (
	"context"
	"errors"
	"sync"
	"time"
)

// memResults keeps results as they are.
type memResults struct {
	// mu guards what follows.
	mu      sync.Mutex
	results pile[keptResult]
	index   table[int32] // the results' numbers, from 1
}

type keptResult struct {
	id     string
	result Result
}

// NewInMemoryResultStorage returns a storage that keeps the Result objects
// themselves, and hands the same object out at each Load. It makes no hold of its
// own, so it is for results that stay valid after their Release, such as plain
// values; such a result is released once for each time it was handed out. Nothing
// in it is transferable, and nothing is ever taken out.
func NewInMemoryResultStorage() CacheResultStorage {
	return &memResults{}
}

func (s *memResults) Save(res Result) (CacheResult, error) {
	// A handle of a shared result counts, and is used up when it is released. What
	// is kept is what it stands for.
	res = unshared(res)
	if res == nil {
		return CacheResult{}, errors.New("save: no result")
	}
	id := res.ID()
	hash := hashOf(id)
	s.mu.Lock()
	if kept := s.find(id, hash); kept != nil {
		kept.result = res
	} else {
		*s.results.grow() = keptResult{id, res}
		s.index.insert(hash, int32(s.results.n))
	}
	s.mu.Unlock()
	return CacheResult{ID: id, CreatedAt: time.Now()}, nil
}

// find returns what is kept under an ID; nil if there is nothing. The lock is held.
func (s *memResults) find(id string, hash uint32) *keptResult {
	i, ok := s.index.find(hash, func(i int32) bool { return s.results.at(int(i-1)).id == id })
	if !ok {
		return nil
	}
	return s.results.at(int(i - 1))
}

func (s *memResults) get(id string) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.find(id, hashOf(id)); kept != nil {
		return kept.result, nil
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
