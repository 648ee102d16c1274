// Package ours puts github.com/tenonbuild/tenon/solver behind bench.Subject.
package ours

import (
	"context"
	"path/filepath"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/logstore"

	"github.com/tenonbuild/tenon/bench"
)

// Subject is our solver as something to measure.
type Subject struct{}

// Name implements bench.Subject.
func (Subject) Name() string { return "ours" }

type store struct {
	dir     string
	results solver.CacheResultStorage
	log     *logstore.Store
	manager solver.CacheManager
}

// NewStore implements bench.Subject.
func (Subject) NewStore(dir string) (bench.Store, error) {
	return &store{dir: dir, results: solver.NewInMemoryResultStorage()}, nil
}

// Open implements bench.Store. Making the manager is part of what opening a
// cache costs.
func (s *store) Open() error {
	var keys solver.CacheKeyStorage
	if s.dir == "" {
		keys = solver.NewInMemoryCacheStorage()
	} else {
		log, err := logstore.Open(filepath.Join(s.dir, "ours.db"), logstore.Options{})
		if err != nil {
			return err
		}
		s.log, keys = log, log
	}
	s.manager = solver.NewCacheManager("bench", keys, s.results)
	return nil
}

// Sync implements bench.Store.
func (s *store) Sync() error {
	if s.log == nil {
		return nil
	}
	return s.log.Sync(context.Background())
}

// Close implements bench.Store.
func (s *store) Close() error {
	s.manager = nil
	if s.log == nil {
		return nil
	}
	return s.log.Close()
}

type running struct{ *solver.Solver }

// NewSolver implements bench.Subject.
func (Subject) NewSolver(s bench.Store) (bench.Solver, error) {
	return running{solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve, DefaultCache: s.(*store).manager})}, nil
}

// NewJob implements bench.Solver.
func (r running) NewJob(id string) (bench.Job, error) {
	j, err := r.Solver.NewJob(id)
	if err != nil {
		return nil, err
	}
	j.SessionID = id
	return &job{Job: j}, nil
}

// Visits implements bench.Solver.
func (r running) Visits() (uint64, bool) { return r.Stats().Visits, true }

type job struct {
	*solver.Job
	result solver.CachedResult
}

// Build implements bench.Job.
func (j *job) Build(ctx context.Context, d bench.Definition) error {
	res, err := j.Job.Build(ctx, solver.Edge{Vertex: d.(*definition).root()})
	if err != nil {
		return err
	}
	j.result = res
	return nil
}

// Release implements bench.Job.
func (j *job) Release(ctx context.Context) error {
	res := j.result
	j.result = nil
	if res == nil {
		return nil
	}
	return res.Release(ctx)
}

// Watch implements bench.Job.
func (j *job) Watch(ctx context.Context) func() int {
	ctx, cancel := context.WithCancel(ctx)
	ch := make(chan *client.SolveStatus)
	ended := make(chan int)
	go j.Status(ctx, ch) //nolint:errcheck // it ends with the context's error
	go func() {
		seen := 0
		for st := range ch {
			seen += len(st.Vertexes)
		}
		ended <- seen
	}()
	return func() int {
		cancel()
		return <-ended
	}
}
