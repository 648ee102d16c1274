package solver

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// digestCall computes the content key of one input of a vertex.
type digestCall struct {
	task
	input int32
	fn    ResultBasedCacheFunc
	on    sharedHandle // a hold for the call

	dgst digest.Digest
	err  error
	// ended is closed once the call is over, or will never begin; nil unless
	// somebody waits for that. Guarded by Solver.mu.
	ended chan struct{}
}

// end tells that the call is over.
func (c *digestCall) end() {
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
func (s *Solver) digest(e *edgeState, i int32) {
	v := e.v
	ck := &v.contents()[i]
	if ck.key != nil || ck.failed {
		s.tell(step{e: e, kind: edge.Digested, input: i, flag: ck.key != nil})
		return
	}
	ck.waiting.add(e)
	if ck.call != nil {
		return
	}
	kind := TraceContentMaySelect
	if e.m.ContentMatters() {
		kind = TraceContentMayRuleOut
	}
	e.trace.add(traceEvent{kind: kind, input: i})
	c := &digestCall{input: i, fn: v.op.first.Deps[i].ComputeDigestFunc}
	v.inputs[i].result.cloneInto(&c.on)
	ck.call = c
	s.enqueue(&c.task, c, v, lightLane, 1)
}

func (s *Solver) leaveDigests(e *edgeState) {
	for i := range e.v.has().contents {
		ck := &e.v.rare.contents[i]
		if ck.waiting.remove(e) && ck.waiting.empty() {
			if s.drop(&ck.call.task) {
				s.trash = append(s.trash, &ck.call.on)
				ck.call.end()
			}
			ck.call = nil
		}
	}
}

func (c *digestCall) do(ctx context.Context) {
	c.dgst, c.err = contentDigest(ctx, c.fn, &c.on)
}

func contentDigest(ctx context.Context, fn ResultBasedCacheFunc, on Result) (dgst digest.Digest, err error) {
	defer recovered("ComputeDigestFunc", &err)
	if dgst, err = fn(ctx, on); err == nil {
		err = checkDigest(dgst)
	}
	return dgst, err
}

func (c *digestCall) done() {
	s, v := c.solver(), c.v
	c.end()
	s.trash = append(s.trash, &c.on)
	if c.dropped {
		return
	}
	ck := &v.rare.contents[c.input]
	waiting := ck.waiting.take()
	ck.call = nil
	if c.err != nil {
		// Without its content key the input can still be used.
		ck.failed = true
		s.report(v, fmt.Errorf("content key of input %d: %w", c.input, c.err))
	} else {
		ck.key = NewCacheKey(c.dgst, contentOutput)
	}
	for e := range waiting.all {
		e.trace.add(traceEvent{kind: TraceContent, input: c.input, flag: ck.key != nil})
		s.tell(step{e: e, kind: edge.Digested, input: c.input, flag: ck.key != nil})
	}
}
