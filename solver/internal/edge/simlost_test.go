package edge

import (
	"maps"
	"slices"
)

// What the simulated driver does about results and records that vanish.

// simTaken is a result that an execution has taken: which one, and whether it was gone
// before.
type simTaken struct {
	result int
	gone   bool
}

func (s *sim) input(v *simVertex, i int) *simEdge {
	in := v.spec.Inputs[i]
	return s.edge(in.Vertex, in.Output)
}

// solved reports whether an edge has a result, as far as is known.
func (e *simEdge) solved() bool { return e.settled && !e.failed }

// lose takes some result away. Who uses it next finds out.
func (s *sim) lose() {
	var all []*simEdge
	for _, v := range s.vertices {
		for _, e := range v.edges {
			if e.solved() && !e.gone {
				all = append(all, e)
			}
		}
	}
	if len(all) > 0 {
		s.changes++
		all[s.r.IntN(len(all))].gone = true
	}
}

// evict takes some record out of a cache.
func (s *sim) evict() {
	c := s.caches[s.r.IntN(3)]
	if keys := slices.Sorted(maps.Keys(c.records)); len(keys) > 0 {
		s.changes++
		delete(c.records, keys[s.r.IntN(len(keys))])
	}
}

// lostBy is an input whose result an execution could not use; -1 if it could use all. One
// that was lost meanwhile may have been used before.
func (s *sim) lostBy(x *simExec) int {
	for i, t := range x.took {
		in := s.input(x.v, i)
		if t.gone || (in.gone || in.results != t.result || !in.settled) && s.r.IntN(4) > 0 {
			return i
		}
	}
	return -1
}

// rewind has a lost input be made again, and who waited for the execution ask for it.
func (s *sim) rewind(x *simExec, i int) {
	if in := s.input(x.v, i); in.solved() && in.results == x.took[i].result {
		s.remake(in)
	}
	s.cancel(x)
	for _, e := range x.waiting {
		e.exec = nil
		t := task{e: e, kind: Lost, input: -1, flag: true}
		if e.v == x.v {
			t.input = int32(i)
		}
		s.tell(t)
	}
	x.waiting = nil
}

// lostDigest reports whether the content key of an input cannot be computed because its
// result is gone. It is then made again.
func (s *sim) lostDigest(e *simEdge, i int32) bool {
	in := s.input(e.v, int(i))
	if e.v.contents[i] != "" || in.solved() && !in.gone {
		return false
	}
	if in.solved() {
		s.remake(in)
	}
	return true
}

// remake has an edge be solved anew, and with it what came of the same execution.
func (s *sim) remake(e *simEdge) {
	s.changes++
	if e.loaded {
		s.reopen(e)
		return
	}
	x := e.v.exec
	s.unregister(x)
	e.v.exec = nil
	e.v.remade++
	for _, o := range e.v.edges {
		switch {
		case o.solved() && !o.loaded:
			s.reopen(o)
		case o.exec == x: // it was about to take its output
			s.step(o, Event{Kind: Want})
			s.tell(task{e: o, kind: Want})
		}
	}
}

func (s *sim) reopen(e *simEdge) {
	e.known = AllKeys
	e.settled, e.gone, e.value = false, false, ""
	e.maps, e.found, e.tried, e.asked = 0, nil, 0, 0
	e.epoch++
	e.begin()
}
