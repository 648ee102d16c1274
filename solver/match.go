package solver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// match finds the keys that all inputs of an edge share, in every cache in which
// each of them leads to the operation.
func (s *Solver) match(e *edgeState) {
	set, v := e.v.caches, e.v
	op := v.op.mapAt(e.maps - 1)
	s.noteAsked(e)
	among := set.mask()
	var deps []keyDep
	var roots []*CacheKey
	if len(v.inputs) == 0 {
		roots = e.keys[:len(e.keys):len(e.keys)]
	} else {
		for i := range e.ins {
			among &= e.ins[i].matched
		}
		deps = e.currentDeps()
	}
	var found []foundKey
	for m := range set.list {
		if among&(1<<m) == 0 {
			continue
		}
		if deps != nil && e.keeps(m) {
			for _, k := range e.shared(m) {
				found = append(found, foundKey{theirs: k, manager: m})
			}
			continue
		}
		if set.inline&(1<<m) != 0 {
			keys, err := matchIn(set, m, op.Digest, e.index, deps, roots)
			if err != nil {
				s.report(v, err)
			}
			for _, k := range keys {
				found = append(found, foundKey{theirs: k, manager: m})
			}
		}
	}
	elsewhere := among &^ set.inline
	for m := range set.own {
		if set.own[m] == nil && deps != nil {
			elsewhere &^= 1 << m
		}
	}
	if elsewhere == 0 {
		s.takeFound(e, found)
		return
	}
	c := s.newLookup(e)
	c.op, c.match, c.roots, c.among, c.found = op, deps, roots, elsewhere, found
	s.enqueue(&c.task, c, e.v, lightLane, 1)
}

// keeps reports whether the edge has what a manager found by each of its inputs,
// and need not ask it. One of this package is asked where keys are to be linked to
// what it has: that must still be there.
func (e *edgeState) keeps(m int) bool {
	own := e.v.caches.own[m]
	return own == nil || own.mem == nil && own.inMemory && e.has().tooMany&(1<<m) == 0 && !e.alternatives()
}

// shared are the keys that a manager found by every input, sorted by ID.
func (e *edgeState) shared(m int) []*CacheKey {
	var kept []answer
	for _, a := range e.has().answers {
		if a.manager == m {
			kept = append(kept, a)
		}
	}
	slices.SortStableFunc(kept, func(a, b answer) int {
		return cmp.Or(strings.Compare(a.id, b.id), cmp.Compare(a.input, b.input))
	})
	var out []*CacheKey
	var ids []string
	inputs := 0
	for i, a := range kept {
		switch {
		case i == 0 || kept[i-1].id != a.id:
			inputs = 1
		case kept[i-1].input != a.input:
			inputs++
		default:
			continue // found twice
		}
		if inputs < len(e.ins) {
			continue
		}
		if ids = append(ids, a.id); a.key != nil {
			out = append(out, a.key)
		}
	}
	if own := e.v.caches.own[m]; own != nil {
		return own.keys(ids, e.v.op.first.Digest, e.index)
	}
	return out
}

// takeFound notes keys that caches have for an edge, and answers the machine.
func (s *Solver) takeFound(e *edgeState, found []foundKey) {
	alternatives := e.alternatives()
	for _, f := range found {
		if e.hasFound(f) {
			continue
		}
		f.key = e.keyFor(f.theirs)
		if own := e.v.caches.own[f.manager]; own != nil && alternatives {
			s.link(e, own, f.key)
		}
		r := e.more()
		r.found = append(r.found, f)
		e.learn(f.key)
	}
	r := e.has()
	e.trace.add(traceEvent{kind: TraceMatch, asked: uint32(e.v.caches.mask()), n: int32(len(r.found) - r.tried)})
	s.tell(step{e: e, kind: edge.Matched, flag: len(r.found) > r.tried})
}

func (e *edgeState) hasFound(f foundKey) bool {
	for _, o := range e.has().found {
		if o.manager == f.manager && o.theirs.ID == f.theirs.ID {
			return true
		}
	}
	return false
}

// learn adds a key to those the edge is known by.
func (e *edgeState) learn(k *CacheKey) {
	for _, o := range e.keys {
		if o.ID == k.ID {
			return
		}
	}
	e.keys = append(e.keys, k)
}

// keyFor is a key a cache has for the edge, with all that is known of its inputs.
func (e *edgeState) keyFor(found *CacheKey) *CacheKey {
	if len(e.v.inputs) == 0 {
		for _, k := range e.keys {
			if k.ID == found.ID {
				return k
			}
		}
		return found
	}
	own := e.keys[0]
	if found.ID == own.ID && !e.alternatives() {
		return own
	}
	return &CacheKey{ID: found.ID, digest: own.digest, output: own.output, deps: e.currentDeps(), export: own.export, caches: own.caches}
}

// alternatives reports whether some input is known by more than one key.
func (e *edgeState) alternatives() bool {
	for i, in := range e.v.inputs {
		if len(in.keys) > 1 || e.v.content(i) != nil {
			return true
		}
	}
	return false
}

// currentDeps are the alternatives known for each input now.
func (e *edgeState) currentDeps() []keyDep {
	if len(e.v.inputs) == 0 {
		return nil
	}
	if len(e.keys) > 0 && !e.alternatives() {
		return e.keys[0].deps
	}
	return e.v.keyDeps()
}

// link has a cache remember that all keys by which the inputs are known lead to
// one that it has, so that the next build finds it by the definition alone.
func (s *Solver) link(e *edgeState, m *cacheManager, k *CacheKey) {
	c := &linkCall{m: m, key: k}
	if m.answersFromMemory() {
		c.v = e.v
		c.do(context.Background())
		c.done()
		return
	}
	s.enqueue(&c.task, c, e.v, lightLane, 1)
}

// linkCall links keys in a cache. Nobody waits for it.
type linkCall struct {
	task
	m   *cacheManager
	key *CacheKey
	err error
}

func (c *linkCall) do(context.Context) {
	defer recovered("linking keys", &c.err)
	c.err = c.m.link(c.key)
}

func (c *linkCall) done() {
	if c.err != nil {
		c.solver().report(c.v, fmt.Errorf("cache %s: linking keys: %w", c.m.ID(), c.err))
	}
}
