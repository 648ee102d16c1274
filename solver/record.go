package solver

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// loadName names a stored result.
type loadName struct{ manager, record string }

// loading is a result being loaded from a cache, and once it is there, the
// result. Edges that want the same record share it, each with its own hold.
// Guarded by Solver.mu.
type loading struct {
	name    loadName
	call    *loadCall // nil once it is done
	waiting []*edgeState
	holders int
	shared  *SharedResult
}

// loadCall loads one record.
type loadCall struct {
	task
	ld      *loading
	from    candidate
	manager CacheManager
	// into is where a result found elsewhere, or by a content key, is saved; nil if
	// it is there already.
	into CacheManager
	key  *CacheKey

	result   Result
	saved    []ExportableCacheKey
	err      error
	cacheErr error
}

// loadRecord begins to load the best record of the keys found for an edge.
func (s *Solver) loadRecord(e *edgeState) {
	if e.rare.tried == len(e.rare.found) {
		// That nothing of it can be loaded was known, and abandoned before it was told.
		s.loadNext(e)
		return
	}
	c := s.newLookup(e)
	c.keys = append([]foundKey(nil), e.rare.found[e.rare.tried:]...)
	s.enqueue(&c.task, c, e.v, lightLane, 1)
}

// loadNext loads an edge's next candidate; without one the search goes on.
func (s *Solver) loadNext(e *edgeState) {
	r := e.rare
	if len(r.candidates) == 0 {
		e.trace.add(traceEvent{kind: TraceNoRecord})
		s.tell(step{e: e, kind: edge.Loaded})
		return
	}
	from := r.candidates[0]
	manager := e.v.caches.list[from.manager]
	name := loadName{managerID(manager), from.record.ID}
	ld := s.loads[name]
	if ld == nil {
		ld = &loading{name: name}
		c := &loadCall{ld: ld, from: from, manager: manager, key: from.key}
		if from.unsaved(e) {
			c.into = e.v.caches.list[0]
		}
		ld.call = c
		s.loads[name] = ld
		s.enqueue(&c.task, c, e.v, lightLane, 1)
	}
	r.load = ld
	if ld.call == nil {
		s.loaded(e, ld, nil)
		return
	}
	ld.waiting = append(ld.waiting, e)
	s.alsoFor(&ld.call.task, e.v)
}

func (s *Solver) leaveLoad(e *edgeState) {
	ld := e.has().load
	if ld == nil {
		return
	}
	e.rare.load = nil
	// Asked again, the edge lists the records anew.
	e.rare.tried = 0
	ld.waiting, _ = without(ld.waiting, e)
	if ld.call != nil && len(ld.waiting) == 0 {
		s.drop(&ld.call.task)
		delete(s.loads, ld.name)
	}
}

func (c *loadCall) do(ctx context.Context) {
	c.solver().begin(c.v)
	c.result, c.err = callLoad(ctx, c.manager, c.from.record)
	if c.err != nil {
		if own, ok := c.manager.(*cacheManager); ok && ctx.Err() == nil {
			c.cacheErr = forget(own, c.from.record)
		}
		return
	}
	if c.into != nil {
		c.saved, c.cacheErr = save(c.into, []*CacheKey{c.key}, c.result)
		if c.saved == nil {
			c.saved = newExportGroup([]*CacheKey{c.key})
		}
	}
}

func callLoad(ctx context.Context, m CacheManager, rec *CacheRecord) (r Result, err error) {
	defer recovered("Load", &err)
	r, err = m.Load(ctx, rec)
	switch {
	case isNil(r) && err == nil:
		err = errors.New("the cache returned no result")
	case !isNil(r) && err != nil:
		err = errors.Join(err, release(r))
	}
	return r, err
}

// forget has a cache drop a record that does not load.
func forget(m *cacheManager, rec *CacheRecord) (err error) {
	defer recovered("forgetting a record", &err)
	return m.forget(rec)
}

func (c *loadCall) done() {
	s, ld := c.solver(), c.ld
	s.calls[2]++
	if c.dropped {
		if c.err == nil {
			s.trash = append(s.trash, c.result)
		}
		return
	}
	ld.call = nil
	if c.cacheErr != nil {
		s.report(c.v, c.cacheErr)
	}
	waiting := ld.waiting
	ld.waiting = nil
	if c.err != nil {
		delete(s.loads, ld.name)
		if !errors.Is(c.err, ErrNotFound) {
			s.report(c.v, fmt.Errorf("cache %s: load %s: %w", managerID(c.manager), c.from.record.ID, c.err))
		}
		for _, e := range waiting {
			r := e.rare
			r.load = nil
			e.trace.add(traceEvent{kind: TraceLoadFailed, asked: 1 << r.candidates[0].manager})
			r.candidates = r.candidates[1:]
			s.loadNext(e)
		}
		return
	}
	ld.shared = NewSharedResult(c.result)
	for _, e := range waiting {
		s.loaded(e, ld, c)
	}
}

// unsaved reports whether the default cache is to save what was found: elsewhere,
// or by a content key in a foreign manager, which links keys where it saves.
func (from *candidate) unsaved(e *edgeState) bool {
	return from.manager != 0 || e.v.caches.own[0] == nil && from.key.hasContent()
}

// keepCall saves a result under the key of an edge that did not load it. Nobody
// waits for it.
type keepCall struct {
	task
	into CacheManager
	key  *CacheKey
	on   Result // a hold for the call
	err  error
}

func (c *keepCall) do(context.Context) {
	_, c.err = save(c.into, []*CacheKey{c.key}, c.on)
}

func (c *keepCall) done() {
	s := c.solver()
	s.trash = append(s.trash, c.on)
	if c.err != nil {
		s.report(c.v, c.err)
	}
}

// loaded gives an edge a result that was loaded: by c, or earlier.
func (s *Solver) loaded(e *edgeState, ld *loading, c *loadCall) {
	r := e.rare
	from := r.candidates[0]
	r.load, r.loaded, r.candidates = nil, ld, nil
	ld.holders++
	keys := []ExportableCacheKey{newExportableKey(from.key)}
	if c != nil && c.v == e.v {
		if c.saved != nil {
			keys = c.saved
		}
		s.note(e.v, client.Cached, c.owner, nil)
		e.trace.add(traceEvent{kind: TraceLoaded, asked: 1 << from.manager})
	} else {
		if from.unsaved(e) {
			c := &keepCall{into: e.v.caches.list[0], key: from.key, on: ld.shared.Clone()}
			s.enqueue(&c.task, c, e.v, lightLane, 1)
		}
		s.note(e.v, client.Shared, nil, nil)
		e.trace.add(traceEvent{kind: TraceShared, asked: 1 << from.manager})
	}
	s.succeed(e, edge.Loaded, ld.shared, keys)
}

// unload ends an edge's use of a loaded result.
func (s *Solver) unload(ld *loading) {
	if ld.holders--; ld.holders == 0 {
		delete(s.loads, ld.name)
		s.trash = append(s.trash, ld.shared)
	}
}
