package solver

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// memResults keeps results as they are.
type memResults struct {
	// mu guards what follows.
	mu      sync.Mutex
	results rows.Column[keptResult]
	index   rows.Index[uint32]
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
	return CacheResult{ID: s.keep(res, res.ID()), CreatedAt: time.Now()}, nil
}

// keep keeps a result, and returns the name that it is kept under.
func (s *memResults) keep(res Result, id string) string {
	hash := rows.Hash(id)
	s.mu.Lock()
	defer s.mu.Unlock() // also where a method of a result panics
	kept := s.find(id, hash)
	if kept != nil && !sameResult(kept.result, res) {
		// Another result has the ID. This one gets a name of its own.
		id = fmt.Sprintf("%s#%d", id, s.results.Len())
		hash, kept = rows.Hash(id), nil
	}
	if kept == nil {
		n, row := s.results.Add(false)
		*row = keptResult{id, res}
		s.index.Insert(hash, n)
	}
	return id
}

// sameResult reports whether two results of one ID stand for the same. Those whose values
// cannot be compared are taken at their word.
func sameResult(a, b Result) bool {
	if reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b {
		return true
	}
	v, w := a.Sys(), b.Sys()
	if v == nil || w == nil {
		return v == w
	}
	return !reflect.ValueOf(v).Comparable() || !reflect.ValueOf(w).Comparable() || v == w
}

// find returns what is kept under an ID; nil if there is nothing. The lock is held.
func (s *memResults) find(id string, hash uint32) *keptResult {
	i := s.index.Find(hash, func(i uint32) bool { return s.results.At(i).id == id })
	if i == 0 {
		return nil
	}
	return s.results.At(i)
}

func (s *memResults) get(id string) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.find(id, rows.Hash(id)); kept != nil {
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
