package solver

import (
	"fmt"
	"runtime/debug"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// step is one thing an edge is to be told. It is looked up when its turn comes:
// a step says where to look, the edge's state says what there is.
type step struct {
	e     *edgeState
	kind  edge.EventKind
	flag  bool
	input int32
	epoch uint32
}

// tell has an edge be told in this turn.
func (s *Solver) tell(st step) {
	if st.e.climb == nil {
		return
	}
	st.epoch = st.e.epoch
	s.todo = append(s.todo, st)
}

// perform tells an edge, and does what it answers.
func (s *Solver) perform(st step) {
	e := st.e
	if e.settled() {
		return
	}
	defer s.contain(e.v)
	ev := edge.Event{Kind: st.kind, Flag: st.flag, Input: st.input}
	switch st.kind {
	case edge.Want:
		ev.Level = e.wanted()
		if ev.Level == e.m.Wanted() {
			return
		}
	case edge.News:
		child := e.v.inputs[st.input]
		if child.failed && e.ins[st.input].asked > child.known {
			s.inputFailed(e, st.input)
			return
		}
		ev.Level = child.knows()
		ev.Flag = int(e.ins[st.input].probed) < len(child.keys)
	default:
		if st.epoch != e.epoch {
			return
		}
		switch st.kind {
		case edge.Mapped:
			ev = s.nextMap(e)
		case edge.Probed:
			ev.Mask = e.ins[st.input].matched
		case edge.Ran:
			s.collect(e)
			return
		}
	}
	s.visits++
	s.step(e, ev)
}

// step tells an edge's machine, and performs the effects.
func (s *Solver) step(e *edgeState, ev edge.Event) {
	from := len(s.effects)
	e.m.Step(ev, &s.effects)
	for i := from; i < len(s.effects) && !e.settled(); i++ {
		s.effect(e, s.effects[i])
	}
	s.effects = s.effects[:from]
}

func (s *Solver) effect(e *edgeState, eff edge.Effect) {
	switch eff.Kind {
	case edge.CallMap:
		s.callMap(e)
	case edge.Ask:
		s.ask(e, eff.Input, eff.Level)
	case edge.AskAll:
		for i := range e.ins {
			s.ask(e, int32(i), eff.Level)
		}
	case edge.Drop:
		s.dropAsks(e)
	case edge.Probe:
		s.probe(e, eff.Input)
	case edge.FormKey:
		s.formKey(e)
	case edge.Match:
		s.match(e)
	case edge.Digest:
		s.digest(e, eff.Input)
	case edge.Join:
		s.tell(step{e: e, kind: edge.Joined, flag: s.join(e)})
	case edge.Load:
		s.loadRecord(e)
	case edge.Run:
		s.run(e)
	case edge.Publish:
		s.publish(e, eff.Level)
	case edge.Abandon:
		s.abandon(e)
	}
}

// contain turns a fault of the scheduler's own into a failure of the vertex it
// was working for, so that the builds of others go on. To be deferred.
func (s *Solver) contain(v *vertex) {
	if r := recover(); r != nil {
		s.fault(v, r)
	}
}

// containTask does the same for all vertices that wait for a task.
func (s *Solver) containTask(t *task) {
	if r := recover(); r != nil {
		t.vertices(func(v *vertex) { s.fault(v, r) })
	}
}

func (s *Solver) fault(v *vertex, r any) {
	err := v.wrap(fmt.Errorf("internal fault of the solver (please report it): %v\n%s", r, debug.Stack()))
	s.effects = s.effects[:0]
	for e := range v.edges {
		if !e.settled() {
			s.fail(e, err)
		}
	}
}

// wrap makes an error one of the vertex.
func (v *vertex) wrap(err error) error {
	return &VertexError{Digest: v.digest, Name: v.name, Err: err}
}
