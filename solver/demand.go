package solver

import (
	"time"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// wanted is the highest demand there is for an edge.
func (e *edgeState) wanted() edge.Level {
	for l := edge.Result; l > edge.Nothing; l-- {
		if e.demand[l] > 0 {
			return l
		}
	}
	return edge.Nothing
}

// knows is what a parent may use of an edge.
func (e *edgeState) knows() edge.Level {
	if e.result != nil {
		return edge.Result
	}
	if e.climb == nil {
		return e.known
	}
	return min(e.m.Known(), edge.AllKeys)
}

// addDemand changes the demand for an edge, and tells it if that matters.
func (s *Solver) addDemand(e *edgeState, level edge.Level, n int32) {
	before := e.wanted()
	e.demand[level] += n
	after := e.wanted()
	if after == edge.Result {
		e.v.progress.wanted = true
	}
	// The machine may want less than there is demand for: it has answered a
	// demand for AllKeys with new keys. So compare with it as well.
	if after != before || after != e.m.Wanted() {
		s.tell(step{e: e, kind: edge.Want})
	}
}

// ask demands something of an edge's input.
func (s *Solver) ask(e *edgeState, i int32, level edge.Level) {
	child, in := e.v.inputs[i], &e.ins[i]
	in.asked = max(in.asked, level)
	if child.failed || child.knows() >= level {
		s.tell(step{e: e, kind: edge.News, input: i})
		return
	}
	if in.slot < 0 {
		in.slot = int32(len(child.waiters))
		child.waiters = append(child.waiters, waiter{parent: e, input: i, level: level})
		e.asks++
		s.addDemand(child, level, 1)
		return
	}
	if w := &child.waiters[in.slot]; w.level < level {
		child.demand[w.level]--
		w.level = level
		s.addDemand(child, level, 1)
	}
}

// dropAsks takes back all that an edge demands of its inputs.
func (s *Solver) dropAsks(e *edgeState) {
	for i := 0; e.asks > 0 && i < len(e.ins); i++ {
		if e.ins[i].slot >= 0 {
			s.dropAsk(e, int32(i))
		}
	}
}

func (s *Solver) dropAsk(e *edgeState, i int32) {
	child := e.v.inputs[i]
	if child.climb == nil { // see dismiss
		e.ins[i].slot = -1
		e.asks--
		return
	}
	slot := e.ins[i].slot
	level := child.waiters[slot].level
	last := len(child.waiters) - 1
	if moved := child.waiters[last]; int(slot) != last {
		child.waiters[slot] = moved
		moved.parent.ins[moved.input].slot = slot
	}
	child.waiters[last] = waiter{}
	child.waiters = child.waiters[:last]
	e.ins[i].slot, e.ins[i].asked = -1, edge.Nothing
	e.asks--
	s.addDemand(child, level, -1)
}

// publish tells those who wait for an edge that it knows more.
func (s *Solver) publish(e *edgeState, level edge.Level) {
	if level == edge.Result {
		return // settle has told them
	}
	for i := range e.waiters {
		w := &e.waiters[i]
		if level == edge.Keys && w.level == edge.AllKeys {
			// New keys answer a demand for all keys. Who wants still more asks again.
			w.level = edge.Keys
			e.demand[edge.AllKeys]--
			e.demand[edge.Keys]++
		}
		s.tell(step{e: w.parent, kind: edge.News, input: w.input})
	}
}

// succeed gives an edge its result, and the keys it was saved under; nil for those
// of its execution. How says by which event.
func (s *Solver) succeed(e *edgeState, how edge.EventKind, r *SharedResult, saved []ExportableCacheKey) {
	s.step(e, edge.Event{Kind: how, Flag: true})
	e.result = r
	if saved != nil {
		e.more().saved = saved
	}
	s.settle(e)
}

// fail ends an edge because its vertex failed. It is final: whoever asks the
// same vertex gets the same error.
func (s *Solver) fail(e *edgeState, err error) {
	if e.settled() {
		return
	}
	s.note(e.v, client.Failed, nil, err)
	s.end(e, err)
}

// inputFailed ends an edge because it needs an input that has failed.
func (s *Solver) inputFailed(e *edgeState, i int32) {
	e.trace.add(traceEvent{kind: TraceInputFailed, input: i})
	s.end(e, e.v.inputs[i].failure())
}

func (s *Solver) end(e *edgeState, err error) {
	s.step(e, edge.Event{Kind: edge.Failed})
	e.setFailed(err)
	s.settle(e)
}

// settle tells all who wait for an edge that it has ended, and lets go of what
// only an edge under way needs.
func (s *Solver) settle(e *edgeState) {
	s.dropAsks(e)
	s.leaveLookup(e)
	c := e.climb
	e.known = min(e.m.Known(), edge.AllKeys)
	e.climb = nil
	dismiss(c.waiters)
	for _, w := range c.waiters {
		if !e.failed || w.level > e.known {
			s.tell(step{e: w.parent, kind: edge.News, input: w.input})
		}
	}
	*c = climb{}
	if r := e.rare; r != nil {
		for _, q := range r.requests {
			q.complete(e)
		}
		r.requests, r.found, r.answers, r.toLookUp = nil, nil, nil, nil
	}
}

// dismiss has waiters wait no more.
func dismiss(waiters []waiter) {
	for _, w := range waiters {
		if w.parent.climb != nil { // after a fault it may have ended and left this behind
			w.parent.ins[w.input].slot = -1
			w.parent.asks--
		}
	}
}

// abandon cancels what is under way for an edge.
func (s *Solver) abandon(e *edgeState) {
	e.epoch++
	s.dropAsks(e)
	s.leaveMap(e)
	s.leaveDigests(e)
	s.leaveLookup(e)
	s.leaveLoad(e)
	s.leaveExec(e)
}

// note records how a vertex ended, and for whom.
func (s *Solver) note(v *vertex, outcome client.Outcome, owner *Job, err error) {
	p := &v.progress
	p.completed = time.Now().UnixNano()
	p.outcome, p.owner = codeOf(outcome), 0
	if err != nil || v.rare != nil {
		v.more().err = err
	}
	if owner != nil {
		p.owner = owner.serial
	}
	s.tellWatchers(v)
}
