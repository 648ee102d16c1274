package solver

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// host is the Solver as the graph sees it: it does what edges ask for.
type host Solver

// edge and vertex find what is known of a number.
func (s *Solver) edge(e graph.Edge) *edgeState  { return s.edges.At(e) }
func (s *Solver) vertex(v graph.Vertex) *vertex { return s.vertices.At(v) }

// input is an input of a vertex.
func (s *Solver) input(v *vertex, i int) *edgeState { return s.edge(s.g.Input(v.id, i)) }

// tell answers an effect of an edge, once its turn comes.
func (s *Solver) tell(e *edgeState, ev edge.Event) { s.g.Tell(e.id, ev) }

// Effect implements graph.Host.
func (h *host) Effect(id graph.Edge, eff edge.Effect) (edge.Event, bool) {
	s := (*Solver)(h)
	e := s.edge(id)
	switch eff.Kind {
	case edge.CallMap:
		return s.callMap(e)
	case edge.Probe:
		return s.probe(e, eff.Input)
	case edge.FormKey:
		s.formKey(e)
	case edge.Widen:
		s.g.ForgetProbes(id)
	case edge.Match:
		return s.match(e)
	case edge.Digest:
		return s.digest(e, eff.Input)
	case edge.Join:
		return edge.Event{Kind: edge.Joined, Flag: s.join(e)}, true
	case edge.Load:
		s.loadRecord(e)
	case edge.Run:
		return s.run(e)
	}
	return edge.Event{}, false
}

// Arrive implements graph.Host.
func (h *host) Arrive(id graph.Edge, ev edge.Event) (edge.Event, bool) {
	s := (*Solver)(h)
	switch e := s.edge(id); ev.Kind {
	case edge.Mapped:
		return s.nextMap(e), true
	case edge.Ran:
		s.collect(e)
		return ev, false
	}
	return ev, true
}

// Abandon implements graph.Host.
func (h *host) Abandon(id graph.Edge) {
	s := (*Solver)(h)
	e := s.edge(id)
	s.leaveMap(e)
	s.leaveDigests(e)
	s.leaveLookup(e)
	s.leaveLoad(e)
	s.leaveRun(e)
}

// Wanted implements graph.Host.
func (h *host) Wanted(id graph.Edge) { (*Solver)(h).edge(id).v.progress.wanted = true }

// InputFailed implements graph.Host.
func (h *host) InputFailed(id graph.Edge, i int) {
	s := (*Solver)(h)
	e := s.edge(id)
	e.trace.add(traceEvent{kind: TraceInputFailed, input: int32(i)})
	s.end(e, s.input(e.v, i).failure())
}

// Settled implements graph.Host.
func (h *host) Settled(id graph.Edge) {
	s := (*Solver)(h)
	e := s.edge(id)
	s.leaveLookup(e)
	if r := e.extra; r != nil {
		for _, q := range r.requests {
			q.complete(e)
		}
		r.requests, r.found, r.answers, r.lookups, r.linked = nil, nil, nil, nil, 0
	}
}

// Release implements graph.Host.
func (h *host) Release(id graph.Vertex) {
	s := (*Solver)(h)
	v := s.vertex(id)
	s.index.Remove(rows.Hash(string(v.op.digest)), id)
	for out := range s.g.Outputs(id) {
		e := s.edge(out)
		for _, r := range e.readExtra().requests {
			r.end(nil, errDiscarded)
		}
		if ld := e.readExtra().loaded; ld != nil {
			s.unload(ld)
		}
	}
	s.letGo(v)
	if v.op.vertices.remove(v); v.op.vertices.empty() {
		s.watching.Lock()
		v.op.journal, v.op.forgotten = nil, true
		s.watching.Unlock()
	}
	for _, sub := range v.readExtra().subs {
		s.g.Unref(sub)
	}
}

// Fault implements graph.Host.
func (h *host) Fault(id graph.Vertex, reason any) {
	s := (*Solver)(h)
	s.fault(s.vertex(id), reason)
}

// fault fails a vertex that the scheduler's own code has panicked for.
func (s *Solver) fault(v *vertex, reason any) {
	err := v.wrap(fmt.Errorf("internal fault of the solver (please report it): %v\n%s", reason, debug.Stack()))
	for e := range s.g.Outputs(v.id) {
		s.fail(s.edge(e), err)
	}
}

// wrap makes an error one of the vertex.
func (v *vertex) wrap(err error) error {
	return &VertexError{Digest: v.op.digest, Name: v.op.name, Err: err}
}

// succeed gives an edge its result, and the keys it was saved under; nil for those
// of its run. How says by which event.
func (s *Solver) succeed(e *edgeState, how edge.EventKind, r *SharedResult, saved []ExportableCacheKey) {
	e.result = r
	if saved != nil {
		e.needExtra().saved = saved
	}
	s.g.Finish(e.id, how)
}

// fail ends an edge because its vertex failed. It is final: whoever asks the
// same vertex gets the same error.
func (s *Solver) fail(e *edgeState, err error) {
	if s.g.StateOf(e.id) != graph.Open {
		return
	}
	s.note(e.v, client.Failed, nil, err)
	s.end(e, err)
}

func (s *Solver) end(e *edgeState, err error) {
	e.needExtra().err = err
	s.g.Fail(e.id)
}

// note records how a vertex ended, and for whom.
func (s *Solver) note(v *vertex, outcome client.Outcome, owner *Job, err error) {
	p := &v.progress
	p.completed, p.lost, p.remaking = time.Now().UnixNano(), false, false
	p.outcome, p.owner = codeOf(outcome), 0
	if err != nil || v.extra != nil {
		v.needExtra().err = err
	}
	if owner != nil {
		p.owner = owner.serial
	}
	s.tellWatchers(v)
}
