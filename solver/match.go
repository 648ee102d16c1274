package solver

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// match finds the keys that all inputs of an edge share, in every cache in which
// each of them leads to the operation.
func (s *Solver) match(e *edgeState) (edge.Event, bool) {
	set, v := e.v.caches, e.v
	op := v.op.mapAt(e.maps - 1)
	s.noteAsked(e)
	among := s.g.Asked(e.id)
	var deps []keyDep
	var roots []*CacheKey
	if s.g.Inputs(v.id) == 0 {
		roots = e.keys[:len(e.keys):len(e.keys)]
	} else {
		among = s.g.Matched(e.id)
		deps = s.currentDeps(e)
	}
	var found []foundKey
	for m, src := range set.list {
		if among&(1<<m) == 0 {
			continue
		}
		if deps != nil && src.own == nil {
			for _, k := range s.shared(e, m) {
				found = append(found, foundKey{theirs: k, manager: m})
			}
			among &^= 1 << m
			continue
		}
		if src.inline {
			keys, err := matchIn(src, op.Digest, e.index, depsFor(m, deps), roots)
			if err != nil {
				s.report(v, err)
			}
			for _, k := range keys {
				found = append(found, foundKey{theirs: k, manager: m})
			}
		}
	}
	if among = s.elsewhere(v, among); among == 0 {
		return s.takeFound(e, found), true
	}
	s.gather(e, among, func(m int) *lookupCall {
		return &lookupCall{op: op, match: depsFor(m, deps), roots: roots}
	}, func(s *Solver, e *edgeState, ask *asking) {
		s.tell(e, s.takeFound(e, ask.found))
	}).found = found
	return edge.Event{}, false
}

// shared are the keys that a manager that is not of this package found by every input,
// sorted by ID.
func (s *Solver) shared(e *edgeState, m int) []*CacheKey {
	var kept []answer
	for _, a := range e.readExtra().answers {
		if a.manager == m {
			kept = append(kept, a)
		}
	}
	slices.SortStableFunc(kept, func(a, b answer) int {
		return cmp.Or(strings.Compare(a.key.ID, b.key.ID), cmp.Compare(a.input, b.input))
	})
	var out []*CacheKey
	inputs := 0
	for i, a := range kept {
		switch {
		case i == 0 || kept[i-1].key.ID != a.key.ID:
			inputs = 1
		case kept[i-1].input != a.input:
			inputs++
		default:
			continue // found twice
		}
		if inputs == s.g.Inputs(e.v.id) {
			out = append(out, a.key)
		}
	}
	return out
}

// takeFound notes keys that caches have for an edge, and answers the machine.
func (s *Solver) takeFound(e *edgeState, found []foundKey) edge.Event {
	alternatives := s.alternatives(e.v)
	for _, f := range found {
		if !e.find(f) {
			continue
		}
		f.key = s.keyFor(e, f.theirs)
		if e.v.caches.list[f.manager].own == nil && f.theirs.caches != nil {
			// The manager hands on what one of this package has, which knows more.
			f.key.exportWith([]ExportableCacheKey{newExportableKey(f.theirs)})
		}
		if src := e.v.caches.list[0]; f.manager == 0 && src.own != nil && alternatives {
			s.link(e, src, f.key)
		}
		e.extra.found = append(e.extra.found, f)
		if e.knownBy(f.key) {
			s.learn(e, f.key)
		}
	}
	r := e.readExtra()
	e.trace.add(traceEvent{kind: TraceMatch, asked: uint32(s.g.Asked(e.id)), n: int32(len(r.found) - r.tried)})
	return edge.Event{Kind: edge.Matched, Flag: len(r.found) > r.tried}
}

// find notes that a key was found, and reports whether it is new.
func (e *edgeState) find(f foundKey) bool {
	r := e.needExtra()
	name := foundName{f.manager, f.theirs.ID}
	if _, ok := r.known[name]; ok {
		return false
	}
	if r.known == nil {
		r.known = map[foundName]struct{}{}
	}
	r.known[name] = struct{}{}
	return true
}

// knownBy reports whether a key that was found tells those above something new.
func (e *edgeState) knownBy(k *CacheKey) bool {
	r := e.extra
	if _, ok := r.learned[k.ID]; ok {
		return false
	}
	if r.learned == nil {
		r.learned = map[string]struct{}{}
		for _, o := range e.lookups() {
			r.learned[o.ID] = struct{}{}
		}
		if _, ok := r.learned[k.ID]; ok {
			return false
		}
	}
	r.learned[k.ID] = struct{}{}
	return true
}

// keyFor is a key a cache has for the edge, with all that is known of its inputs.
func (s *Solver) keyFor(e *edgeState, found *CacheKey) *CacheKey {
	if s.g.Inputs(e.v.id) == 0 {
		for _, k := range e.keys {
			if k.ID == found.ID {
				return k
			}
		}
		return found
	}
	own := e.keys[0]
	if found.ID == own.ID && !s.alternatives(e.v) {
		return own
	}
	return own.with(found.ID, s.currentDeps(e))
}

// alternatives reports whether some input of a vertex is known by more than one key.
func (s *Solver) alternatives(v *vertex) bool {
	for i, in := range s.g.Below(v.id) {
		if len(s.edge(in).keys) > 1 || v.content(i) != nil {
			return true
		}
	}
	return false
}

// currentDeps are the alternatives known for each input now.
func (s *Solver) currentDeps(e *edgeState) []keyDep {
	if s.g.Inputs(e.v.id) == 0 {
		return nil
	}
	if len(e.keys) > 0 && !s.alternatives(e.v) && !s.freshBelow(e.v) {
		return e.keys[0].deps
	}
	return s.lookupDeps(e.v)
}

// lookupDeps are the alternatives for each input that a cache may be asked about.
func (s *Solver) lookupDeps(v *vertex) []keyDep {
	deps := s.keyDeps(v)
	for i, in := range s.g.Below(v.id) {
		deps[i].keys = s.edge(in).lookups()
	}
	return deps
}

// freshBelow reports whether an input is fresh.
func (s *Solver) freshBelow(v *vertex) bool {
	if !v.fresh {
		return false
	}
	for _, in := range s.g.Below(v.id) {
		if s.edge(in).v.fresh {
			return true
		}
	}
	return false
}
