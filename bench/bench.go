// Package bench says what a solver must offer to be measured. Three do: ours,
// the peer and the floor, each in a package of its own; package measure runs
// them on the same graphs.
//
// What an adapter adds to a solver's work is the same for all and as little as
// possible: an operation counts its call and returns what was made beforehand.
package bench

import (
	"context"
	"sync/atomic"

	"github.com/tenonbuild/tenon/bench/graph"
)

// Subject is a solver that is measured.
type Subject interface {
	Name() string
	// Define makes the vertices of a graph. With content, every edge has a
	// content key. The definition belongs to one Solver at a time.
	Define(g *graph.Graph, content bool, c *Counts) Definition
	// NewStore prepares a cache, empty and not open yet: in the folder dir, or in
	// memory if it is "".
	NewStore(dir string) (Store, error)
	// NewSolver starts a solver on an open store.
	NewSolver(s Store) (Solver, error)
}

// Definition is what a subject's Define returned, for the same subject's Build.
type Definition any

// Store is a cache, which outlives solvers. The results themselves are kept in
// memory in every case: what a disk holds is how to find them.
type Store interface {
	// Open opens the store. After Close it opens what was there before; one in
	// memory begins anew.
	Open() error
	// Sync returns when all that was written is on the disk, as far as the
	// solver's storage offers that.
	Sync() error
	Close() error
}

// Solver is a running solver.
type Solver interface {
	NewJob(id string) (Job, error)
	// Visits is how often an edge was looked at; false if that is not known.
	Visits() (uint64, bool)
	Close()
}

// Job is one caller of a solver.
type Job interface {
	// Build solves the root of the definition, and holds its result.
	Build(ctx context.Context, d Definition) error
	// Export writes the cache of the result into a target that is a map, and
	// says how many records it got.
	Export(ctx context.Context, mode ExportMode) (int, error)
	// Watch reads the job's progress until the function it returns is called,
	// which says how many vertices were seen.
	Watch(ctx context.Context) (stop func() int)
	// Release gives the job's results back.
	Release(ctx context.Context) error
	// Discard ends the job.
	Discard() error
}

// ExportMode is how much of a cache is exported.
type ExportMode string

// The modes of the solvers' own API.
const (
	ExportMin ExportMode = "min"
	ExportMax ExportMode = "max"
)

// Counts counts what a solver asked of the operations. The counters are far
// enough apart that two processors do not share a line of their caches.
type Counts struct {
	Exec     atomic.Int64
	_        [56]byte
	CacheMap atomic.Int64
	_        [56]byte
	Content  atomic.Int64
	_        [56]byte
}

// Calls is what Counts held at one moment.
type Calls struct{ Exec, CacheMap, Content int64 }

// Load reads the counters.
func (c *Counts) Load() Calls {
	return Calls{c.Exec.Load(), c.CacheMap.Load(), c.Content.Load()}
}

// Sub is what was counted since an earlier moment.
func (c Calls) Sub(before Calls) Calls {
	return Calls{c.Exec - before.Exec, c.CacheMap - before.CacheMap, c.Content - before.Content}
}
