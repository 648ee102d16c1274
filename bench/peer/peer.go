// Package peer puts github.com/moby/buildkit/solver behind bench.Subject. It is
// the only package of the repository that imports that solver.
package peer

import (
	"context"
	"path/filepath"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"

	"github.com/tenonbuild/tenon/bench"
)

// Subject is the peer as something to measure.
type Subject struct{}

// Name implements bench.Subject.
func (Subject) Name() string { return "peer" }

type store struct {
	dir     string
	results *results
	bolt    *bboltcachestorage.Store
	// manager is what solvers are given. It is emptied on Close: the peer keeps a
	// discarded job, and with it its solver, for ten more seconds.
	manager *emptiable
}

type emptiable struct{ solver.CacheManager }

// NewStore implements bench.Subject.
func (Subject) NewStore(dir string) (bench.Store, error) {
	return &store{dir: dir, results: &results{}}, nil
}

// Open implements bench.Store. Making the manager walks all keys, which is part
// of what opening a cache costs.
func (s *store) Open() error {
	keys := solver.NewInMemoryCacheStorage()
	if s.dir != "" {
		bolt, err := bboltcachestorage.NewStore(filepath.Join(s.dir, "peer.db"))
		if err != nil {
			return err
		}
		s.bolt, keys = bolt, bolt
	}
	s.manager = &emptiable{solver.NewCacheManager(context.Background(), "bench", keys, s.results)}
	return nil
}

// Sync implements bench.Store: the peer never syncs.
func (s *store) Sync() error { return nil }

func (s *store) Close() error {
	s.manager.CacheManager = nil
	if s.bolt == nil {
		return nil
	}
	return s.bolt.Close()
}

type running struct{ *solver.Solver }

// NewSolver implements bench.Subject.
func (Subject) NewSolver(s bench.Store) (bench.Solver, error) {
	return running{solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve, DefaultCache: s.(*store).manager})}, nil
}

func (r running) NewJob(id string) (bench.Job, error) {
	j, err := r.Solver.NewJob(id)
	if err != nil {
		return nil, err
	}
	j.SessionID = id
	return &job{Job: j}, nil
}

// Visits implements bench.Solver: the peer does not count them.
func (running) Visits() (uint64, bool) { return 0, false }

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

// Release implements bench.Job. A caller of the peer closes the progress of a
// job when its last Build has ended.
func (j *job) Release(ctx context.Context) error {
	j.CloseProgress()
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
		j.CloseProgress()
		defer cancel()
		return <-ended
	}
}
