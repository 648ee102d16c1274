package engine

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// readKeys are keys to which nothing is added, and of which nothing is removed.
type readKeys struct{ solver.CacheKeyStorage }

// AnswersFromMemory implements solver.MemoryAnswerer.
func (k readKeys) AnswersFromMemory() bool {
	a, ok := k.CacheKeyStorage.(solver.MemoryAnswerer)
	return ok && a.AnswersFromMemory()
}

func (readKeys) AddResult(string, solver.CacheResult) error         { return nil }
func (readKeys) AddLink(string, solver.CacheInfoLink, string) error { return nil }
func (readKeys) Release(string) error                               { return nil }

// readResults are the store's results to be looked at.
type readResults struct{ s *store.Store }

func (x readResults) Save(solver.Result) (solver.CacheResult, error) {
	return solver.CacheResult{ID: rand.Text(), CreatedAt: time.Now()}, nil
}

func (x readResults) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	if res.ID == store.EmptyID {
		return store.NewResult(nil), nil
	}
	ref, err := x.s.Look(ctx, res.ID)
	if err != nil {
		return nil, err
	}
	return store.NewResult(ref), nil
}

func (x readResults) LoadRemote(context.Context, solver.CacheResult) (*solver.Remote, error) {
	return nil, nil
}

func (x readResults) Exists(id string) bool { return x.s.Results().Exists(id) }

// readImport is a cache of others of which no result is brought here.
type readImport struct {
	*remotecache.Import
	s *store.Store
}

// Load implements solver.CacheManager. That the layers are where the cache is is not asked.
func (m readImport) Load(context.Context, *solver.CacheRecord) (solver.Result, error) {
	return store.NewResult(m.s.Imagine("imagined-" + rand.Text())), nil
}
