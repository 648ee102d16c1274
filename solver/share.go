package solver

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
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

// join has an edge wait for an execution that gives its result, if there is one.
func (s *Solver) join(e *edgeState) bool {
	e.joined = s.begun
	x := e.v.exec
	if x == nil {
		if x = s.equalExecution(e); x == nil {
			return false
		}
		s.hold(e.v, x)
	}
	s.attach(e, x)
	return true
}

// attach has an edge wait for an execution. If that is done, the edge collects
// its output in this turn.
func (s *Solver) attach(e *edgeState, x *execution) {
	e.exec = x
	if e.v.exec == nil {
		s.hold(e.v, x)
	}
	if x.call == nil {
		s.tell(step{e: e, kind: edge.Ran})
		return
	}
	x.call.waiting.add(e)
	s.alsoFor(&x.call.task, e.v)
}

// hold makes a vertex one of those that use an execution.
func (s *Solver) hold(v *vertex, x *execution) {
	v.exec = x
	x.holders.add(v)
	for _, sub := range x.has().subs {
		s.adopt(v, sub)
	}
}

// leaveExec stops waiting for an execution, and cancels it if nobody else does.
func (s *Solver) leaveExec(e *edgeState) {
	if c := e.has().save; c != nil {
		if s.drop(&c.task) {
			s.trash = append(s.trash, c.on)
		}
		e.rare.save = nil
	}
	x := e.exec
	if x == nil {
		return
	}
	e.exec = nil
	if c := x.call; c != nil {
		if c.waiting.remove(e); c.waiting.empty() {
			s.cancel(x)
		}
	}
}

// cancel ends an execution that nobody waits for. It is forgotten at once, so
// that whoever asks next starts afresh.
func (s *Solver) cancel(x *execution) {
	if s.drop(&x.call.task) {
		for _, in := range x.call.inputs {
			s.trash = append(s.trash, in)
		}
	}
	for v := range x.holders.take().all {
		v.exec = nil
	}
	s.unregister(x)
}

// letGo ends a vertex's use of an execution.
func (s *Solver) letGo(v *vertex) {
	x := v.exec
	if x == nil {
		return
	}
	v.exec = nil
	if x.holders.remove(v); !x.holders.empty() {
		return
	}
	s.released++
	for name := range x.names.all {
		*s.endOf(name) = s.released
	}
	s.unregister(x)
	for out := range x.outputs.all {
		s.trash = append(s.trash, out)
	}
}

// register makes an execution known by the names of the edge that started it.
func (s *Solver) register(x *execution, e *edgeState) {
	s.begun++
	var room [maxNames]string
	for _, name := range e.names(room[:0]) {
		// There is none of the name, or one that cannot be shared with.
		s.execs[index(x.runner.ignore)].insert(hashOf(name), x)
		x.names.add(name)
	}
}

func (s *Solver) unregister(x *execution) {
	for name := range x.names.take().all {
		s.execs[index(x.runner.ignore)].remove(hashOf(name), x)
	}
}

// endOf is where an end of an execution of the name is noted.
func (s *Solver) endOf(name string) *uint64 { return &s.ended[hashOf(name)%uint32(len(s.ended))] }

// equalEnded reports whether an execution that an edge could have shared may have
// ended since the edge asked its caches.
func (s *Solver) equalEnded(e *edgeState) bool {
	if s.released == e.asked {
		return false
	}
	var room [maxNames]string
	return slices.ContainsFunc(e.names(room[:0]), func(name string) bool { return *s.endOf(name) > e.asked })
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// equalExecution finds an execution under way, or done, of an edge with an equal
// key. One that ignores caches serves everybody; one that may use them does not
// serve an edge that ignores them.
func (s *Solver) equalExecution(e *edgeState) *execution {
	if s.execs[0].n+s.execs[1].n == 0 {
		return nil
	}
	var room [maxNames]string
	for _, name := range e.names(room[:0]) {
		hash := hashOf(name)
		serves := func(x *execution) bool { return x.names.has(name) && !s.waitsFor(x, e.v) }
		if x, ok := s.execs[1].find(hash, serves); ok {
			return x
		}
		if e.v.ignore {
			continue
		}
		if x, ok := s.execs[0].find(hash, serves); ok {
			return x
		}
	}
	return nil
}

// names appends the names an edge's vertex is known by.
func (e *edgeState) names(out []string) []string {
	v := e.v
	if len(v.inputs) == 0 {
		for i := range min(e.maps, maxNames) {
			out = append(out, string(v.op.mapAt(i).Digest))
		}
		return out
	}
	out = append(out, e.definition())
	if !e.alternatives() {
		return out
	}
	var room [narrow]keyDep
	deps, op := append(room[:0], make([]keyDep, len(v.inputs))...), v.op.first.Digest
	v.fillDeps(deps)
	// choice counts through the alternatives of all inputs like an odometer, the
	// content key of each input first.
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

// waitsFor reports whether an execution waits, through what its op builds, for a
// vertex. Only executions whose ops build something are walked.
func (s *Solver) waitsFor(x *execution, v *vertex) bool {
	if x.call == nil || len(x.has().subs) == 0 {
		return false
	}
	return s.reaches(x.has().subs, func(o *vertex) bool { return o == v })
}

// reaches walks what vertices wait for, through inputs that are not there yet,
// executions they share, and what those build.
func (s *Solver) reaches(from []*vertex, goal func(*vertex) bool) bool {
	seen := map[*vertex]bool{}
	stack := append([]*vertex(nil), from...)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[v] {
			continue
		}
		seen[v] = true
		if goal(v) {
			return true
		}
		if x := v.exec; x != nil {
			if x.call != nil {
				stack = append(stack, x.has().subs...)
				if x.runner != v {
					stack = append(stack, x.runner)
				}
			}
			continue
		}
		if v.op.call != nil { // what CacheMap builds
			stack = append(stack, v.has().subs...)
		}
		for _, in := range v.inputs {
			if in.result == nil {
				stack = append(stack, in.v)
			}
		}
	}
	return false
}

// unshare has what a vertex waits for run its own op where it shares an execution
// that waits for the goal: equal keys need not be made one where that makes a
// cycle.
func (s *Solver) unshare(from *vertex, goal func(*vertex) bool) {
	var sharing []*vertex
	s.reaches([]*vertex{from}, func(v *vertex) bool {
		if x := v.exec; x != nil && x.call != nil && x.runner != v {
			sharing = append(sharing, v)
		}
		return false
	})
	for _, v := range sharing {
		x := v.exec
		if x == nil || !goal(v) && !s.reaches(append([]*vertex{x.runner}, x.has().subs...), goal) {
			continue
		}
		for e := range v.edges {
			if !e.settled() && e.exec == x {
				s.step(e, edge.Event{Kind: edge.Want, Level: edge.Nothing})
				s.tell(step{e: e, kind: edge.Want})
			}
		}
		s.letGo(v)
	}
}
