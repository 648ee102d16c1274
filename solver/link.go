package solver

import (
	"context"
	"fmt"
)

// link has a cache remember that all keys by which the inputs are known lead to
// one that it has, so that the next build finds it by the definition alone.
func (s *Solver) link(e *edgeState, src *source, k *CacheKey) {
	c := &linkCall{src: src, keys: []*CacheKey{k}}
	if src.inline {
		c.s, c.v = s, e.v
		c.do(context.Background())
		c.done()
		return
	}
	s.enqueue(c, e.v, s.light, 1)
}

// linkBelow has a cache remember how the inputs of an edge were found in other caches. The
// edge's result was found through keys of theirs, and is saved under them; where no input
// was loaded, only these links lead there from what the inputs are made of. Each key is
// linked once: the edges below one that has nothing new have nothing new to tell this edge.
func (s *Solver) linkBelow(e *edgeState, src *source) {
	if src.own == nil {
		return // it walks CacheKey.Deps as it likes
	}
	c := &linkCall{src: src}
	for above := []*edgeState{e}; len(above) > 0; {
		v := above[len(above)-1].v
		above = above[:len(above)-1]
		for _, in := range s.g.Below(v.id) {
			e := s.edge(in)
			if keys, more := e.unlinked(); more {
				c.keys = append(c.keys, keys...)
				above = append(above, e)
			}
		}
	}
	if c.keys != nil {
		s.enqueue(c, e.v, src.lane, 1)
	}
}

// unlinked are the keys that other caches have for an edge and that the default one was not
// told of. It is told of them now. More reports whether anything was found since the last call.
func (e *edgeState) unlinked() (keys []*CacheKey, more bool) {
	r := e.readExtra()
	if r.linked == len(r.found) {
		return nil, false
	}
	for _, f := range r.found[r.linked:] {
		if f.manager != 0 && len(f.key.deps) > 0 {
			keys = append(keys, f.key)
		}
	}
	r.linked = len(r.found)
	return keys, true
}

// linkCall links keys in a cache. Nobody waits for it.
type linkCall struct {
	task
	src  *source
	keys []*CacheKey
}

func (c *linkCall) vertices(func(*vertex)) {}

func (c *linkCall) do(context.Context) {
	if c.src.inline {
		c.err = c.link()
		return
	}
	_, c.err = c.s.patiently(c.src, c.link)
}

func (c *linkCall) link() (err error) {
	defer recovered("linking keys", &err)
	for _, k := range c.keys {
		if err := c.src.own.link(k); err != nil {
			return err
		}
	}
	return nil
}

func (c *linkCall) done() {
	if c.err != nil {
		c.s.report(c.v, fmt.Errorf("cache %s: linking keys: %w", c.src.id, c.err))
	}
}
