package remotecache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Source is where a cache is read.
type Source interface {
	// Load finds the cache, and reads what is not layers. An image that has caches for
	// several platforms has several graphs. It should be quick.
	Load(ctx context.Context) ([]*Graph, error)
	// Provider reads layers, for as long as the process runs. Its context says for which
	// build.
	content.Provider
}

// Import is a cache of somebody else's, for one build.
type Import struct {
	id     string
	source Source
	layers *lossy
	store  *store.Store
	loaded chan struct{} // closed when there is what follows

	mu      sync.Mutex // guards what follows, but for err
	finders []*finder
	results map[string]stack
	err     error
}

// stack is a result with the graph that has it.
type stack struct {
	graph *Graph
	result
}

var (
	_ solver.CacheManager = (*Import)(nil)
	_ solver.LateCache    = (*Import)(nil)
)

// patience is how long a cache may take to be read. It is less than the solver's, so that
// one that hangs is told of once.
const patience = 25 * time.Second

// errPatience says that a cache took longer.
var errPatience = fmt.Errorf("it has not answered within %v", patience)

// Told is who is told how a cache answers.
type Told struct {
	// Loaded is called once, with the reason if the cache cannot be had.
	Loaded func(error)
	// Failing is called when a layer cannot be read because of the place that it is in, with
	// how long that took. Nil: nobody is told.
	Failing func(took time.Duration, err error)
}

// Open begins to read a cache. Its ID is one for each place, its name for people. Loading
// ends with ctx.
func Open(ctx context.Context, id, name string, src Source, st *store.Store, told Told) *Import {
	if told.Failing == nil {
		told.Failing = func(time.Duration, error) {}
	}
	m := &Import{id: id, source: src, layers: newLossy(name, src, told.Failing), store: st, loaded: make(chan struct{}), results: map[string]stack{}}
	go func() {
		defer close(m.loaded)
		limited, cancel := context.WithTimeoutCause(ctx, patience, errPatience)
		defer cancel()
		if m.err = m.load(limited); m.err != nil && ctx.Err() == nil && limited.Err() != nil {
			m.err = errPatience
		}
		told.Loaded(m.err)
	}()
	return m
}

// wait waits until the cache has been read, or cannot be: what it has goes along with what
// is exported, also of a build that did not need it.
func (m *Import) wait(ctx context.Context) error {
	select {
	case <-m.loaded:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Lost says whether layers of the cache could not be had.
func (m *Import) Lost() bool { return m.layers.lost() }

func (m *Import) load(ctx context.Context) error {
	graphs, err := m.source.Load(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range graphs {
		m.finders = append(m.finders, newFinder(g))
		for _, r := range g.records {
			for _, res := range r.results {
				m.results[res.id] = stack{g, res}
			}
		}
	}
	return nil
}

// ID implements solver.CacheManager.
func (m *Import) ID() string { return m.id }

// AskedLate implements solver.LateCache: a build whose steps are in the store does not wait
// until the cache has been read.
func (m *Import) AskedLate() bool { return true }

// Query implements solver.CacheManager. It waits until the cache has been read.
func (m *Import) Query(in []solver.CacheKeyWithSelector, input solver.Index, op digest.Digest, output solver.Index) ([]*solver.CacheKey, error) {
	<-m.loaded
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*solver.CacheKey
	seen := map[string]bool{}
	for _, f := range m.finders {
		for _, n := range f.query(in, input, op, output) {
			if id := f.graph.records[n].id; !seen[id] {
				seen[id] = true
				key := solver.NewCacheKey(op, output)
				key.ID = id
				out = append(out, key)
			}
		}
	}
	return out, nil
}

// Records implements solver.CacheManager. A key is known by its ID here, as Query gives it.
// Of a cache that is still being read there are none: who asks has not been told of it.
func (m *Import) Records(key *solver.CacheKey) ([]*solver.CacheRecord, error) {
	select {
	case <-m.loaded:
	default:
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*solver.CacheRecord
	seen := map[string]bool{}
	for _, f := range m.finders {
		n, ok := f.graph.byID[key.ID]
		if !ok {
			continue
		}
		for _, res := range f.graph.records[n].results {
			if !seen[res.id] {
				seen[res.id] = true
				out = append(out, &solver.CacheRecord{ID: res.id, CreatedAt: res.createdAt})
			}
		}
	}
	return out, nil
}

// Load implements solver.CacheManager. No layer is fetched.
func (m *Import) Load(ctx context.Context, rec *solver.CacheRecord) (solver.Result, error) {
	select {
	case <-m.loaded:
	default:
		return nil, solver.ErrNotFound
	}
	m.mu.Lock()
	s, ok := m.results[rec.ID]
	m.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("result %s of %s: %w", rec.ID, m.id, solver.ErrNotFound)
	}
	for _, l := range s.graph.stack(s.result) {
		if m.layers.Gone(l.Digest) {
			return nil, fmt.Errorf("layer %s of %s is gone: %w", l.Digest, m.id, solver.ErrNotFound)
		}
	}
	ref, err := m.store.FromLayers(ctx, s.graph.stack(s.result), m.layers, store.NewOptions{
		Description: "from " + m.id, CreatedAt: rec.CreatedAt,
	})
	if err != nil {
		return nil, err
	}
	return store.NewResult(ref), nil
}

// Save implements solver.CacheManager. Caches of others are only read.
func (m *Import) Save(*solver.CacheKey, solver.Result) (*solver.ExportableCacheKey, error) {
	return nil, fmt.Errorf("cache %s is only read", m.id)
}

// annotationDiffID is one of layers in a cache.
const annotationDiffID = "containerd.io/uncompressed"

func layerAnnotations(diffID digest.Digest, created *time.Time) map[string]string {
	out := map[string]string{annotationDiffID: diffID.String()}
	if created != nil && !created.IsZero() {
		if dt, err := created.MarshalText(); err == nil {
			out[store.AnnotationCreatedAt] = string(dt)
		}
	}
	return out
}
