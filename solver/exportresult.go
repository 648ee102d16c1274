package solver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// exportRecord is a result that a node may be exported with.
type exportRecord struct {
	storedResult
	createdAt time.Time
	// manager holds it; or other, under rec.
	manager *cacheManager
	other   CacheManager
	rec     *CacheRecord
}

// results decides for each node which result it is exported with.
func (w *exportWalk) results(top *exportNode) error {
	if w.opt.Mode == CacheExportModeMin {
		if err := w.topmost(top); err != nil {
			return err
		}
	}
	for _, n := range w.order {
		if n.asked {
			continue
		}
		forced := n.export != nil && *n.export && w.opt.Mode != CacheExportModeRemoteOnly
		if err := w.result(n, forced || w.opt.Mode == CacheExportModeMax); err != nil {
			return err
		}
	}
	return nil
}

// topmost goes down from the top, on each path as far as the first node that has
// a result. What is below of that is for what is transferable already.
func (w *exportWalk) topmost(top *exportNode) error {
	for stack := []*exportNode{top}; len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n.asked {
			continue
		}
		if err := w.result(n, true); err != nil {
			return err
		}
		if n.remote != nil {
			continue
		}
		for _, l := range n.links {
			if !l.src.asked {
				stack = append(stack, l.src)
			}
		}
	}
	return nil
}

// result finds the result that a node is exported with, if any: the newest where
// it may be converted, otherwise the newest that is transferable. One that has
// gone meanwhile makes room for the next.
func (w *exportWalk) result(n *exportNode, convert bool) error {
	n.asked = true
	isRoot := len(n.links) == 0
	if isRoot || n.export != nil && !*n.export {
		return nil
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if err := w.records(n); err != nil {
		return fmt.Errorf("export of cache key %s: %w", n, err)
	}
	for i := range w.found {
		rec := &w.found[i]
		remote, err := w.transfer(rec, convert)
		if err != nil {
			return fmt.Errorf("export of cache key %s: result %s: %w", n, rec.id, err)
		}
		if remote != nil {
			n.remote, n.createdAt = remote, rec.createdAt
			return nil
		}
	}
	return nil
}

// records collects the records of a node in all caches: the newest first, then
// in the order of the caches.
func (w *exportWalk) records(n *exportNode) error {
	w.found = w.found[:0]
	for _, m := range w.managers {
		var err error
		if w.stored, err = m.resultsOf(n.id, w.stored[:0]); err != nil {
			return err
		}
		for _, res := range w.stored {
			w.found = append(w.found, exportRecord{storedResult: storedResult{m.id, res.ID}, createdAt: res.CreatedAt, manager: m})
		}
	}
	for _, c := range w.others {
		key := n.key
		if key == nil {
			key = &CacheKey{ID: n.id, digest: n.digest, output: n.output}
		}
		recs, err := c.Records(key)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if rec == nil {
				continue
			}
			w.found = append(w.found, exportRecord{storedResult: storedResult{c.ID(), rec.ID}, createdAt: rec.CreatedAt, other: c, rec: rec})
		}
	}
	if len(w.found) > 1 {
		// Those of one cache are in order already.
		slices.SortStableFunc(w.found, func(a, b exportRecord) int { return b.createdAt.Compare(a.createdAt) })
	}
	return nil
}

// transfer returns a record's result in transferable form; nil if it has none, or
// is gone.
func (w *exportWalk) transfer(rec *exportRecord, convert bool) (*Remote, error) {
	s := w.session
	state := s.remotes[rec.storedResult]
	if state == nil {
		state = &exportedResult{}
		if rec.manager != nil {
			remote, err := rec.manager.results.LoadRemote(w.ctx, rec.result())
			if state.gone = errors.Is(err, ErrNotFound); err != nil && !state.gone {
				return nil, err
			}
			state.remote = remote
		}
		s.remotes[rec.storedResult] = state
	}
	if state.remote != nil || state.gone || state.converted || !convert {
		return state.remote, nil
	}
	remote, err := w.convert(rec)
	if state.gone = errors.Is(err, errGone); err != nil && !state.gone {
		return nil, err
	}
	state.remote, state.converted = remote, true
	return remote, nil
}

// errGone says that a record could not be loaded because it is gone, as opposed
// to what Convert may report.
var errGone = errors.New("record is gone")

// convert loads a record and makes it transferable.
func (w *exportWalk) convert(rec *exportRecord) (remote *Remote, err error) {
	var res Result
	if rec.manager != nil {
		res, err = rec.manager.load(w.ctx, rec.result())
	} else {
		res, err = rec.other.Load(w.ctx, rec.rec)
	}
	if errors.Is(err, ErrNotFound) || err == nil && res == nil {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	// Also after cancellation: it is ours, and has to be given back.
	defer func() {
		err = errors.Join(err, res.Release(context.WithoutCancel(w.ctx)))
	}()
	id := res.ID()
	if done, ok := w.session.converted[id]; ok {
		return done, nil
	}
	remote, err = w.opt.Convert(w.ctx, res)
	if err == nil {
		w.session.converted[id] = remote
	}
	return remote, err
}

func (r *exportRecord) result() CacheResult {
	return CacheResult{ID: r.id, CreatedAt: r.createdAt}
}
