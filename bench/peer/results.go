package peer

import (
	"context"
	"sync"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/util/compression"
)

// results keeps results in memory as the peer's own storage does, which however
// hands out the very object it was given, to be released once more for each
// Load: the peer then logs an error a result, which is not what is measured.
type results struct{ byID sync.Map }

// Save implements solver.CacheResultStorage.
func (s *results) Save(r solver.Result, at time.Time) (solver.CacheResult, error) {
	s.byID.Store(r.ID(), r.Sys())
	return solver.CacheResult{ID: r.ID(), CreatedAt: at}, nil
}

// Load implements solver.CacheResultStorage.
func (s *results) Load(_ context.Context, res solver.CacheResult) (solver.Result, error) {
	v, ok := s.byID.Load(res.ID)
	if !ok {
		return nil, solver.ErrNotFound
	}
	return (*result)(v.(*vertex)), nil
}

// LoadRemotes implements solver.CacheResultStorage: nothing is transferable as
// it is.
func (s *results) LoadRemotes(context.Context, solver.CacheResult, *compression.Config, session.Group) ([]*solver.Remote, error) {
	return nil, nil
}

// Exists implements solver.CacheResultStorage.
func (s *results) Exists(_ context.Context, id string) bool {
	_, ok := s.byID.Load(id)
	return ok
}
