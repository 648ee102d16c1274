package solver_test

import (
	"slices"
	"testing"
)

// shrink takes away from a case what it does not need in order to fail.
func shrink(t *testing.T, c *simCase, failures []string) (*simCase, []string) {
	for budget := 400; budget > 0; {
		smaller := false
		for _, candidate := range smallerCases(c) {
			if budget--; budget < 0 {
				break
			}
			if f := fails(t, candidate); f != nil {
				c, failures, smaller = candidate, f, true
				break
			}
		}
		if !smaller {
			break
		}
	}
	return c, failures
}

// fails runs a case a few times, and returns what is wrong with it.
func fails(t *testing.T, c *simCase) []string {
	for range simTries / 2 {
		if f := runCase(t, c); f != nil {
			return f
		}
	}
	return nil
}

// clone copies a case as deep as shrinking changes it.
func (c *simCase) clone() *simCase {
	n := *c
	n.vertices = slices.Clone(c.vertices)
	for i := range n.vertices {
		n.vertices[i].in = slices.Clone(n.vertices[i].in)
		n.vertices[i].subs = slices.Clone(n.vertices[i].subs)
	}
	n.caches = slices.Clone(c.caches)
	n.rounds = slices.Clone(c.rounds)
	for i := range n.rounds {
		n.rounds[i].jobs = slices.Clone(n.rounds[i].jobs)
		for k := range n.rounds[i].jobs {
			j := &n.rounds[i].jobs[k]
			j.builds, j.ignore = slices.Clone(j.builds), slices.Clone(j.ignore)
			j.sources, j.watchers = slices.Clone(j.sources), slices.Clone(j.watchers)
		}
	}
	return &n
}

// smallerCases are the cases with one thing less, the greatest first.
func smallerCases(c *simCase) []*simCase {
	var out []*simCase
	with := func(change func(*simCase) bool) {
		n := c.clone()
		if change(n) {
			out = append(out, n)
		}
	}
	for i := range c.rounds {
		with(func(n *simCase) bool { n.rounds = slices.Delete(n.rounds, i, i+1); return len(n.rounds) > 0 })
	}
	for i := range c.rounds {
		for k := range c.rounds[i].jobs {
			with(func(n *simCase) bool { n.rounds[i].jobs = slices.Delete(n.rounds[i].jobs, k, k+1); return true })
		}
	}
	for i := range c.vertices {
		with(func(n *simCase) bool { return n.without(i) })
	}
	for f := simFaults(1); f < simFaultsEnd; f <<= 1 {
		with(func(n *simCase) bool { had := n.faults&f != 0; n.faults &^= f; return had })
	}
	with(func(n *simCase) bool { had := n.unseen; n.unseen = false; return had })
	with(func(n *simCase) bool { had := n.losses > 0; n.losses /= 2; return had })
	for i := range c.vertices {
		with(func(n *simCase) bool { had := n.vertices[i].fault != sound; n.vertices[i].fault = sound; return had })
	}
	for i := range c.rounds {
		for k := range c.rounds[i].jobs {
			out = append(out, smallerJobs(c, i, k)...)
		}
	}
	for i := 1; i < len(c.caches); i++ {
		with(func(n *simCase) bool { return n.withoutCache(i) })
	}
	for i := range c.caches {
		with(func(n *simCase) bool {
			had := n.caches[i].kind != memoryCache
			n.caches[i].kind = memoryCache
			return had
		})
	}
	for i := range c.vertices {
		out = append(out, plainerVertices(c, i)...)
	}
	return out
}

func smallerJobs(c *simCase, round, job int) []*simCase {
	var out []*simCase
	with := func(change func(*simJob) bool) {
		n := c.clone()
		if change(&n.rounds[round].jobs[job]) {
			out = append(out, n)
		}
	}
	j := &c.rounds[round].jobs[job]
	for i := range j.builds {
		with(func(j *simJob) bool { j.builds = slices.Delete(j.builds, i, i+1); return true })
		with(func(j *simJob) bool { had := j.builds[i].cancelAt > 0; j.builds[i].cancelAt = 0; return had })
		with(func(j *simJob) bool { had := j.builds[i].export; j.builds[i].export = false; return had })
	}
	for i := range j.ignore {
		with(func(j *simJob) bool { j.ignore = slices.Delete(j.ignore, i, i+1); return true })
	}
	for i := range j.sources {
		with(func(j *simJob) bool { j.sources = slices.Delete(j.sources, i, i+1); return true })
	}
	for i := range j.watchers {
		with(func(j *simJob) bool { j.watchers = slices.Delete(j.watchers, i, i+1); return true })
	}
	with(func(j *simJob) bool { had := j.discardAt > 0; j.discardAt = 0; return had })
	with(func(j *simJob) bool { had := j.traceAt > 0; j.traceAt = 0; return had })
	with(func(j *simJob) bool { had := j.priority > 0; j.priority = 0; return had })
	with(func(j *simJob) bool { had := j.keep; j.keep = false; return had })
	return out
}

func plainerVertices(c *simCase, i int) []*simCase {
	var out []*simCase
	with := func(change func(*simVertex) bool) {
		n := c.clone()
		if change(&n.vertices[i]) {
			out = append(out, n)
		}
	}
	v := &c.vertices[i]
	for k := range v.in {
		with(func(v *simVertex) bool { v.in = slices.Delete(v.in, k, k+1); return true })
		with(func(v *simVertex) bool { had := v.in[k].content; v.in[k].content = false; return had })
		with(func(v *simVertex) bool { had := v.in[k].selector != ""; v.in[k].selector = ""; return had })
	}
	for k := range v.subs {
		with(func(v *simVertex) bool { v.subs = slices.Delete(v.subs, k, k+1); return true })
	}
	if v.root && len(v.keys) > 1 {
		with(func(v *simVertex) bool { v.keys = v.keys[:1]; return true })
	}
	with(func(v *simVertex) bool { had := v.weight > 1; v.weight = 1; return had })
	with(func(v *simVertex) bool { had := v.deaf; v.deaf = false; return had })
	with(func(v *simVertex) bool { had := v.export > 0; v.export = 0; return had })
	with(func(v *simVertex) bool { had := v.noop; v.noop, v.passes = false, passesValue; return had })
	with(func(v *simVertex) bool { had := v.passes > 0; v.passes = passesValue; return had })
	return out
}

// without takes a vertex out. What used it does without.
func (c *simCase) without(i int) bool {
	if len(c.vertices) == 1 {
		return false
	}
	c.vertices = slices.Delete(c.vertices, i, i+1)
	gone := func(e simEdge) bool { return e.vertex == i }
	move := func(e *simEdge) {
		if e.vertex > i {
			e.vertex--
		}
	}
	for k := range c.vertices {
		v := &c.vertices[k]
		v.in = slices.DeleteFunc(v.in, func(in simInput) bool { return gone(in.simEdge) })
		v.subs = slices.DeleteFunc(v.subs, gone)
		for n := range v.in {
			move(&v.in[n].simEdge)
		}
		for n := range v.subs {
			move(&v.subs[n])
		}
	}
	for k := range c.rounds {
		for n := range c.rounds[k].jobs {
			j := &c.rounds[k].jobs[n]
			j.builds = slices.DeleteFunc(j.builds, func(b simBuild) bool { return gone(b.simEdge) })
			for m := range j.builds {
				move(&j.builds[m].simEdge)
			}
			j.ignore = slices.DeleteFunc(j.ignore, func(v int) bool { return v == i })
			for m, v := range j.ignore {
				if v > i {
					j.ignore[m]--
				}
			}
		}
	}
	return true
}

func (c *simCase) withoutCache(i int) bool {
	c.caches = slices.Delete(c.caches, i, i+1)
	for k := range c.rounds {
		for n := range c.rounds[k].jobs {
			j := &c.rounds[k].jobs[n]
			j.sources = slices.DeleteFunc(j.sources, func(s int) bool { return s == i })
			for m, s := range j.sources {
				if s > i {
					j.sources[m]--
				}
			}
		}
	}
	return true
}
