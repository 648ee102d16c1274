package solver

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// loadSteps is how many vertices are loaded, or let go of, before the lock is given up.
const loadSteps = 128

// load makes the vertices of a plan active, held by some jobs, and returns the top one
// with the lock held, unless there is an error. Holders tells which jobs those are, now.
// Sources are asked by all vertices beside their own.
func (s *Solver) load(p *plan, holders func() []*Job, sources *cacheSet) (_ *vertex, err error) {
	loaded := make([]*vertex, p.items.End())
	var jobs []*Job
	var inputs []graph.Edge
	s.lock()
	defer func() {
		// What was loaded is kept active until all is, whoever discards what meanwhile.
		s.unrefAll(loaded)
		if err != nil {
			s.unlock()
		}
	}()
	for n, i := range p.order {
		if n%loadSteps == 0 {
			if n > 0 {
				s.pause()
			}
			if jobs = holders(); len(jobs) == 0 {
				return nil, errDiscarded
			}
		}
		it := p.items.At(i)
		inputs = inputs[:0]
		for _, in := range it.inputs {
			inputs = append(inputs, s.output(loaded[in.item], in.index).id)
		}
		v, err := s.loadVertex(it, inputs)
		if err != nil {
			return nil, err
		}
		loaded[i] = v
		s.g.Ref(v.id)
		s.addSources(v, it.opts, sources)
		for _, j := range jobs {
			s.hold(j, v)
		}
	}
	return loaded[1], nil
}

// unrefAll ends the refs of what was loaded.
func (s *Solver) unrefAll(loaded []*vertex) {
	for n, v := range loaded {
		if n%loadSteps == loadSteps-1 {
			s.pause()
		}
		if v != nil && n > 1 { // the top one stays until it is used
			s.g.Unref(v.id)
		}
	}
}

// loadVertex finds the active vertex that serves a request, or makes it: one whose inputs
// are the same, and which ignores caches if the request does. A request that may use caches
// is not made fresh by another that ignores them; it shares what that one runs.
func (s *Solver) loadVertex(it *planItem, inputs []graph.Edge) (v *vertex, err error) {
	opts := it.options()
	var op *opState
	s.index.Find(it.hash, func(id graph.Vertex) bool {
		o := s.vertex(id)
		if o.op.digest != it.digest {
			return false
		}
		op = o.op
		switch same, equal := s.sameInputs(o, inputs); {
		case !equal:
			err = o.wrap(errors.New("the vertex was loaded before with other inputs: a vertex of one digest must not change"))
		case same && o.ignore == opts.IgnoreCache:
			v = o
		}
		return false // there may be another one
	})
	if v != nil || err != nil {
		return v, err
	}
	return s.newVertex(it, op, &opts, inputs), nil
}

// newVertex makes a vertex. Op is that of others of its digest; nil if there is none.
func (s *Solver) newVertex(it *planItem, op *opState, opts *VertexOptions, inputs []graph.Edge) *vertex {
	id := s.g.Add(inputs)
	v := s.vertex(id)
	v.id, v.caches = id, s.defaults
	v.ignore, v.weight = opts.IgnoreCache, int32(min(max(1, opts.Weight), math.MaxInt32))
	v.fresh = v.ignore || slices.ContainsFunc(inputs, func(in graph.Edge) bool { return s.edge(in).v.fresh })
	if v.fresh {
		s.freshOnes++
		v.serial = s.freshOnes
	}
	if opts.ExportCache != nil {
		v.needExtra().exportable = opts.ExportCache
	}
	if op == nil {
		op = &opState{builder: builder{s: s}, vtx: it.vtx, digest: it.digest, name: it.name}
		op.builder.op = op
	} else if o := op.vertices.one; o != nil { // CacheMap may wait for what it builds
		for _, sub := range o.readExtra().subs {
			s.addSub(v, sub)
		}
	}
	v.op = op
	op.vertices.add(v)
	s.index.Insert(it.hash, id)
	return v
}

// sameInputs reports whether a vertex has the very inputs, and whether it has those of
// the same digests.
func (s *Solver) sameInputs(v *vertex, inputs []graph.Edge) (same, equal bool) {
	if s.g.Inputs(v.id) != len(inputs) {
		return false, false
	}
	same = true
	for i, in := range s.g.Below(v.id) {
		if in == inputs[i] {
			continue
		}
		same = false
		if a, b := s.edge(in), s.edge(inputs[i]); a.index != b.index || a.v.op.digest != b.v.op.digest {
			return false, false
		}
	}
	return same, true
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
			set = set.with(s.source(m))
		}
	}
	if inherited != nil {
		for _, src := range inherited.list {
			set = set.with(src)
		}
	}
	added := set.mask() &^ v.caches.mask()
	if added == 0 {
		return
	}
	v.caches = set
	for id := range s.g.Outputs(v.id) {
		s.g.ForgetProbes(id)
	}
	if !v.ignore {
		s.g.AddManagers(v.id, set.among(added))
	}
}

// holdSub has whoever holds a vertex hold what its op has built.
func (s *Solver) holdSub(v *vertex, sub graph.Vertex) {
	for job := range s.g.Jobs(v.id) {
		s.holdLater(s.numbers[job], sub)
	}
}

// addSub has a vertex stand on one that its op has built.
func (s *Solver) addSub(v *vertex, sub graph.Vertex) {
	r := v.needExtra()
	if _, ok := r.isSub[sub]; ok {
		return
	}
	if r.isSub == nil {
		r.isSub = map[graph.Vertex]struct{}{}
	}
	r.isSub[sub] = struct{}{}
	r.subs = append(r.subs, sub)
	s.g.Ref(sub)
}

// hold makes a job hold a vertex, and soon what its op has built.
func (s *Solver) hold(j *Job, v *vertex) {
	if !s.g.Hold(v.id, j.number) {
		return
	}
	s.g.Pin(v.id)
	j.held.vertices = append(j.held.vertices, v.id)
	s.showVertex(j, v)
	// The calls under way for the vertex are made for the job too.
	if c := v.op.call; c != nil {
		s.alsoJob(&c.task, j)
	}
	if x := v.run; x != nil && x.call != nil {
		s.alsoJob(&x.call.task, j)
	}
	for sub := range v.built {
		s.holdLater(j, sub)
	}
}

// pendingHold is a vertex that a job is to hold, with all that it stands on.
type pendingHold struct {
	job    *Job
	vertex graph.Vertex
}

func (s *Solver) holdLater(j *Job, v graph.Vertex) {
	if s.g.Holds(v, j.number) {
		return
	}
	s.g.Ref(v)
	s.holds = append(s.holds, pendingHold{j, v})
}

// holdSome makes jobs hold what they are to hold. It takes no more than n vertices, and
// returns how many it took.
func (s *Solver) holdSome(n int) (taken int) {
	for ; taken < n && len(s.holds) > 0; taken++ {
		last := len(s.holds) - 1
		h := s.holds[last]
		s.holds = s.holds[:last]
		if !h.job.discarded && !s.g.Holds(h.vertex, h.job.number) {
			s.hold(h.job, s.vertex(h.vertex))
			for _, in := range s.g.Below(h.vertex) {
				s.holdLater(h.job, s.g.VertexOf(in))
			}
		}
		s.g.Unref(h.vertex)
	}
	return taken
}

// errDiscarded is what waits in a job that is discarded ends with.
var errDiscarded = errors.New("the job was discarded")

// label names the vertex of an item in errors.
func (it *planItem) label() string {
	if it.name != "" {
		return fmt.Sprintf("%s (%s)", it.name, it.digest)
	}
	return string(it.digest)
}
