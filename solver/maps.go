package solver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// mapCall resolves a vertex's op, if need be, and calls CacheMap for one index.
type mapCall struct {
	task
	st      *opState
	waiting graph.List // the edges that wait for the call; guarded by Solver.mu

	index  int32
	inputs int // of the vertex
	last   bool
	named  Aliases
	op     Op
	m      CacheMap // a copy: the op may use its own again
	// root is the key of output 0, if the op has no inputs. It is formed here
	// because the lock is not held.
	root *CacheKey
}

// callMap gets an edge the next of its op's cache maps.
func (s *Solver) callMap(e *edgeState) (edge.Event, bool) {
	st := e.v.op
	switch {
	case st.err() != nil:
		s.fail(e, st.err())
	case e.maps < st.n:
		return s.nextMap(e), true
	default:
		if st.call == nil {
			c := mapCalls.Get().(*mapCall)
			c.st, c.index, c.op, c.inputs = st, st.n, st.op, s.g.Inputs(e.v.id)
			st.call = c
			s.enqueue(c, e.v, s.light, 1)
		} else {
			s.alsoFor(&st.call.task, e.v)
		}
		s.g.Wait(&st.call.waiting, e.id)
	}
	return edge.Event{}, false
}

// leaveMap stops waiting for a cache map.
func (s *Solver) leaveMap(e *edgeState) {
	c := e.v.op.call
	if c == nil || !s.g.Leave(&c.waiting, e.id) {
		return
	}
	if c.waiting.Len() == 0 {
		s.drop(&c.task)
		e.v.op.call = nil
	}
}

func (c *mapCall) vertices(fn func(*vertex)) { c.s.verticesIn(&c.waiting, fn) }

// verticesIn visits the vertices of a list of edges.
func (s *Solver) verticesIn(l *graph.List, fn func(*vertex)) {
	for e := range s.g.Each(l) {
		fn(s.edge(e).v)
	}
}

func (c *mapCall) do(ctx context.Context) {
	if c.op == nil {
		if c.op, c.err = c.s.resolveOp(c.st); c.err != nil {
			return
		}
	}
	index, inputs := int(c.index), c.inputs
	m, last, err := callCacheMap(ctx, c.op, index)
	if err == nil {
		err = checkCacheMap(inputs, m, index, last)
	}
	if err == nil {
		c.named, err = callAliases(c.op, index)
	}
	if c.err = err; err == nil {
		c.m, c.last = *m, last
		c.m.Deps = slices.Clone(m.Deps)
		if inputs == 0 {
			c.root = c.named.root(m.Digest, 0)
		}
	}
}

func (s *Solver) resolveOp(st *opState) (op Op, err error) {
	defer recovered("resolving the op", &err)
	if s.resolve == nil {
		return nil, errors.New("SolverOpt.ResolveOpFunc is not set")
	}
	op, err = s.resolve(st.vtx, &st.builder)
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
func checkCacheMap(inputs int, cm *CacheMap, index int, last bool) error {
	if cm == nil {
		return fmt.Errorf("CacheMap(%d) returned no cache map", index)
	}
	if err := checkDigest(cm.Digest); err != nil {
		return fmt.Errorf("CacheMap(%d): digest: %w", index, err)
	}
	if n := inputs; len(cm.Deps) != n {
		return fmt.Errorf("CacheMap(%d) has %d deps for %d inputs", index, len(cm.Deps), n)
	}
	if inputs > 0 && !last {
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
	s, st := c.s, c.st
	if c.dropped {
		if st.op == nil && c.err == nil {
			st.op = c.op
		}
		return
	}
	s.calls[0]++
	st.call = nil
	if c.err != nil {
		st.needExtra().err = c.v.wrap(c.err)
	} else {
		st.op = c.op // no op runs before all its cache maps are there
		st.addMap(c.m)
		st.addAliases(c.named)
		st.root = c.root
		st.done = c.last
	}
	for id := s.g.Pop(&c.waiting); id != 0; id = s.g.Pop(&c.waiting) {
		if e := s.edge(id); c.err != nil {
			s.fail(e, st.err())
		} else {
			s.tell(e, edge.Event{Kind: edge.Mapped})
		}
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
	if e.maps <= e.defs {
		return // it was formed before the result was lost
	}
	v := e.v
	m := v.op.mapAt(e.maps - 1)
	var key *CacheKey
	switch n := s.g.Inputs(v.id); n {
	case 0:
		key = v.op.takeRoot(e)
	case 1:
		// Many keys have one input: all parts are one object. They outlive the edge.
		whole := &struct {
			CacheKey
			deps [1]keyDep
			list [1]*CacheKey
		}{}
		key = &whole.CacheKey
		key.deps = whole.deps[:]
		e.keys = whole.list[:0]
	default:
		key = &CacheKey{deps: make([]keyDep, n)}
	}
	if len(key.deps) > 0 {
		key.ID, key.digest, key.output = outputID(s.definition(v, m), e.index), m.Digest, e.index
		s.fillDeps(v, key.deps)
	}
	key.export, key.caches = v.readExtra().exportable, v.caches
	e.defs++
	s.learn(e, key)
}

// takeRoot returns the key of an edge without inputs, for the cache map it was
// given last.
func (st *opState) takeRoot(e *edgeState) *CacheKey {
	root := st.root
	if root == nil || e.index != 0 || e.maps != st.n {
		return st.aliasesOf(e.maps-1).root(st.mapAt(e.maps-1).Digest, e.index)
	}
	st.root = nil // the edge's from now on
	return root
}

// definition names a vertex by its op and the first key of each input.
func (s *Solver) definition(v *vertex, m *CacheMap) string {
	return definitionID(m.Digest, len(m.Deps), func(i int) (string, digest.Digest) {
		return s.input(v, i).keys[0].ID, m.Deps[i].Selector
	})
}

// keyDeps are the alternatives known for each input now.
func (s *Solver) keyDeps(v *vertex) []keyDep {
	deps := make([]keyDep, s.g.Inputs(v.id))
	s.fillDeps(v, deps)
	return deps
}

func (s *Solver) fillDeps(v *vertex, deps []keyDep) {
	for i, in := range s.g.Below(v.id) {
		keys := s.edge(in).keys
		deps[i] = keyDep{keys: keys[:len(keys):len(keys)], selector: v.op.first.Deps[i].Selector, content: v.content(i)}
	}
}
