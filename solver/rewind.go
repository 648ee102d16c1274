package solver

import (
	"cmp"
	"errors"

	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// A result can be lost while edges use it. How it was lost is noted at the result, so that
// everybody who holds it sees it, also as what an op has passed on. Whoever meets a
// result that is lost has the edge that it is of opened again, and asks that edge again.
// So a rewind goes down through ops that pass their input on, a step each, to the op that
// has made the result.

// maxRewinds bounds how often what an edge's op has made is made again. What an op has only
// passed on is made again by others, who count it. That the op then runs again is bounded
// too: it may pass on what is gone, however often it runs.
const (
	maxRewinds = 3
	maxPassed  = 8 * maxRewinds
)

// asLostInput finds the error of an input that a call has lost; nil if it is another. Of
// one that the call got from a sub-build, it is that build's vertex that has lost its input.
func asLostInput(err error) *LostInputError {
	for err != nil {
		switch e := err.(type) {
		case *LostInputError:
			return e
		case *VertexError:
			return nil
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				if lost := asLostInput(one); lost != nil {
					return lost
				}
			}
			return nil
		}
		err = errors.Unwrap(err)
	}
	return nil
}

// lostInput is an input that a run could not use.
type lostInput struct {
	input  int
	result *SharedResult // nil: there is none
	how    *LostInputError
}

func (c *runCall) lostInput() lostInput {
	lost := asLostInput(c.err)
	if lost == nil || lost.Input < 0 || int(lost.Input) >= len(c.inputs) {
		return lostInput{}
	}
	return lostInput{int(lost.Input), c.inputs[lost.Input], lost}
}

// rewind has the lost input of a run be made again, and the edges that waited for the run
// go back to where they ask for their inputs. It reports whether that is possible. Where
// the vertex that was run has gone, the others run their own op.
func (s *Solver) rewind(c *runCall, lost lostInput) bool {
	v := c.v
	s.noteLost(lost.result, lost.how)
	if !s.g.Released(v.id) && !s.lose(s.g.Input(v.id, lost.input), lost.result) {
		return false
	}
	s.abandon(c.x)
	for id := s.g.Pop(&c.waiting); id != 0; id = s.g.Pop(&c.waiting) {
		e := s.edge(id)
		e.run = nil
		again := edge.Event{Kind: edge.Lost, Input: -1, Flag: true}
		if e.v == v {
			again.Input = int32(lost.input)
		}
		s.tell(e, again)
	}
	return true
}

// noteLost notes that what a result stands for is gone.
func (s *Solver) noteLost(r *SharedResult, how *LostInputError) {
	s.anyLost = true
	if o := r.origin(); o.lost == nil {
		o.lost = how
	}
}

// isLost reports whether a result is known to be lost.
func (s *Solver) isLost(r *SharedResult) bool {
	return s.anyLost && r.origin().lost != nil
}

// hasLost reports whether a run is done and its output is lost.
func (s *Solver) hasLost(x *run, output Index) bool {
	if !s.anyLost || x.call != nil {
		return false
	}
	out := x.at(output)
	return out != nil && s.isLost(out)
}

// has reports whether an edge has a result that is not known to be lost.
func (s *Solver) has(id graph.Edge) bool {
	return s.g.StateOf(id) == graph.Done && !s.isLost(s.edge(id).result)
}

// askAgain answers an edge that needs an input which has no result any more: to Run, if
// run says so, or to Digest.
func (s *Solver) askAgain(e *edgeState, i int, run bool) (edge.Event, bool) {
	in := s.input(e.v, i)
	if !s.lose(in.id, in.result) {
		s.fail(e, e.v.wrap(in.lostFor(i)))
		return edge.Event{}, false
	}
	return edge.Event{Kind: edge.Lost, Input: int32(i), Flag: run}, true
}

// lostFor is the error of who needs an edge's result, which was lost too often.
func (e *edgeState) lostFor(input int) error {
	return &LostInputError{Input: Index(input), Err: e.lostBy()}
}

// lostBy is how an edge's result, which is lost, was found to be gone.
func (e *edgeState) lostBy() error { return cmp.Or(e.result.origin().lost.Err, errResultGone) }

var errResultGone = errors.New("what it stood for is gone")

// lose has an edge's result be made again, or looked for in the caches, and reports whether
// it may be. Somebody else may have found out before: then it is being made, another is
// there, or it has failed.
func (s *Solver) lose(id graph.Edge, result *SharedResult) bool {
	e := s.edge(id)
	if s.g.StateOf(id) != graph.Done || e.result != result {
		return true
	}
	if e.readExtra().loaded != nil {
		e.uncached = true
		s.reopen(e)
		return true
	}
	limit := uint8(maxRewinds)
	if result.origin() != result {
		limit = maxPassed
	}
	if e.rewinds >= limit {
		return false
	}
	e.rewinds++
	s.loseRun(e.v)
	return true
}

// loseRun gives up the run of a vertex, and with it all outputs that came of it.
func (s *Solver) loseRun(v *vertex) {
	x := v.run
	s.unregister(x) // nobody is to share what is lost
	if x.runner == v.id {
		s.keepSubs(x)
	}
	for out := range s.g.Outputs(v.id) {
		switch e := s.edge(out); {
		case s.g.StateOf(out) == graph.Done && e.readExtra().loaded == nil:
			s.reopen(e)
		case e.run == x || e.readExtra().save != nil && e.extra.save.x == x:
			s.g.Restart(out) // it was about to take its output
		}
	}
	s.letGo(v)
}

// reopen has an edge be solved as if it had not been, but for the keys it is known by.
func (s *Solver) reopen(e *edgeState) {
	if ld := e.readExtra().loaded; ld != nil {
		if s.loads[ld.name] == ld {
			delete(s.loads, ld.name)
		}
		s.unload(ld)
	}
	s.leaveDigests(e) // that were not waited for to the end
	e.result, e.maps, e.asked, e.joined = nil, 0, 0, 0
	e.trace.add(traceEvent{kind: TraceLost})
	if r := e.extra; r != nil {
		*r = edgeExtra{}
	}
	e.v.progress.lost = true
	managers := e.v.managers()
	if e.uncached {
		managers = edge.Caches{}
	}
	s.g.Reopen(e.id, managers)
}

// forgetContents forgets content keys of inputs whose results have been made again since:
// they may be others.
func (s *Solver) forgetContents(v *vertex) {
	if !s.anyLost {
		return
	}
	for i := range v.readExtra().contents {
		if ck := &v.extra.contents[i]; ck.of != s.input(v, i).result {
			ck.key = nil
		}
	}
}

// beginAgain shows a vertex as under way, if something of it is made again.
func (s *Solver) beginAgain(v *vertex) {
	if p := &v.progress; p.lost {
		p.lost, p.remaking = false, true
		p.started.Store(0)
		s.tellWatchers(v)
	}
}
