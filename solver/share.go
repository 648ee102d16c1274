package solver

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// Equal is not owned: two edges with an equal key share an execution, which each
// of them holds like any other requester. An edge is known by a name for each way
// to write its operation with the keys of its inputs; it shares with whoever is
// known by one of them. Only an execution that has begun is shared: it waits for
// no edge, so that sharing makes no cycle, except through what the op builds.

// maxNames bounds the names of an edge with several alternatives at several
// inputs: their number is a product. Past it, equality may go unseen, which costs
// a second execution.
const maxNames = 8

// join has an edge wait for a run that gives its result, if there is one.
func (s *Solver) join(e *edgeState) bool {
	e.joined = s.begun
	x := e.v.run
	if x == nil || x.left {
		e.v.run = nil
		if x = s.equalRun(e); x == nil {
			return false
		}
	}
	s.attach(e, x)
	return true
}

// attach has an edge wait for a run. If that is done, the edge collects its output in
// this turn.
func (s *Solver) attach(e *edgeState, x *run) {
	e.run = x
	if e.v.run != x {
		s.use(e.v, x)
	}
	if x.call == nil {
		s.tell(e, edge.Event{Kind: edge.Ran})
		return
	}
	s.g.Wait(&x.call.waiting, e.id)
	s.alsoFor(&x.call.task, e.v)
}

// use makes a vertex one of those that use a run.
func (s *Solver) use(v *vertex, x *run) {
	v.run = x
	s.relay(x, v.op)
	x.holders++
	for _, sub := range x.readExtra().subs {
		s.holdSub(v, sub)
	}
}

// leaveRun stops waiting for a run, and cancels it if nobody else does.
func (s *Solver) leaveRun(e *edgeState) {
	if c := e.readExtra().save; c != nil {
		if s.drop(&c.task) {
			s.throw(c.on)
		}
		e.extra.save = nil
	}
	x := e.run
	if x == nil {
		return
	}
	e.run = nil
	c := x.call
	if c == nil {
		return
	}
	if s.g.Leave(&c.waiting, e.id); c.waiting.Len() == 0 {
		s.cancel(x)
	} else if x.runner != e.v.id && !s.waits(e.v, x) {
		s.letGo(e.v) // what is still built for the run is not built for it
	}
}

// waits reports whether an output of a vertex waits for a run.
func (s *Solver) waits(v *vertex, x *run) bool {
	for out := range s.g.Outputs(v.id) {
		if s.edge(out).run == x {
			return true
		}
	}
	return false
}

// cancel ends a run that nobody waits for. It is forgotten at once, so that whoever asks
// next starts afresh.
func (s *Solver) cancel(x *run) {
	if s.drop(&x.call.task) {
		x.call.giveBack()
	}
	s.abandon(x)
}

// abandon gives up a run that is not done, or whose results are of no use.
func (s *Solver) abandon(x *run) {
	x.left = true
	s.endRelays(x)
	s.unregister(x)
	s.keepSubs(x)
	s.endSubs(x)
}

// keepSubs has the vertex whose op a run was stand on what that has built: it will build the
// same when it runs again. Until then nobody is to share a run that stands on the vertex.
func (s *Solver) keepSubs(x *run) {
	if x.runner == 0 {
		return
	}
	for _, sub := range x.readExtra().subs {
		s.addSub(s.vertex(x.runner), sub)
	}
}

// endSubs ends that a run stands on what its op has built.
func (s *Solver) endSubs(x *run) {
	for _, sub := range x.readExtra().subs {
		s.g.Unref(sub)
	}
	if x.extra != nil {
		x.extra.subs = nil
	}
}

// letGo ends a vertex's use of a run.
func (s *Solver) letGo(v *vertex) {
	x := v.run
	if x == nil {
		return
	}
	v.run = nil
	s.endRelay(x, v.op)
	if x.runner == v.id {
		x.runner = 0
	}
	if x.holders--; x.holders > 0 || x.left {
		return
	}
	s.endRun(x)
}

// endRun lets go of the outputs of a run.
func (s *Solver) endRun(x *run) {
	s.endRelays(x)
	s.released++
	for name := range x.names.all {
		*s.endOf(name) = s.released
	}
	s.unregister(x)
	for out := range x.all {
		s.throw(out)
	}
	s.endSubs(x)
}

// register makes a run known by the names of the edge that started it.
func (s *Solver) register(x *run, e *edgeState) {
	s.begun++
	var room [maxNames]string
	for _, name := range s.names(e, room[:0], true) {
		// There is none of the name, or one that cannot be shared with.
		s.runs[index(x.ignoring)].Insert(rows.Hash(name), x)
		x.names.add(name)
	}
}

func (s *Solver) unregister(x *run) {
	for name := range x.names.take().all {
		s.runs[index(x.ignoring)].Remove(rows.Hash(name), x)
	}
}

// endOf is where an end of a run of the name is noted.
func (s *Solver) endOf(name string) *uint64 { return &s.ended[rows.Hash(name)%uint32(len(s.ended))] }

// equalEnded reports whether a run that an edge could have shared may have
// ended since the edge asked its caches.
func (s *Solver) equalEnded(e *edgeState) bool {
	if s.released == e.asked {
		return false
	}
	var room [maxNames]string
	return slices.ContainsFunc(s.names(e, room[:0], false), func(name string) bool { return *s.endOf(name) > e.asked })
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// equalRun finds a run under way, or done, of an edge with an equal key. One that
// ignores caches serves everybody; one that may use them does not serve an edge that
// ignores them.
func (s *Solver) equalRun(e *edgeState) *run {
	if s.runs[0].Len()+s.runs[1].Len() == 0 {
		return nil
	}
	var room [maxNames]string
	for _, name := range s.names(e, room[:0], false) {
		hash := rows.Hash(name)
		serves := func(x *run) bool { return x.names.has(name) && !s.waitsFor(x, e.v) && !s.hasLost(x, e.index) }
		if x := s.runs[1].Find(hash, serves); x != nil {
			return x
		}
		if e.v.ignore {
			continue
		}
		if x := s.runs[0].Find(hash, serves); x != nil {
			return x
		}
	}
	return nil
}

// names appends the names an edge's vertex is known by. The definition keys of fresh
// inputs are among them only if all are asked for: others have them from another time.
// In their place stands which edge the input is.
func (s *Solver) names(e *edgeState, out []string, all bool) []string {
	v := e.v
	if s.g.Inputs(v.id) == 0 {
		for i := range min(e.defs, maxNames) {
			out = append(out, string(v.op.mapAt(i).Digest))
		}
		return out
	}
	fresh := s.freshBelow(v)
	if !fresh && !s.alternatives(v) {
		return append(out, s.definitionOf(e))
	}
	deps := s.keyDeps(v)
	for i, id := range s.g.Below(v.id) {
		in := s.edge(id)
		if !in.v.fresh {
			continue
		}
		keys := in.lookups()
		if all {
			keys = deps[i].keys
		}
		// First, so that it is among the names however many keys there are.
		deps[i].keys = append([]*CacheKey{{ID: fmt.Sprintf("fresh %d@%d", in.v.serial, in.index)}}, keys...)
	}
	if !fresh || all {
		out = append(out, s.definitionOf(e))
	}
	return combine(v.op.first.Digest, deps, out)
}

// combine appends the names of an operation for all choices of its inputs' keys. A
// choice counts through the alternatives of all inputs like an odometer, the content key
// of each input first.
func combine(op digest.Digest, deps []keyDep, out []string) []string {
	choice := make([]int, len(deps))
	for len(out) < maxNames {
		name := definitionID(op, len(deps), func(i int) (string, digest.Digest) { return deps[i].choose(choice[i]) })
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
		i := 0
		for i < len(deps) {
			if choice[i]++; choice[i] < deps[i].choices() {
				break
			}
			choice[i] = 0
			i++
		}
		if i == len(deps) {
			break
		}
	}
	return out
}

// definitionOf names the edge's vertex by its op and the first key of each input.
func (s *Solver) definitionOf(e *edgeState) string {
	if e.index != 0 {
		return s.definition(e.v, &e.v.op.first)
	}
	return e.keys[0].ID
}

func (d keyDep) choices() int {
	if d.content != nil {
		return len(d.keys) + 1
	}
	return len(d.keys)
}

// choose returns an alternative: the content key first, then the keys.
func (d keyDep) choose(i int) (string, digest.Digest) {
	if d.content != nil {
		if i == 0 {
			return d.content.ID, ""
		}
		i--
	}
	return d.keys[i].ID, d.selector
}

// waitsFor reports whether a run waits, through what its op builds, for a
// vertex, or if it is done, stands on it. Only runs whose ops build something are walked.
func (s *Solver) waitsFor(x *run, v *vertex) bool {
	if len(x.readExtra().subs) == 0 {
		return false
	}
	if x.call == nil {
		return s.standOn(x.readExtra().subs, v)
	}
	return s.reaches(x.readExtra().subs, func(o *vertex) bool { return o == v })
}

// standOn reports whether one of some vertices stands on another: who shared its run
// would then stand on itself.
func (s *Solver) standOn(stack []graph.Vertex, v *vertex) bool {
	s.g.BeginWalk()
	stack = slices.Clone(stack)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !s.g.Mark(id) {
			continue
		}
		if id == v.id {
			return true
		}
		for _, in := range s.g.Below(id) {
			stack = append(stack, s.g.VertexOf(in))
		}
		for sub := range s.vertex(id).built {
			stack = append(stack, sub)
		}
	}
	return false
}

// reaches walks what vertices wait for, through inputs that are not there yet, runs they
// share, and what those build.
func (s *Solver) reaches(from []graph.Vertex, goal func(*vertex) bool) bool {
	s.g.BeginWalk()
	stack := append([]graph.Vertex(nil), from...)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !s.g.Mark(id) {
			continue
		}
		v := s.vertex(id)
		if goal(v) {
			return true
		}
		if x := v.run; x != nil && !x.left {
			if x.call != nil {
				stack = append(stack, x.readExtra().subs...)
			}
			continue
		}
		if v.op.call != nil { // what CacheMap builds
			stack = append(stack, v.readExtra().subs...)
		}
		for _, in := range s.g.Below(id) {
			if s.g.StateOf(in) == graph.Open {
				stack = append(stack, s.g.VertexOf(in))
			}
		}
	}
	return false
}

// unshare has a vertex that waits, through what others build, for the goal run its own
// op: equal keys need not be made one where that makes a cycle.
func (s *Solver) unshare(from *vertex, goal func(*vertex) bool) {
	var sharing []*vertex
	s.reaches([]graph.Vertex{from.id}, func(v *vertex) bool {
		if x := v.run; x != nil && x.call != nil && !x.left && x.runner != v.id {
			sharing = append(sharing, v)
		}
		return false
	})
	for _, v := range sharing {
		x := v.run
		if x == nil {
			continue
		}
		if !goal(v) && !s.reaches(x.readExtra().subs, goal) {
			continue
		}
		for id := range s.g.Outputs(v.id) {
			if e := s.edge(id); s.g.StateOf(id) == graph.Open && e.run == x {
				s.g.Restart(id)
			}
		}
		s.letGo(v)
	}
}
