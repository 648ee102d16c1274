package graph

import "github.com/tenonbuild/tenon/solver/internal/edge"

// tell has an edge be told something when its turn comes. What there is to say is
// looked up then.
func (g *Graph) tell(st step) {
	r := g.edges.at(uint32(st.edge))
	st.epoch = r.epoch
	g.todo.Add(g.line(r.vertex), st)
}

// line is where what concerns a vertex waits: that of one of its jobs.
func (g *Graph) line(v Vertex) int {
	for job := range g.Jobs(v) {
		return job + 1
	}
	return 0
}

// Tell answers an effect. The answer is void once the edge is abandoned.
func (g *Graph) Tell(e Edge, ev edge.Event) {
	g.tell(step{edge: e, kind: ev.Kind, input: ev.Input, mask: ev.Mask, flag: ev.Flag})
}

// Turn works off what is to be done, at most n steps, and returns how many it took.
func (g *Graph) Turn(n int) (taken int) {
	for ; taken < n && !g.todo.Empty(); taken++ {
		g.perform(g.todo.Next())
	}
	return taken
}

// Pending reports whether there are steps to be taken, or vertices to be reaped.
func (g *Graph) Pending() bool { return !g.todo.Empty() || len(g.dying) > 0 }

// Dying reports whether there are vertices to be reaped.
func (g *Graph) Dying() bool { return len(g.dying) > 0 }

// perform tells an edge one thing, and does what it answers.
func (g *Graph) perform(st step) {
	r := g.edges.at(uint32(st.edge))
	if r.state != Open || r.index < 0 {
		return
	}
	defer g.contain(r.vertex)
	ev := edge.Event{Kind: st.kind, Flag: st.flag, Mask: st.mask, Input: st.input}
	switch st.kind {
	case edge.Want:
		if ev.Level = r.wanted(); ev.Level == r.m.Wanted() {
			return
		}
	case edge.News:
		g.news(st, r)
		return
	case askMore:
		if st.epoch == r.epoch {
			g.askFrom(st.edge, r, uint32(st.input), edge.Level(st.mask))
		}
		return
	default:
		if st.epoch != r.epoch {
			return
		}
		var ok bool
		if ev, ok = g.host.Arrive(st.edge, ev); !ok {
			return
		}
	}
	g.step(st.edge, ev)
}

// wide is how many inputs are gone through in one step, of an edge that has more.
const wide = 512

// askMore goes on asking the inputs of a wide edge: from input on, for the level that
// mask has.
const askMore edge.EventKind = 255

// news tells an edge what one of its inputs knows, or what all of them do, from one on:
// -1 stands for all, -2 for all but the first, and so on.
func (g *Graph) news(st step, r *edgeRow) {
	n := int32(g.vertices.at(uint32(r.vertex)).n)
	from, to := st.input, st.input+1
	if st.input < 0 {
		if st.epoch != r.epoch && st.input < -1 {
			return // the rest of news that are void
		}
		from = -st.input - 1
		to = min(n, from+wide)
	}
	if to > n {
		return // it was for an edge that had the number before
	}
	for i := from; i < to; i++ {
		if g.failedFor(r.slots + slot(i)) {
			g.host.InputFailed(st.edge, int(i))
			return
		}
	}
	in := g.inputs.run(uint32(r.slots), uint32(n))
	at := len(g.effects)
	for i := from; i < to; i++ {
		r.m.Take(in, g.newsOf(r, i), &g.effects)
	}
	if st.input < 0 && to < n {
		// What can be answered at once is. It is decided how to go on with the last.
		g.doAll(st.edge, r, in, at)
		g.tell(step{edge: st.edge, kind: edge.News, input: -to - 1})
		return
	}
	g.decide(st.edge, r, in, at)
}

// newsOf is what an input knows.
func (g *Graph) newsOf(r *edgeRow, i int32) edge.Event {
	at := uint32(r.slots) + uint32(i)
	s := g.slots.at(at)
	child := g.edges.at(uint32(s.child))
	ev := edge.Event{Kind: edge.News, Input: i, Level: child.knows(), Flag: s.probed < child.keys}
	// An Ask for less may have come after the one that still counts.
	needs := max(s.asked, r.m.Needs(g.inputs.at(at)))
	ev.More = needs > ev.Level && !s.waiting && child.state == Open
	return ev
}

// step tells an edge's machine one thing, and does what it answers.
func (g *Graph) step(e Edge, ev edge.Event) {
	r := g.edges.at(uint32(e))
	in := g.inputs.run(uint32(r.slots), g.vertices.at(uint32(r.vertex)).n)
	at := len(g.effects)
	r.m.Take(in, ev, &g.effects)
	g.decide(e, r, in, at)
}

// decide has the machine decide, and does what it asks for. What can be answered at
// once is, and then it decides again.
func (g *Graph) decide(e Edge, r *edgeRow, in []edge.Input, at int) {
	g.visits++
	for again := true; again && r.state == Open; {
		r.m.Decide(in, &g.effects)
		again = g.doAll(e, r, in, at)
	}
}

// doAll does what the machine has asked for, and reports whether it was told something.
func (g *Graph) doAll(e Edge, r *edgeRow, in []edge.Input, at int) (told bool) {
	// What stands before an Abandon is void, but for what stays.
	done, seen := at, at
	for done < len(g.effects) && r.state == Open {
		for ; seen < len(g.effects); seen++ {
			if g.effects[seen].Kind == edge.Abandon {
				g.keep(e, r, g.effects[done:seen])
				done = seen
			}
		}
		eff := g.effects[done]
		done++
		told = g.effect(e, r, in, eff) || told
	}
	g.effects = g.effects[:at]
	return told
}

// keep does of effects that are abandoned at once what stays.
func (g *Graph) keep(e Edge, r *edgeRow, effects []edge.Effect) {
	for _, eff := range effects {
		switch eff.Kind {
		case edge.FormKey:
			g.host.Effect(e, eff)
		case edge.Publish:
			g.publish(r, eff.Level)
		}
	}
}

// effect does one thing, and reports whether the machine was told something at once.
func (g *Graph) effect(e Edge, r *edgeRow, in []edge.Input, eff edge.Effect) bool {
	switch eff.Kind {
	case edge.Ask:
		s := r.slots + slot(eff.Input)
		if !g.ask(e, r, s, eff.Level) {
			return false
		}
		if g.failedFor(s) {
			g.tell(step{edge: e, kind: edge.News, input: eff.Input})
			return false
		}
		r.m.Take(in, g.newsOf(r, eff.Input), &g.effects)
	case edge.AskAll:
		if len(in) > wide {
			g.askWide(e, r, eff.Level)
			return false
		}
		if !g.askAll(e, r, eff.Level) {
			return false
		}
		for i := range in {
			r.m.Take(in, g.newsOf(r, int32(i)), &g.effects)
		}
	case edge.Drop:
		g.dropAsks(r)
		return false
	case edge.Publish:
		g.publish(r, eff.Level)
		return false
	case edge.Abandon:
		g.abandon(e, r)
		return false
	default:
		ev, answered := g.host.Effect(e, eff)
		if !answered || r.state != Open {
			return false
		}
		r.m.Take(in, ev, &g.effects)
	}
	return true
}

// abandon cancels what is under way for an edge.
func (g *Graph) abandon(e Edge, r *edgeRow) {
	g.epochs++
	r.epoch = g.epochs
	g.dropAsks(r)
	g.host.Abandon(e)
}

// Probing returns which keys of an input the caches are to be asked about, from the one
// numbered from on, and whether about its content key, if it has one. They count as
// asked about.
func (g *Graph) Probing(e Edge, i int, content bool) (from, to int, withContent bool) {
	s := g.slots.at(uint32(g.edges.at(uint32(e)).slots) + uint32(i))
	from, to = int(s.probed), int(g.edges.at(uint32(s.child)).keys)
	s.probed = int32(to)
	withContent = content && !s.content
	s.content = s.content || content
	return from, to, withContent
}

// Unprobe has the caches be asked again about the keys of an input from one on, and
// about its content key.
func (g *Graph) Unprobe(e Edge, i, from int, content bool) {
	s := g.slots.at(uint32(g.edges.at(uint32(e)).slots) + uint32(i))
	s.probed = min(s.probed, int32(from))
	s.content = s.content && !content
}

// ForgetProbes has the caches be asked anew about all keys of all inputs.
func (g *Graph) ForgetProbes(e Edge) {
	r := g.edges.at(uint32(e))
	g.forgetProbes(r, g.vertices.at(uint32(r.vertex)).n)
}

func (g *Graph) forgetProbes(r *edgeRow, n uint32) {
	for i := range n {
		s := g.slots.at(uint32(r.slots) + i)
		s.probed, s.content = 0, false
	}
}

// Matched are the caches in which each input of an edge leads to its operation.
func (g *Graph) Matched(e Edge) edge.Managers {
	r := g.edges.at(uint32(e))
	return r.m.Full(g.inputs.run(uint32(r.slots), g.vertices.at(uint32(r.vertex)).n))
}

// Exhausted says whether the caches were asked about all that an input can be known by.
func (g *Graph) Exhausted(e Edge, i int) bool {
	return g.inputs.at(uint32(g.edges.at(uint32(e)).slots) + uint32(i)).Exhausted()
}

// Asked are the caches that an edge asks now.
func (g *Graph) Asked(e Edge) edge.Managers { return g.edges.at(uint32(e)).m.Asked() }

// SetKeys says how many keys of an edge those above may look up.
func (g *Graph) SetKeys(e Edge, n int) { g.edges.at(uint32(e)).keys = int32(n) }

// AddManagers has the outputs of a vertex ask further caches. At once, and not in its
// turn: whoever asks an output in this turn is to hear of it.
func (g *Graph) AddManagers(v Vertex, caches edge.Caches) {
	defer g.contain(v)
	for e := range g.Outputs(v) {
		if g.edges.at(uint32(e)).state == Open {
			g.step(e, edge.Event{Kind: edge.Added, Mask: caches.First, Later: caches.Later})
		}
	}
}

// Restart has an edge begin anew what it has under way.
func (g *Graph) Restart(e Edge) {
	g.step(e, edge.Event{Kind: edge.Want, Level: edge.Nothing})
	g.tell(step{edge: e, kind: edge.Want})
}

// contain turns a fault into one of the vertex that it happened to, so that the builds
// of others go on. To be deferred.
func (g *Graph) contain(v Vertex) {
	if reason := recover(); reason != nil {
		g.effects = g.effects[:0]
		g.host.Fault(v, reason)
	}
}
