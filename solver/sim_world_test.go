package solver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// errCache is what a cache of a simulation fails with, errOp what an op does.
var (
	errCache = errors.New("the cache fails")
	errOp    = errors.New("the op fails")
)

// simWorld is the caches of a simulation, and what goes wrong with them.
type simWorld struct {
	c     *simCase
	calls atomic.Int64
	// quiet: nothing goes wrong any more.
	quiet  atomic.Bool
	stats  *solvertest.Stats
	caches []*simCacheWorld
	// loaded is told the value of each result that a cache has handed out.
	loaded func(value string)
	// refuses tells which results cannot be saved.
	refuses func(solver.Result) bool
}

// simCacheWorld is one cache of it.
type simCacheWorld struct {
	manager solver.CacheManager
	inner   solver.CacheManager
	storage solver.CacheKeyStorage
	results *solvertest.Results
}

func newSimWorld(c *simCase, stats *solvertest.Stats) *simWorld {
	w := &simWorld{c: c, stats: stats}
	for i, ca := range c.caches {
		cw := &simCacheWorld{results: &solvertest.Results{Stats: stats}}
		cw.storage = solver.NewInMemoryCacheStorage()
		keys := simStorage{CacheKeyStorage: cw.storage, w: w}
		storage := cw.storage
		switch {
		case ca.kind == slowCache:
			keys.wait = ca.wait
			storage = &keys
		case ca.kind == wrappedCache || c.faults&(keyReadFails|keyWriteFails) != 0:
			storage = &simMemoryStorage{keys}
		}
		cw.inner = solver.NewCacheManager(fmt.Sprint("cache-", i), storage, &simResults{Results: cw.results, w: w, wait: ca.wait})
		cw.manager = cw.inner
		if ca.kind == foreignOnly || ca.kind == bareCache {
			cw.manager = &simManager{inner: cw.inner, w: w, wait: ca.wait, bare: ca.kind == bareCache}
		}
		w.caches = append(w.caches, cw)
	}
	return w
}

// fails decides whether a call goes wrong in some way.
func (w *simWorld) fails(how simFaults, site string) bool {
	return w.c.faults&how != 0 && !w.quiet.Load() && w.c.roll(20, site, w.calls.Add(1))
}

// delay waits for up to d.
func (w *simWorld) delay(d time.Duration) {
	if d > 0 {
		time.Sleep(time.Duration(w.c.number("delay", w.calls.Add(1)) % uint64(d+1)))
	}
}

// prune takes results away, as a garbage collector would, until done is closed.
func (w *simWorld) prune(done <-chan struct{}) {
	rng := rand.New(rand.NewPCG(w.c.seed, 1))
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(1 + rng.Int64N(int64(15*time.Millisecond)))):
		}
		cw := w.caches[rng.IntN(len(w.caches))]
		for _, id := range cw.results.IDs() {
			if rng.IntN(3) == 0 {
				cw.results.Prune(id)
			}
		}
		switch rng.IntN(3) {
		case 0:
			// What it cannot do now it can do later.
			_ = cw.inner.(solver.CachePruner).ReleaseUnreferenced(context.Background())
		case 1:
			if ids := cw.results.IDs(); len(ids) > 0 {
				_ = cw.storage.Release(ids[0])
			}
		}
	}
}

// simResults is a storage for results that fails and lies.
type simResults struct {
	*solvertest.Results
	w    *simWorld
	wait time.Duration
}

func (s *simResults) Save(r solver.Result) (solver.CacheResult, error) {
	s.w.delay(s.wait)
	if s.w.fails(saveFails, "save") || s.w.refuses(r) {
		return solver.CacheResult{}, errCache
	}
	if s.w.fails(saveLies, "save lies") {
		return solver.CacheResult{ID: fmt.Sprint("nowhere-", s.w.calls.Add(1)), CreatedAt: time.Now()}, nil
	}
	return s.Results.Save(r)
}

func (s *simResults) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	s.w.delay(s.wait)
	switch {
	case s.w.fails(loadFails, "load"):
		return nil, errCache
	case s.w.fails(loadPanics, "load panics"):
		panic("Load panics")
	case s.w.fails(loadNothing, "load nothing"):
		return nil, nil
	}
	r, err := s.Results.Load(ctx, res)
	if err == nil {
		s.w.loaded(solvertest.Value(r))
	}
	return r, err
}

func (s *simResults) Exists(id string) bool {
	return s.w.fails(existsLies, "exists") || s.Results.Exists(id)
}

// simStorage is a storage for keys that takes its time, and fails.
type simStorage struct {
	solver.CacheKeyStorage
	w    *simWorld
	wait time.Duration
}

func (s *simStorage) call(fault simFaults, site string) error {
	s.w.delay(s.wait)
	if s.w.fails(fault, site) {
		return errCache
	}
	return nil
}

func (s *simStorage) Exists(id string) bool {
	return s.call(keyReadFails, "exists") == nil && s.CacheKeyStorage.Exists(id)
}

func (s *simStorage) WalkResults(id string, fn func(solver.CacheResult) error) error {
	if err := s.call(keyReadFails, "walk results"); err != nil {
		return err
	}
	return s.CacheKeyStorage.WalkResults(id, fn)
}

func (s *simStorage) Load(id string, resultID string) (solver.CacheResult, error) {
	if err := s.call(keyReadFails, "load key"); err != nil {
		return solver.CacheResult{}, err
	}
	return s.CacheKeyStorage.Load(id, resultID)
}

func (s *simStorage) AddResult(id string, res solver.CacheResult) error {
	if err := s.call(keyWriteFails, "add result"); err != nil {
		return err
	}
	return s.CacheKeyStorage.AddResult(id, res)
}

func (s *simStorage) Release(resultID string) error {
	if err := s.call(keyWriteFails, "release"); err != nil {
		return err
	}
	return s.CacheKeyStorage.Release(resultID)
}

func (s *simStorage) AddLink(id string, link solver.CacheInfoLink, target string) error {
	if err := s.call(keyWriteFails, "add link"); err != nil {
		return err
	}
	return s.CacheKeyStorage.AddLink(id, link, target)
}

func (s *simStorage) WalkLinks(id string, link solver.CacheInfoLink, fn func(id string) error) error {
	if err := s.call(keyReadFails, "walk links"); err != nil {
		return err
	}
	return s.CacheKeyStorage.WalkLinks(id, link, fn)
}

func (s *simStorage) HasLink(id string, link solver.CacheInfoLink, target string) bool {
	return s.call(keyReadFails, "has link") == nil && s.CacheKeyStorage.HasLink(id, link, target)
}

// simMemoryStorage is one that is asked in line.
type simMemoryStorage struct{ simStorage }

func (s *simMemoryStorage) AnswersFromMemory() bool { return true }

// simManager is a manager that implements the interface and nothing else.
type simManager struct {
	inner solver.CacheManager
	w     *simWorld
	wait  time.Duration
	bare  bool
}

func (m *simManager) call(method string) error {
	m.w.delay(m.wait)
	if m.w.fails(managerFails, method) {
		return errCache
	}
	if m.w.fails(managerFails, method+" panics") {
		panic(method + " panics")
	}
	return nil
}

func (m *simManager) ID() string { return m.inner.ID() }

func (m *simManager) Query(inp []solver.CacheKeyWithSelector, inputIndex solver.Index, dgst digest.Digest, outputIndex solver.Index) ([]*solver.CacheKey, error) {
	if err := m.call("Query"); err != nil {
		return nil, err
	}
	keys, err := m.inner.Query(inp, inputIndex, dgst, outputIndex)
	if m.bare {
		for i, k := range keys {
			keys[i] = &solver.CacheKey{ID: k.ID}
		}
	}
	return keys, err
}

func (m *simManager) Records(ck *solver.CacheKey) ([]*solver.CacheRecord, error) {
	if err := m.call("Records"); err != nil {
		return nil, err
	}
	recs, err := m.inner.Records(ck)
	if m.bare {
		for i, r := range recs {
			recs[i] = &solver.CacheRecord{ID: r.ID, Size: r.Size, CreatedAt: r.CreatedAt, Priority: r.Priority}
		}
	}
	return recs, err
}

func (m *simManager) Load(ctx context.Context, rec *solver.CacheRecord) (solver.Result, error) {
	if err := m.call("Load"); err != nil {
		return nil, err
	}
	return m.inner.Load(ctx, rec)
}

func (m *simManager) Save(key *solver.CacheKey, s solver.Result) (*solver.ExportableCacheKey, error) {
	if err := m.call("Save"); err != nil {
		return nil, err
	}
	return m.inner.Save(key, s)
}
