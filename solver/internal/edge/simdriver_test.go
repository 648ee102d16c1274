package edge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// sim is a driver of many edges, without goroutine and clock: what is to happen
// next is drawn from a seed.
type sim struct {
	sp       *spec
	r        *rand.Rand
	bias     int // 0: any order; 1: mostly the last first; 2: mostly the first first
	caches   []*simCache
	vertices []*simVertex
	requests map[int]*simRequest
	queue    []task
	execs    map[string]*simExec // done or under way, by name
	done     []*simExec          // that may be released
	released int

	runs    map[int]bool    // vertices whose op was run
	digests map[[2]int]bool // content keys computed: vertex, input
	loads   map[string]bool // records loaded
	taught  bool            // an edge has a key from an execution that it shared
	changes int             // of demand from outside, and of managers
	visits  int
	truths  map[[2]int]string
	log     *strings.Builder // nil: not wanted
}

// task is an event on its way to an edge, or the end of an execution.
type task struct {
	e     *simEdge
	kind  EventKind
	epoch int
	input int32
	flag  bool
	mask  Managers
	later Managers
	exec  *simExec
	again *simRequest
}

type simVertex struct {
	spec     *vertexSpec
	index    int
	managers Managers
	edges    [2]*simEdge
	contents []string // keys; "" where not computed, "!" where that failed
	exec     *simExec
	ran      int // executions that gave results
	remade   int // how often those of one were lost
}

type simEdge struct {
	m        machine
	l        *ledger
	v        *simVertex
	output   int
	epoch    int
	maps     int
	keys     []string
	defs     int // keys by definition
	def      string
	waiters  []simWaiter
	requests []*simRequest
	demand   [Result + 1]int
	ins      []simInput
	found    []simFound
	tried    int
	asked    int // sim.released when the caches were asked
	exec     *simExec
	settled  bool
	failed   bool
	value    string
	known    Level // of its keys, before the result was lost
	loaded   bool  // the result is from a cache
	gone     bool  // it is lost, and nobody knows
	results  int   // how many there have been

	steps   int
	history []string // as a script
}

type simWaiter struct {
	parent *simEdge
	input  int32
	level  Level
}

type simInput struct {
	asked    Level
	probed   int
	content  bool
	inflight dep
	matched  Managers
}

type simFound struct {
	key     string
	manager int
}

type simExec struct {
	v         *simVertex
	e         *simEdge // that started it
	names     []string
	waiting   []*simEdge
	took      []simTaken // the inputs' results
	done      bool
	cancelled bool
	err       bool
}

type simRequest struct {
	e       *simEdge
	level   Level
	counted Level // how it is counted in the edge's demand; Nothing: not
	ended   bool
	met     bool
	failed  bool
}

func newSim(sp *spec) *sim {
	r := rand.New(rand.NewPCG(sp.Order, 2))
	s := &sim{sp: sp, r: r, bias: r.IntN(3), caches: newCaches(sp), requests: map[int]*simRequest{}, execs: map[string]*simExec{},
		truths: map[[2]int]string{}, runs: map[int]bool{}, digests: map[[2]int]bool{}, loads: map[string]bool{}}
	for i := range sp.Vertices {
		spec := &sp.Vertices[i]
		v := &simVertex{spec: spec, index: i, managers: spec.Managers, contents: make([]string, len(spec.Inputs))}
		for out := range v.edges {
			e := &simEdge{v: v, output: out}
			e.begin()
			v.edges[out] = e
		}
		s.vertices = append(s.vertices, v)
	}
	return s
}

// begin begins to solve an edge.
func (e *simEdge) begin() {
	n, managers := len(e.v.spec.Inputs), e.v.managers
	if e.v.spec.Ignore {
		managers = 0
	}
	e.m.Init(n, managers&^e.v.spec.Later, managers&e.v.spec.Later)
	e.l, e.ins = newLedger(n), make([]simInput, n)
	e.history = append(e.history, fmt.Sprintf("edge inputs=%d managers=%s later=%s", n, listed((managers&^e.v.spec.Later).bits()), listed((managers&e.v.spec.Later).bits())))
}

// fault is a broken promise that a run has found.
type fault struct {
	what string
	e    *simEdge
}

func (s *sim) fault(e *simEdge, format string, args ...any) {
	panic(fault{fmt.Sprintf(format, args...), e})
}

// run runs a scenario to its end.
func (s *sim) run() {
	actions := s.sp.Actions
	slices.SortStableFunc(actions, func(a, b action) int { return a.At - b.At })
	for now := 0; ; now++ {
		for len(actions) > 0 && (actions[0].At <= now || len(s.queue) == 0) {
			s.act(actions[0])
			actions = actions[1:]
		}
		if len(s.queue) == 0 {
			break
		}
		if now > 200_000 {
			s.fault(nil, "it does not end")
		}
		s.perform(s.take())
	}
	s.checkEnd()
}

func (s *sim) take() task {
	n := len(s.queue)
	i := s.r.IntN(n)
	if s.bias == 1 && s.r.IntN(8) > 0 {
		i = n - 1
	} else if s.bias == 2 && s.r.IntN(8) > 0 {
		i = 0
	}
	if s.queue[i].exec != nil { // ops are slow
		i = s.r.IntN(n)
	}
	t := s.queue[i]
	s.queue = slices.Delete(s.queue, i, i+1)
	return t
}

func (s *sim) act(a action) {
	switch a.Kind {
	case "demand":
		e := s.edge(a.Vertex, a.Output)
		r := &simRequest{e: e, level: a.Level}
		s.requests[a.Request] = r
		s.changes++
		s.demand(r)
	case "withdraw":
		if r := s.requests[a.Request]; r != nil && !r.ended {
			s.changes++
			r.ended = true
			r.e.requests = slices.DeleteFunc(r.e.requests, func(o *simRequest) bool { return o == r })
			s.count(r, Nothing)
		}
	case "add":
		v := s.vertices[a.Vertex]
		if added := a.Mask &^ v.managers; added != 0 {
			v.managers |= added
			s.changes++
			for _, e := range v.edges {
				for i := range e.ins {
					e.ins[i].probed, e.ins[i].content = 0, false
				}
				if !v.spec.Ignore {
					s.tell(task{e: e, kind: Added, mask: added &^ v.spec.Later, later: added & v.spec.Later})
				}
			}
		}
	case "lose":
		s.lose()
	case "evict":
		s.evict()
	case "release":
		if len(s.done) > 0 {
			i := s.r.IntN(len(s.done))
			s.unregister(s.done[i])
			s.done = slices.Delete(s.done, i, i+1)
			s.released++
			s.changes++
		}
	}
}

func (s *sim) edge(v, output int) *simEdge { return s.vertices[v].edges[output] }

// demand makes a request wait, or ends it if it is met.
func (s *sim) demand(r *simRequest) {
	e := r.e
	switch {
	case e.knows() >= r.level:
		r.met = true
		if r.level == Result {
			r.ended = true
		}
	case e.failed:
		r.failed, r.ended = true, true
		s.count(r, Nothing)
	}
	if r.ended {
		return
	}
	if !slices.Contains(e.requests, r) {
		e.requests = append(e.requests, r)
	}
	s.count(r, r.level)
}

// count changes how a request counts in its edge's demand.
func (s *sim) count(r *simRequest, level Level) {
	e := r.e
	if r.counted != Nothing {
		e.demand[r.counted]--
	}
	if r.counted = level; level != Nothing {
		e.demand[level]++
	}
	s.tell(task{e: e, kind: Want})
}

func (e *simEdge) wanted() Level {
	for l := Result; l > Nothing; l-- {
		if e.demand[l] > 0 {
			return l
		}
	}
	return Nothing
}

func (e *simEdge) knows() Level { return max(e.known, e.m.Known()) }

func (s *sim) tell(t task) {
	if t.e != nil {
		t.epoch = t.e.epoch
	}
	s.queue = append(s.queue, t)
}

// perform brings an event to its edge.
func (s *sim) perform(t task) {
	switch {
	case t.exec != nil:
		s.execDone(t.exec)
		return
	case t.again != nil:
		if r := t.again; !r.ended && !r.met {
			s.demand(r)
		}
		return
	case t.e.settled:
		return
	}
	e := t.e
	ev := Event{Kind: t.kind, Flag: t.flag, Input: t.input, Mask: t.mask, Later: t.later}
	switch t.kind {
	case Want:
		if ev.Level = e.wanted(); ev.Level == e.m.Wanted() {
			return
		}
	case News:
		in := e.v.spec.Inputs[t.input]
		child := s.edge(in.Vertex, in.Output)
		if child.failed && e.ins[t.input].asked > child.knows() {
			s.fail(e)
			return
		}
		ev.Level = child.knows()
		ev.Flag = e.ins[t.input].probed < len(child.keys)
		ev.More = !child.settled && e.ins[t.input].asked > ev.Level && !child.awaitedBy(e, t.input)
	case Added:
	default:
		if t.epoch != e.epoch {
			return
		}
		if !s.answer(e, t, &ev) {
			return
		}
	}
	s.step(e, ev)
}

// step steps a machine, and performs the effects.
func (s *sim) step(e *simEdge, ev Event) {
	s.visits++
	e.steps++
	from := e.m.Stage()
	effects, err := e.l.step(&e.m, ev, nil)
	e.note(ev, effects)
	if s.log != nil {
		fmt.Fprintf(s.log, "%s.%d %s: %s", e.v.spec.Name, e.output, from, eventLine(ev))
		for _, eff := range effects {
			fmt.Fprintf(s.log, " | %s", eff)
		}
		fmt.Fprintf(s.log, " = %s\n", e.m.describe())
	}
	if err != nil {
		s.fault(e, "%v", err)
	}
	for _, eff := range effects {
		if !e.settled {
			s.effect(e, eff)
		}
	}
}

func (s *sim) effect(e *simEdge, eff Effect) {
	switch eff.Kind {
	case CallMap:
		s.tell(task{e: e, kind: Mapped})
	case Ask:
		s.ask(e, eff.Input, eff.Level)
	case AskAll:
		for i := range e.ins {
			s.ask(e, int32(i), eff.Level)
		}
	case Drop:
		s.drop(e)
	case Probe:
		s.probe(e, eff.Input)
	case FormKey:
		s.formKey(e)
	case Match:
		e.asked = s.released
		s.tell(task{e: e, kind: Matched})
	case Digest:
		s.tell(task{e: e, kind: Digested, input: eff.Input})
	case Join:
		s.tell(task{e: e, kind: Joined})
	case Load:
		s.tell(task{e: e, kind: Loaded})
	case Run:
		s.start(e)
	case Widen:
		for i := range e.ins {
			e.ins[i].probed, e.ins[i].content = 0, false
		}
	case Publish:
		s.publish(e, eff.Level)
	case Abandon:
		s.abandon(e)
	}
}

func (s *sim) ask(e *simEdge, i int32, level Level) {
	in := e.v.spec.Inputs[i]
	child := s.edge(in.Vertex, in.Output)
	have := e.ins[i].asked
	e.ins[i].asked = max(have, level)
	if child.failed || child.knows() >= level {
		s.tell(task{e: e, kind: News, input: i})
		return
	}
	for k := range child.waiters {
		if w := &child.waiters[k]; w.parent == e && w.input == i {
			if w.level < level {
				child.demand[w.level]--
				child.demand[level]++
				w.level = level
				s.tell(task{e: child, kind: Want})
			}
			return
		}
	}
	child.waiters = append(child.waiters, simWaiter{e, i, level})
	child.demand[level]++
	s.tell(task{e: child, kind: Want})
}

func (e *simEdge) awaitedBy(parent *simEdge, i int32) bool {
	return slices.ContainsFunc(e.waiters, func(w simWaiter) bool { return w.parent == parent && w.input == i })
}

func (s *sim) drop(e *simEdge) {
	for i := range e.ins {
		e.ins[i].asked = Nothing
		in := e.v.spec.Inputs[i]
		child := s.edge(in.Vertex, in.Output)
		for k, w := range child.waiters {
			if w.parent == e && w.input == int32(i) {
				child.waiters = slices.Delete(child.waiters, k, k+1)
				child.demand[w.level]--
				s.tell(task{e: child, kind: Want})
				break
			}
		}
	}
}

func (s *sim) publish(e *simEdge, level Level) {
	if level == Result {
		return // settle tells
	}
	for i := range e.waiters {
		w := &e.waiters[i]
		if level == Keys && w.level == AllKeys {
			w.level = Keys
			e.demand[AllKeys]--
			e.demand[Keys]++
		}
		s.tell(task{e: w.parent, kind: News, input: w.input})
	}
	for _, r := range e.requests {
		switch {
		case e.knows() >= r.level:
			r.met = true
		case level == Keys && r.counted == AllKeys:
			r.counted = Keys
			e.demand[AllKeys]--
			e.demand[Keys]++
			s.tell(task{again: r})
		}
	}
}

func (s *sim) succeed(e *simEdge, how EventKind, value string) {
	s.step(e, Event{Kind: how, Flag: true})
	e.value, e.loaded = value, how == Loaded
	e.results++
	s.settle(e)
}

func (s *sim) fail(e *simEdge) {
	if e.settled {
		return
	}
	s.step(e, Event{Kind: Failed})
	e.failed = true
	s.settle(e)
}

func (s *sim) settle(e *simEdge) {
	e.settled = true
	s.drop(e)
	for _, w := range e.waiters {
		s.tell(task{e: w.parent, kind: News, input: w.input})
	}
	for _, r := range e.requests {
		r.ended = true
		r.met = r.met || e.knows() >= r.level
		r.failed = !r.met
	}
	e.waiters, e.requests = nil, nil
	clear(e.demand[:])
}

func (s *sim) abandon(e *simEdge) {
	e.epoch++
	s.drop(e)
	for i := range e.ins {
		in := &e.ins[i]
		in.probed = max(0, in.probed-len(in.inflight.keys))
		in.content = in.content && in.inflight.content == ""
		in.inflight = dep{}
	}
	if x := e.exec; x != nil {
		e.exec = nil
		x.waiting = slices.DeleteFunc(x.waiting, func(o *simEdge) bool { return o == e })
		if !x.done && len(x.waiting) == 0 {
			s.cancel(x)
		}
	}
}

// cancel forgets an execution that gives no result.
func (s *sim) cancel(x *simExec) {
	x.cancelled = true
	s.unregister(x)
	for _, v := range s.vertices {
		if v.exec == x {
			v.exec = nil
		}
	}
}

// checkEnd checks that nobody was left waiting, and nothing was left behind.
func (s *sim) checkEnd() {
	for _, id := range slices.Sorted(maps.Keys(s.requests)) {
		if r := s.requests[id]; !r.ended && !r.met {
			s.fault(s.stuck(r.e), "request %d for %s of %s.%d was never answered", id, r.level, r.e.v.spec.Name, r.e.output)
		}
	}
	for _, v := range s.vertices {
		if v.ran > 1+v.remade {
			s.fault(v.edges[0], "%s was run %d times, and its results were lost %d times", v.spec.Name, v.ran, v.remade)
		}
		for _, e := range v.edges {
			if e.settled || e.m.Wanted() > e.m.Known() || e.m.stage >= missed && e.m.Wanted() > Nothing {
				continue
			}
			if n := e.l.unanswered(); n > 0 {
				s.fault(e, "%d effects were never answered", n)
			}
			for i := range e.ins {
				if e.m.Wanted() == Nothing && e.ins[i].asked > Nothing {
					s.fault(e, "nothing is wanted, and input %d is still asked for %s", i, e.ins[i].asked)
				}
			}
		}
	}
}

// stuck finds the lowest edge that waits for nobody that could be waited for.
func (s *sim) stuck(e *simEdge) *simEdge {
	for {
		next := e
		for i, in := range e.v.spec.Inputs {
			child := s.edge(in.Vertex, in.Output)
			if !child.settled && e.ins[i].asked > child.knows() {
				next = child
			}
		}
		if next == e {
			return e
		}
		e = next
	}
}

// note adds a step to the edge's history, in the words of a script.
func (e *simEdge) note(ev Event, effects []Effect) {
	e.history = append(e.history, eventLine(ev))
	for _, eff := range effects {
		e.history = append(e.history, "\t"+eff.String())
	}
	e.history = append(e.history, "\t= "+e.m.describe())
}
