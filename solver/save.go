package solver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keysToSave are the edge's definition keys with all that is known of its inputs.
func (s *Solver) keysToSave(e *edgeState) []*CacheKey {
	if s.g.Inputs(e.v.id) == 0 {
		return e.keys[:len(e.keys):len(e.keys)]
	}
	if !s.alternatives(e.v) {
		return e.keys[:1:1]
	}
	return []*CacheKey{e.keys[0].with(e.keys[0].ID, s.keyDeps(e.v))}
}

// patiently makes a call that changes a cache. A cache that does not return in time is left
// out until it has: the call goes on by itself, and late is closed when it ends.
func (s *Solver) patiently(src *source, call func() error) (late <-chan struct{}, err error) {
	if src.hung.Load() > 0 {
		return nil, src.leftOut(s.patience)
	}
	returned := make(chan struct{})
	ended := errGoexit
	go func() {
		defer close(returned)
		ended = call()
	}()
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case <-returned:
		if ended == errGoexit {
			ended = fmt.Errorf("cache %s: %w", src.id, errGoexit)
		}
		return nil, ended
	case <-patience.C:
	}
	src.hung.Add(1)
	go func() {
		<-returned
		src.hung.Add(-1)
	}()
	return returned, fmt.Errorf("cache %s is left out: it has not returned within %v", src.id, s.patience)
}

// save is the function save, made patiently. Where the cache is late, it keeps *r, and the
// caller gets another hold in its place.
func (s *Solver) save(src *source, keys []*CacheKey, r *Result) ([]ExportableCacheKey, error) {
	if src.quick {
		return save(src, keys, *r)
	}
	on := *r
	var saved []ExportableCacheKey
	late, err := s.patiently(src, func() (err error) {
		saved, err = save(src, keys, on)
		return err
	})
	if late == nil {
		return saved, err
	}
	shared := NewSharedResult(on)
	*r = shared.Clone()
	go func() {
		<-late
		releaseAll([]releaser{shared}) //nolint:errcheck // there is nobody to tell any more
	}()
	return nil, err
}

// save stores a result under each of its keys. It returns what the cache has for
// them: nil if that is the keys themselves. So does a key for itself where saving
// fails.
func save(src *source, keys []*CacheKey, r Result) (out []ExportableCacheKey, err error) {
	var errs []error
	for i, k := range keys {
		ek, err := saveOne(src, k, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("cache %s: save: %w", src.id, err))
		}
		if err != nil || ek.CacheKey == nil {
			ek = newExportableKey(k)
		}
		if own, ok := ek.Exporter.(*keyExporter); out == nil && ok && (*CacheKey)(own) == k && ek.CacheKey == k {
			continue
		}
		if out == nil {
			out = newExportGroup(keys[:i])
		}
		out = append(out, ek)
	}
	return out, errors.Join(errs...)
}

func saveOne(src *source, k *CacheKey, r Result) (ek ExportableCacheKey, err error) {
	defer recovered("Save", &err)
	if src.own != nil {
		return src.own.save(k, r)
	}
	saved, err := src.manager.Save(k, r)
	if saved != nil {
		ek = *saved
	}
	return ek, err
}

// saveCall saves an output for an edge that did not start its run.
type saveCall struct {
	task
	e    *edgeState
	x    *run
	keys []*CacheKey
	into *source
	on   Result // a hold for the call

	saved []ExportableCacheKey
}

// saveFor saves an output under the keys of an edge that waited for it.
func (s *Solver) saveFor(e *edgeState, x *run, shared *SharedResult) {
	c := &saveCall{e: e, x: x, keys: s.keysToSave(e), into: e.v.caches.list[0], on: shared.Clone()}
	if id := x.savedID(e.index); id != "" && s.g.Inputs(e.v.id) > 0 {
		// What was saved stays one record: the keys of this edge's inputs lead to it.
		k := c.keys[0].with(id, c.keys[0].deps)
		c.keys = []*CacheKey{k}
		if e.needExtra(); e.knownBy(k) {
			s.learn(e, k)
		}
	}
	e.needExtra().save = c
	s.enqueue(c, e.v, c.into.lane, 1)
}

func (c *saveCall) vertices(fn func(*vertex)) { fn(c.e.v) }

func (c *saveCall) do(context.Context) {
	var err error
	if c.saved, err = c.s.save(c.into, c.keys, &c.on); c.saved == nil {
		c.saved = newExportGroup(c.keys)
	}
	c.err = err
}

func (c *saveCall) done() {
	s, e := c.s, c.e
	s.throw(c.on)
	if c.dropped {
		return
	}
	e.extra.save = nil
	if c.err != nil {
		s.report(e.v, c.err)
	}
	if c.saved == nil { // its goroutine was ended
		c.saved = newExportGroup(c.keys)
	}
	exportTogether(c.keys, c.saved)
	if c.x.savedID(e.index) == "" {
		c.x.setSaved(e.index, c.saved)
	}
	s.take(e, c.x, c.saved)
}
