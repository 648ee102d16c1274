package solver

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// load makes the vertices of a plan active, held by jobs, and returns the top
// one. Sources are asked by all of them beside their own.
func (s *Solver) load(p *plan, jobs []*Job, sources *cacheSet) (*vertex, error) {
	if len(jobs) == 0 {
		return nil, errDiscarded
	}
	if n := p.items.n; s.vertices.n == 0 && s.execs[0].n == 0 && n > roomWorth {
		s.vertices.reserve(n)
		s.execs[0].reserve(n)
	}
	for _, j := range jobs {
		j.vertices = slices.Grow(j.vertices, len(p.order))
	}
	// Vertices share memory only with others of the same graph.
	defer func() { s.spare, s.spareClimbs = nil, nil }()
	loaded := make([]*vertex, p.items.n)
	for n, i := range p.order {
		it := p.items.at(int(i))
		v, err := s.loadVertex(it, it.inputs, loaded, len(p.order)-n)
		if err != nil {
			return nil, err
		}
		loaded[i] = v
		s.addSources(v, it.opts, sources)
		for _, j := range jobs {
			j.hold(v)
		}
	}
	return loaded[0], nil
}

// roomWorth is how large a graph must be for an idle solver to make room for it.
const roomWorth = 1000

// newVertex allocates a vertex. Vertices of one graph mostly live and die
// together, so a few of them are one object.
func (s *Solver) newVertex(left int) *vertex {
	if len(s.spare) == 0 {
		s.spare = make([]vertex, min(vertexBatch, left))
	}
	v := &s.spare[0]
	s.spare = s.spare[1:]
	return v
}

// newClimb is the same for what their edges need that have not ended. It is cleared
// when they have, so that one that has not keeps nothing of the others.
func (s *Solver) newClimb() *climb {
	if len(s.spareClimbs) == 0 {
		if len(s.spare) == 0 {
			return &climb{}
		}
		s.spareClimbs = make([]climb, climbBatch)
	}
	c := &s.spareClimbs[0]
	s.spareClimbs = s.spareClimbs[1:]
	return c
}

// So many of each fill what the allocator hands out.
const (
	vertexBatch = 15
	climbBatch  = 17
)

// active are the active vertices of a digest.
func (s *Solver) active(d digest.Digest, hash uint32) (known variants) {
	s.vertices.find(hash, func(v *vertex) bool {
		switch {
		case v.digest != d:
		case v.ignore:
			known.ignoring = v
		default:
			known.normal = v
		}
		return false // there may be another one
	})
	return known
}

// loadVertex finds the active vertex that serves a request, or makes it.
func (s *Solver) loadVertex(it *planItem, inputs []planEdge, loaded []*vertex, left int) (*vertex, error) {
	opts := it.options()
	known := s.active(it.digest, it.hash)
	v := known.ignoring
	if v == nil && !opts.IgnoreCache {
		v = known.normal
	}
	if v != nil {
		return v, sameInputs(v, inputs, loaded)
	}
	v = s.newVertex(left)
	v.vtx, v.digest, v.name = it.vtx, it.digest, it.name
	v.ignore, v.weight = opts.IgnoreCache, int32(min(max(1, opts.Weight), math.MaxInt32))
	if opts.ExportCache != nil {
		v.more().exportable = opts.ExportCache
	}
	v.caches = s.defaults
	if len(inputs) > 0 {
		if v.inputs = v.inputsRoom[:]; len(inputs) > 1 {
			v.inputs = make([]*edgeState, len(inputs))
		}
		for i, in := range inputs {
			v.inputs[i] = s.output(loaded[in.item], in.index)
		}
	}
	v.op = &v.ownOp
	v.op.builder = builder{s: s, v: v}
	if v.ignore {
		if known.normal != nil {
			v.op = known.normal.op
			if subs := known.normal.has().subs; len(subs) > 0 { // CacheMap may wait for them
				v.more().subs = slices.Clone(subs)
			}
		}
	}
	v.op.vertices.add(v)
	s.vertices.insert(it.hash, v)
	return v, nil
}

// sameInputs checks that a vertex that was loaded before has the same inputs.
func sameInputs(v *vertex, inputs []planEdge, loaded []*vertex) error {
	same := len(v.inputs) == len(inputs)
	for i := 0; same && i < len(v.inputs); i++ {
		in, o := v.inputs[i], loaded[inputs[i].item]
		same = in.index == inputs[i].index && (in.v == o || in.v.digest == o.digest)
	}
	if same {
		return nil
	}
	return v.wrap(fmt.Errorf("the vertex was loaded before with other inputs: a vertex of one digest must not change"))
}

// addSources has a vertex ask further caches.
func (s *Solver) addSources(v *vertex, opts *VertexOptions, inherited *cacheSet) {
	var own []CacheManager
	if opts != nil {
		own = opts.CacheSources
	}
	if len(own) == 0 && (inherited == nil || inherited == s.defaults) {
		return
	}
	set := v.caches
	for _, m := range own {
		if !isNil(m) {
			set = set.with(m)
		}
	}
	if inherited != nil {
		for _, m := range inherited.list {
			set = set.with(m)
		}
	}
	added := set.mask() &^ v.caches.mask()
	if added == 0 {
		return
	}
	v.caches = set
	defer s.contain(v)
	for e := range v.edges {
		if e.settled() {
			continue
		}
		for i := range e.ins {
			e.ins[i].probed, e.ins[i].content = 0, false
		}
		if !v.ignore {
			// At once, and not in its turn: whoever asks the edge in this turn is to
			// hear of it.
			s.step(e, edge.Event{Kind: edge.Added, Mask: added})
		}
	}
}

// adopt makes a vertex that was built by an op part of what holds the op's vertex.
func (s *Solver) adopt(v, sub *vertex) {
	if slices.Contains(v.has().subs, sub) {
		return
	}
	v.more().subs = append(v.rare.subs, sub)
	for slot := range v.jobs.all {
		s.slots[slot].hold(sub)
	}
}

// hold makes a job hold a vertex and all it stands on.
func (j *Job) hold(v *vertex) {
	j.take(v)
	if j.holdsBelow(v) {
		return
	}
	for stack := []*vertex{v}; len(stack) > 0; {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		v.below(func(o *vertex) {
			if !o.jobs.has(j.slot) {
				j.take(o)
				stack = append(stack, o)
			}
		})
	}
}

// below visits what a vertex stands on: its inputs, and what its op has built.
func (v *vertex) below(fn func(*vertex)) {
	for _, in := range v.inputs {
		fn(in.v)
	}
	for _, sub := range v.has().subs {
		fn(sub)
	}
}

// holdsBelow reports whether the job holds what a vertex stands on directly. It
// then holds all of it, since it takes nothing without what is below.
func (j *Job) holdsBelow(v *vertex) bool {
	all := true
	v.below(func(o *vertex) { all = all && o.jobs.has(j.slot) })
	return all
}

// take makes a job hold a vertex alone.
func (j *Job) take(v *vertex) {
	if v.jobs.has(j.slot) {
		return
	}
	v.jobs.add(j.slot)
	j.vertices = append(j.vertices, v)
	j.s.showVertex(j, v)
	j.joinCalls(v)
}

// joinCalls has the calls under way for a vertex count for the job too, so that
// they get its share of the slots.
func (j *Job) joinCalls(v *vertex) {
	if c := v.op.call; c != nil {
		j.s.queue.pushAlso(&c.task, &j.lines[c.lane])
	}
	if x := v.exec; x != nil && x.call != nil {
		j.s.queue.pushAlso(&x.call.task, &j.lines[x.call.lane])
	}
}

// releaseAtLast releases a vertex that no job holds. A fault leaves the others as
// they are.
func (s *Solver) releaseAtLast(v *vertex) {
	defer s.contain(v)
	s.release(v)
}

// release lets go of a vertex that no job holds.
func (s *Solver) release(v *vertex) {
	v.released = true
	s.vertices.remove(hashOf(string(v.digest)), v)
	for e := range v.edges {
		s.edges--
		if !e.settled() {
			s.abandon(e)
			dismiss(e.waiters) // which are being released too
			*e.climb = climb{}
			e.failed, e.climb = true, nil
			for _, r := range e.has().requests {
				r.end(nil, errDiscarded)
			}
		} else if ld := e.has().loaded; ld != nil {
			s.unload(ld)
		}
	}
	s.letGo(v)
	v.op.vertices.remove(v)
}

// errDiscarded is what waits in a job that is discarded ends with.
var errDiscarded = errors.New("the job was discarded")
