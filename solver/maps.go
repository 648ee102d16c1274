package solver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// mapCall resolves a vertex's op, if need be, and calls CacheMap for one index.
type mapCall struct {
	task
	// waiting are the edges that wait for the call. Guarded by Solver.mu.
	waiting few[*edgeState]

	index int32
	last  bool
	op    Op
	m     CacheMap // a copy: the op may use its own again
	// root is the key of output 0, if the op has no inputs. It is formed here
	// because the lock is not held.
	root *CacheKey
	err  error
}

// callMap gets an edge the next of its op's cache maps.
func (s *Solver) callMap(e *edgeState) {
	st := e.v.op
	switch {
	case st.err() != nil:
		s.fail(e, st.err())
	case e.maps < st.n:
		s.tell(step{e: e, kind: edge.Mapped})
	default:
		if st.call == nil {
			st.call = &mapCall{index: st.n, op: st.op}
			s.enqueue(&st.call.task, st.call, e.v, lightLane, 1)
		} else {
			s.alsoFor(&st.call.task, e.v)
		}
		st.call.waiting.add(e)
	}
}

// alsoFor has a call under way be made for a further vertex as well.
func (s *Solver) alsoFor(t *task, v *vertex) {
	if t.v == v {
		return
	}
	if t.sharers == nil {
		t.sharers = new([]*vertex)
	}
	if slices.Contains(*t.sharers, v) {
		return
	}
	*t.sharers = append(*t.sharers, v)
	for slot := range v.jobs.all {
		s.queue.pushAlso(t, &s.slots[slot].lines[t.lane])
	}
}

// leaveMap stops waiting for a cache map.
func (s *Solver) leaveMap(e *edgeState) {
	c := e.v.op.call
	if c == nil {
		return
	}
	if c.waiting.remove(e) && c.waiting.empty() {
		s.drop(&c.task)
		e.v.op.call = nil
	}
}

// without removes e from a list, which it may reorder.
func without(list []*edgeState, e *edgeState) ([]*edgeState, bool) {
	for i, o := range list {
		if o == e {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			return list[:last], true
		}
	}
	return list, false
}

func (c *mapCall) do(ctx context.Context) {
	v := c.v
	if c.op == nil {
		if c.op, c.err = c.solver().resolveOp(v); c.err != nil {
			return
		}
	}
	index := int(c.index)
	m, last, err := callCacheMap(ctx, c.op, index)
	if err == nil {
		err = checkCacheMap(v, m, index, last)
	}
	if c.err = err; err == nil {
		c.m, c.last = *m, last
		c.m.Deps = slices.Clone(m.Deps)
		if len(v.inputs) == 0 {
			c.root = NewCacheKey(m.Digest, 0)
		}
	}
}

func (s *Solver) resolveOp(v *vertex) (op Op, err error) {
	defer recovered("resolving the op", &err)
	if s.resolve == nil {
		return nil, errors.New("SolverOpt.ResolveOpFunc is not set")
	}
	op, err = s.resolve(v.vtx, &v.op.builder)
	if err == nil && isNil(op) {
		err = fmt.Errorf("ResolveOpFunc returned no op for it")
	}
	return op, err
}

func callCacheMap(ctx context.Context, op Op, index int) (cm *CacheMap, last bool, err error) {
	defer recovered("CacheMap", &err)
	return op.CacheMap(ctx, index)
}

// checkCacheMap checks what an op answered.
func checkCacheMap(v *vertex, cm *CacheMap, index int, last bool) error {
	if cm == nil {
		return fmt.Errorf("CacheMap(%d) returned no cache map", index)
	}
	if err := checkDigest(cm.Digest); err != nil {
		return fmt.Errorf("CacheMap(%d): digest: %w", index, err)
	}
	n := len(v.inputs)
	if len(cm.Deps) != n {
		return fmt.Errorf("CacheMap(%d) has %d deps for %d inputs", index, len(cm.Deps), n)
	}
	if n > 0 && !last {
		return fmt.Errorf("CacheMap(%d) promises more cache maps: only an operation without inputs may have several", index)
	}
	for i := range cm.Deps {
		if sel := cm.Deps[i].Selector; sel != "" {
			if err := checkDigest(sel); err != nil {
				return fmt.Errorf("CacheMap(%d): selector of input %d: %w", index, i, err)
			}
		}
	}
	return nil
}

// contents says which inputs can have a content key; nil if none.
func (cm *CacheMap) contents() []bool {
	var out []bool
	for i := range cm.Deps {
		if cm.Deps[i].ComputeDigestFunc != nil {
			if out == nil {
				out = make([]bool, len(cm.Deps))
			}
			out[i] = true
		}
	}
	return out
}

func (c *mapCall) done() {
	s, st := c.solver(), c.v.op
	if c.dropped {
		if st.op == nil {
			st.op = c.op
		}
		return
	}
	s.calls[0]++
	st.call = nil
	waiting := c.waiting.take()
	if c.err != nil {
		st.more().err = c.v.wrap(c.err)
		for e := range waiting.all {
			s.fail(e, st.err())
		}
		return
	}
	st.op = c.op // no op runs before all its cache maps are there
	st.addMap(c.m)
	st.root = c.root
	st.done = c.last
	for e := range waiting.all {
		s.tell(step{e: e, kind: edge.Mapped})
	}
}

// nextMap gives an edge the next cache map.
func (s *Solver) nextMap(e *edgeState) edge.Event {
	st := e.v.op
	m := st.mapAt(e.maps)
	e.maps++
	return edge.Event{Kind: edge.Mapped, More: !st.done || e.maps < st.n, Contents: m.contents()}
}

// formKey computes the edge's definition key.
func (s *Solver) formKey(e *edgeState) {
	m := e.v.op.mapAt(e.maps - 1)
	var key *CacheKey
	switch n := len(e.v.inputs); n {
	case 0:
		key = e.v.op.takeRoot(e)
	case 1:
		// Many keys have one input: both parts are one object.
		whole := &struct {
			CacheKey
			room [1]keyDep
		}{}
		key = &whole.CacheKey
		key.deps = whole.room[:]
	default:
		key = &CacheKey{deps: make([]keyDep, n)}
	}
	if len(key.deps) > 0 {
		key.ID, key.digest, key.output = outputID(e.v.definition(m), e.index), m.Digest, e.index
		e.v.fillDeps(key.deps)
	}
	key.export, key.caches = e.v.has().exportable, e.v.caches
	e.keys = append(e.keys, key)
}

// takeRoot returns the key of an edge without inputs, for the cache map it was
// given last.
func (st *opState) takeRoot(e *edgeState) *CacheKey {
	root := st.root
	if root == nil || e.index != 0 || e.maps != st.n {
		return NewCacheKey(st.mapAt(e.maps-1).Digest, e.index)
	}
	st.root = nil // the edge's from now on
	return root
}

// definition names the vertex by its op and the first key of each input.
func (v *vertex) definition(m *CacheMap) string {
	return definitionID(m.Digest, len(v.inputs), func(i int) (string, digest.Digest) {
		return v.inputs[i].keys[0].ID, m.Deps[i].Selector
	})
}

// definition names the edge's vertex by its op and the first key of each input.
func (e *edgeState) definition() string {
	if m := &e.v.op.first; len(e.v.inputs) == 0 {
		return string(m.Digest)
	} else if e.index != 0 {
		return e.v.definition(m)
	}
	return e.keys[0].ID
}

// keyDeps are the alternatives known for each input now.
func (v *vertex) keyDeps() []keyDep {
	deps := make([]keyDep, len(v.inputs))
	v.fillDeps(deps)
	return deps
}

func (v *vertex) fillDeps(deps []keyDep) {
	for i, in := range v.inputs {
		deps[i] = keyDep{keys: in.keys[:len(in.keys):len(in.keys)], selector: v.op.first.Deps[i].Selector}
		deps[i].content = v.content(i)
	}
}
