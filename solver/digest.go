package solver

import (
	"context"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// digestCall computes the content key of one input of a vertex.
type digestCall struct {
	task
	input int32
	by    digester
	on    *SharedResult // there is a hold of it for the call

	key *CacheKey
	// ended is closed once the call is over, or will never begin; nil unless
	// somebody waits for that. Guarded by Solver.mu.
	ended chan struct{}
}

// end tells that the call is over, and gives the hold back.
func (c *digestCall) end() {
	c.s.letHold(c.on)
	if c.ended != nil {
		close(c.ended)
	}
}

// awaited returns a channel that is closed when the call is over. Solver.mu is held.
func (c *digestCall) awaited() <-chan struct{} {
	if c.ended == nil {
		c.ended = make(chan struct{})
	}
	return c.ended
}

// digest computes the content key of an edge's input, whose result is there.
func (s *Solver) digest(e *edgeState, i int32) (edge.Event, bool) {
	v := e.v
	ck := &v.contents()[i]
	if ck.key != nil {
		return edge.Event{Kind: edge.Digested, Input: i, Flag: true}, true
	}
	in := s.g.Input(v.id, int(i))
	if !s.has(in) {
		return s.askAgain(e, int(i), false)
	}
	ck.waiting.add(e)
	if ck.call != nil {
		return edge.Event{}, false
	}
	kind := TraceContentMaySelect
	if s.g.Machine(e.id).ContentMatters() {
		kind = TraceContentMayRuleOut
	}
	e.trace.add(traceEvent{kind: kind, input: i})
	c := &digestCall{input: i, by: v.op.digester(int(i)), on: s.edge(in).result}
	c.on.hold()
	ck.call = c
	s.enqueue(c, v, s.light, 1)
	return edge.Event{}, false
}

func (s *Solver) leaveDigests(e *edgeState) {
	for i := range e.v.readExtra().contents {
		ck := &e.v.extra.contents[i]
		if ck.waiting.remove(e) && ck.waiting.empty() {
			if s.drop(&ck.call.task) {
				ck.call.end()
			}
			ck.call = nil
		}
	}
}

func (c *digestCall) vertices(fn func(*vertex)) { fn(c.v) }

func (c *digestCall) do(ctx context.Context) {
	c.key, c.err = c.by.key(ctx, (*borrowed)(c.on))
}

func (c *digestCall) done() {
	s, v := c.s, c.v
	c.end()
	if c.dropped {
		return
	}
	ck := &v.extra.contents[c.input]
	waiting := ck.waiting.take()
	ck.call = nil
	again := false
	if lost := asLostInput(c.err); lost != nil {
		s.noteLost(c.on, lost)
		again = s.lose(s.g.Input(v.id, int(c.input)), c.on)
	}
	if c.err == nil {
		ck.key, ck.of = c.key, c.on
	}
	for e := range waiting.all {
		e.trace.add(traceEvent{kind: TraceContent, input: c.input, flag: ck.key != nil})
		switch {
		case again:
			s.tell(e, edge.Event{Kind: edge.Lost, Input: c.input})
		case c.err != nil:
			s.fail(e, v.wrap(contentError(int(c.input), c.err)))
		default:
			s.tell(e, edge.Event{Kind: edge.Digested, Input: c.input, Flag: true})
		}
	}
}
