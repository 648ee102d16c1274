package solver

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// loadName names a stored result.
type loadName struct{ manager, record string }

// loading is a result being loaded from a cache, and once it is there, the
// result. Edges that want the same record share it, each with its own hold.
// Guarded by Solver.mu.
type loading struct {
	name    loadName
	call    *loadCall // nil once it is done
	waiting graph.List
	holders int
	shared  *SharedResult
}

// loadCall loads one record.
type loadCall struct {
	task
	ld   *loading
	from candidate
	src  *source
	// into is where a result found elsewhere, or by a content key, is saved; nil if
	// it is there already.
	into *source
	key  *CacheKey

	result   Result
	saved    []ExportableCacheKey
	cacheErr error
}

func (c *loadCall) vertices(fn func(*vertex)) { c.s.verticesIn(&c.ld.waiting, fn) }

// loadRecord begins to load the best record of the keys found for an edge.
func (s *Solver) loadRecord(e *edgeState) {
	r := e.extra
	if r.tried == len(r.found) {
		// That nothing of it can be loaded was known, and abandoned before it was told.
		s.loadNext(e)
		return
	}
	keys := append([]foundKey(nil), r.found[r.tried:]...)
	var among edge.Managers
	for _, f := range keys {
		among |= 1 << f.manager
	}
	left := among &^ e.v.caches.inline &^ s.elsewhere(e.v, among)
	among &^= left
	if among == 0 {
		s.listed(e, nil)
		return
	}
	s.gather(e, among, func(m int) *lookupCall {
		c := &lookupCall{}
		for _, f := range keys {
			if f.manager == m {
				c.keys = append(c.keys, f)
			}
		}
		return c
	}, func(s *Solver, e *edgeState, ask *asking) { s.listed(e, ask.candidates) })
}

// listed takes the records of the keys that were found for an edge.
func (s *Solver) listed(e *edgeState, candidates []candidate) {
	sortCandidates(candidates)
	e.extra.tried = len(e.extra.found)
	e.extra.candidates = candidates
	s.loadNext(e)
}

// loadNext loads an edge's next candidate; without one the search goes on.
func (s *Solver) loadNext(e *edgeState) {
	r := e.extra
	if len(r.candidates) == 0 {
		e.trace.add(traceEvent{kind: TraceNoRecord})
		s.tell(e, edge.Event{Kind: edge.Loaded})
		return
	}
	from := r.candidates[0]
	src := e.v.caches.list[from.manager]
	name := loadName{src.id, from.record.ID}
	ld := s.loads[name]
	if ld != nil && ld.call == nil && s.isLost(ld.shared) {
		ld = nil
	}
	if ld == nil {
		s.beginAgain(e.v)
		ld = &loading{name: name}
		c := &loadCall{ld: ld, from: from, src: src, key: from.key}
		if from.unsaved(e) {
			c.into = e.v.caches.list[0]
			s.linkBelow(e, c.into)
		}
		ld.call = c
		s.loads[name] = ld
		s.enqueue(c, e.v, src.lane, 1)
	}
	r.load = ld
	if ld.call == nil {
		s.loaded(e, ld, nil)
		return
	}
	s.g.Wait(&ld.waiting, e.id)
	s.alsoFor(&ld.call.task, e.v)
}

func (s *Solver) leaveLoad(e *edgeState) {
	ld := e.readExtra().load
	if ld == nil {
		return
	}
	e.extra.load = nil
	// Asked again, the edge lists the records anew.
	e.extra.tried = 0
	s.g.Leave(&ld.waiting, e.id)
	if ld.call != nil && ld.waiting.Len() == 0 {
		s.drop(&ld.call.task)
		delete(s.loads, ld.name)
	}
}

func (c *loadCall) do(ctx context.Context) {
	c.s.begin(c.v)
	c.result, c.err = callLoad(ctx, c.src.manager, c.from.record)
	if c.err != nil {
		if c.src.own != nil && c.from.manager == 0 && ctx.Err() == nil {
			_, c.cacheErr = c.s.patiently(c.src, func() error { return forget(c.src.own, c.from.record) })
		}
		return
	}
	if c.into != nil {
		c.saved, c.cacheErr = c.s.save(c.into, []*CacheKey{c.key}, &c.result)
		if c.saved == nil {
			c.saved = newExportGroup([]*CacheKey{c.key})
		}
	}
}

// fail implements work. A save that ended the goroutine does not undo the load.
func (c *loadCall) fail(err error) {
	if c.result == nil {
		c.err = err
		return
	}
	c.saved = newExportGroup([]*CacheKey{c.key})
	c.cacheErr = fmt.Errorf("cache %s: save: %w", c.into.id, err)
}

func callLoad(ctx context.Context, m CacheManager, rec *CacheRecord) (r Result, err error) {
	defer recovered("Load", &err)
	r, err = m.Load(ctx, rec)
	switch {
	case isNil(r) && err == nil:
		err = errors.New("the cache returned no result")
	case !isNil(r) && err != nil:
		err = errors.Join(err, release(r))
		r = nil
	}
	return r, err
}

// forget has a cache drop a record that does not load.
func forget(m *cacheManager, rec *CacheRecord) (err error) {
	defer recovered("forgetting a record", &err)
	return m.forget(rec)
}

func (c *loadCall) done() {
	s, ld := c.s, c.ld
	s.calls[2]++
	if c.dropped {
		if c.err == nil {
			s.throw(c.result)
		}
		return
	}
	ld.call = nil
	if c.cacheErr != nil {
		s.report(c.v, c.cacheErr)
	}
	if c.err != nil {
		delete(s.loads, ld.name)
		if !errors.Is(c.err, ErrNotFound) {
			s.report(c.v, fmt.Errorf("cache %s: load %s: %w", c.src.id, c.from.record.ID, c.err))
		}
	} else {
		ld.shared = NewSharedResult(c.result)
	}
	for id := s.g.Pop(&ld.waiting); id != 0; id = s.g.Pop(&ld.waiting) {
		e := s.edge(id)
		r := e.extra
		if c.err == nil {
			s.loaded(e, ld, c)
			continue
		}
		r.load = nil
		e.trace.add(traceEvent{kind: TraceLoadFailed, asked: 1 << r.candidates[0].manager})
		r.candidates = r.candidates[1:]
		s.loadNext(e)
	}
}

// unsaved reports whether the default cache is to save what was found: elsewhere,
// or by a content key in a foreign manager, which links keys where it saves.
func (from *candidate) unsaved(e *edgeState) bool {
	return from.manager != 0 || e.v.caches.list[0].own == nil && from.key.hasContent()
}

// keepCall saves a result under the key of an edge that did not load it. Nobody
// waits for it.
type keepCall struct {
	task
	into *source
	key  *CacheKey
	on   Result // a hold for the call
}

func (c *keepCall) vertices(func(*vertex)) {}

func (c *keepCall) do(context.Context) {
	_, c.err = c.s.save(c.into, []*CacheKey{c.key}, &c.on)
}

func (c *keepCall) done() {
	s := c.s
	s.throw(c.on)
	if c.err != nil {
		s.report(c.v, c.err)
	}
}

// loaded gives an edge a result that was loaded: by c, or earlier.
func (s *Solver) loaded(e *edgeState, ld *loading, c *loadCall) {
	r := e.extra
	from := r.candidates[0]
	r.load, r.loaded, r.candidates = nil, ld, nil
	ld.holders++
	keys := []ExportableCacheKey{newExportableKey(from.key)}
	if c != nil && c.v == e.v {
		if c.saved != nil {
			keys = c.saved
		}
		e.trace.add(traceEvent{kind: TraceLoaded, asked: 1 << from.manager})
	} else {
		if from.unsaved(e) {
			into := e.v.caches.list[0]
			s.linkBelow(e, into)
			s.enqueue(&keepCall{into: into, key: from.key, on: ld.shared.Clone()}, e.v, into.lane, 1)
		}
		e.trace.add(traceEvent{kind: TraceShared, asked: 1 << from.manager})
	}
	s.note(e.v, client.Cached, nil, nil)
	s.succeed(e, edge.Loaded, ld.shared, keys)
}

// unload ends an edge's use of a loaded result.
func (s *Solver) unload(ld *loading) {
	if ld.holders--; ld.holders == 0 {
		if s.loads[ld.name] == ld {
			delete(s.loads, ld.name)
		}
		s.throw(ld.shared)
	}
}
