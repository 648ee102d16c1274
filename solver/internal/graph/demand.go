package graph

import "github.com/tenonbuild/tenon/solver/internal/edge"

// wanted is the highest demand there is for an edge.
func (r *edgeRow) wanted() edge.Level {
	for l := edge.Result; l > edge.Nothing; l-- {
		if r.demand[l-1] > 0 {
			return l
		}
	}
	return edge.Nothing
}

// knows is what a parent may use of an edge.
func (r *edgeRow) knows() edge.Level {
	switch r.state {
	case Done:
		return edge.Result
	case Failed:
		return r.known
	}
	return max(r.known, min(r.m.Known(), edge.AllKeys))
}

// Knows is what those above may use of an edge.
func (g *Graph) Knows(e Edge) edge.Level { return g.edges.at(uint32(e)).knows() }

// Demand changes how many callers want the result of an edge.
func (g *Graph) Demand(e Edge, n int) {
	g.demand(e, g.edges.at(uint32(e)), edge.Result, int32(n))
}

// demand changes the demand for an edge, and has it be told if that matters.
func (g *Graph) demand(e Edge, r *edgeRow, level edge.Level, n int32) {
	before := r.wanted()
	r.demand[level-1] += n
	after := r.wanted()
	if after == edge.Result && before != edge.Result {
		g.host.Wanted(e)
	}
	// The machine may want less than there is demand for: it has answered a demand for
	// AllKeys with new keys. So the demand is compared with that as well.
	if after != before || after != r.m.Wanted() {
		g.tell(step{edge: e, kind: edge.Want})
	}
}

// ask demands something of an edge's input. It reports whether the input knows that
// much, or has failed.
func (g *Graph) ask(e Edge, r *edgeRow, s slot, level edge.Level) bool {
	in := g.slots.at(uint32(s))
	child := g.edges.at(uint32(in.child))
	if !in.waiting || level > in.asked {
		in.asked = level
	}
	switch {
	case child.state == Failed || child.knows() >= level:
		return true
	case !in.waiting:
		in.waiting, in.level = true, level
		in.next, in.prev = child.waiters, 0
		if in.next != 0 {
			g.slots.at(uint32(in.next)).prev = s
		}
		child.waiters = s
		r.asks++
		g.demand(in.child, child, level, 1)
	case in.level < level:
		child.demand[in.level-1]--
		in.level = level
		g.demand(in.child, child, level, 1)
	}
	return false
}

// askAll demands something of all inputs of an edge. It reports whether they know it
// all, so that there is nothing to wait for.
func (g *Graph) askAll(e Edge, r *edgeRow, level edge.Level) bool {
	r.missing = 0
	n := g.vertices.at(uint32(r.vertex)).n
	for i := range n {
		s := r.slots + slot(i)
		if !g.ask(e, r, s, level) {
			g.slots.at(uint32(s)).together = true
			r.missing++
		} else if g.failedFor(s) {
			g.tell(step{edge: e, kind: edge.News, input: int32(i)})
		}
	}
	return r.missing == 0
}

// askWide is askAll for an edge with many inputs: a part at a time.
func (g *Graph) askWide(e Edge, r *edgeRow, level edge.Level) {
	r.missing = int32(g.vertices.at(uint32(r.vertex)).n)
	g.askFrom(e, r, 0, level)
}

// askFrom asks some inputs, from one on, and the others later.
func (g *Graph) askFrom(e Edge, r *edgeRow, from uint32, level edge.Level) {
	n := g.vertices.at(uint32(r.vertex)).n
	to := min(n, from+wide)
	for i := from; i < to; i++ {
		s := r.slots + slot(i)
		if !g.ask(e, r, s, level) {
			g.slots.at(uint32(s)).together = true
			continue
		}
		r.missing--
		if g.failedFor(s) {
			g.tell(step{edge: e, kind: edge.News, input: int32(i)})
		}
	}
	switch {
	case to < n:
		g.tell(step{edge: e, kind: askMore, input: int32(to), mask: edge.Managers(level)})
	case r.missing == 0:
		g.tell(step{edge: e, kind: edge.News, input: -1})
	}
}

// failedFor reports whether an input has failed that is needed.
func (g *Graph) failedFor(s slot) bool {
	in := g.slots.at(uint32(s))
	child := g.edges.at(uint32(in.child))
	return child.state == Failed && in.asked > child.known
}

// dropAsks takes back all that an edge demands of its inputs.
func (g *Graph) dropAsks(r *edgeRow) {
	r.missing = 0
	if r.asks == 0 {
		return
	}
	n := g.vertices.at(uint32(r.vertex)).n
	for i := uint32(0); r.asks > 0 && i < n; i++ {
		s := r.slots + slot(i)
		if in := g.slots.at(uint32(s)); in.waiting {
			child := g.edges.at(uint32(in.child))
			g.unlink(child, s, in)
			in.asked = edge.Nothing
			r.asks--
			g.demand(in.child, child, in.level, -1)
		}
	}
}

// unlink takes a slot out of the waiters of its child.
func (g *Graph) unlink(child *edgeRow, s slot, in *slotRow) {
	if in.prev != 0 {
		g.slots.at(uint32(in.prev)).next = in.next
	} else {
		child.waiters = in.next
	}
	if in.next != 0 {
		g.slots.at(uint32(in.next)).prev = in.prev
	}
	in.next, in.prev, in.waiting, in.together = 0, 0, false, false
}

// publish tells those who wait for an edge that it knows more.
func (g *Graph) publish(r *edgeRow, level edge.Level) {
	if level == edge.Result {
		return // settle tells them
	}
	for s := r.waiters; s != 0; {
		in := g.slots.at(uint32(s))
		if level == edge.Keys && in.level == edge.AllKeys {
			// New keys answer a demand for all keys. Who wants still more asks again.
			in.level = edge.Keys
			r.demand[edge.AllKeys-1]--
			r.demand[edge.Keys-1]++
		}
		if !in.together || in.level <= level {
			g.hear(s, in)
		}
		s = in.next
	}
}

// hear tells the edge of an input that this one knows more: at once, or with the last
// of those that it was asked together with.
func (g *Graph) hear(s slot, in *slotRow) {
	input := int32(s - g.edges.at(uint32(in.parent)).slots)
	if in.together {
		in.together = false
		p := g.edges.at(uint32(in.parent))
		if p.missing--; p.missing > 0 {
			return
		}
		input = -1
	}
	g.tell(step{edge: in.parent, kind: edge.News, input: input})
}

// Finish gives an edge its end: its result was loaded, or its op ran. The Host has the
// result already.
func (g *Graph) Finish(e Edge, how edge.EventKind) {
	g.step(e, edge.Event{Kind: how, Flag: true})
	g.settle(e, Done)
}

// Fail ends an edge for good.
func (g *Graph) Fail(e Edge) {
	if g.edges.at(uint32(e)).state != Open {
		return
	}
	g.step(e, edge.Event{Kind: edge.Failed})
	g.settle(e, Failed)
}

// settle tells all who wait for an edge that it has ended.
func (g *Graph) settle(e Edge, state State) {
	r := g.edges.at(uint32(e))
	g.dropAsks(r)
	r.known = max(r.known, min(r.m.Known(), edge.AllKeys))
	r.state = state
	g.host.Settled(e)
	for s := r.waiters; s != 0; {
		in := g.slots.at(uint32(s))
		next := in.next
		in.next, in.prev, in.waiting = 0, 0, false
		g.edges.at(uint32(in.parent)).asks--
		switch {
		case state == Done:
			g.hear(s, in)
		case in.level > r.known:
			in.together = false
			g.tell(step{edge: in.parent, kind: edge.News, input: int32(s - g.edges.at(uint32(in.parent)).slots)})
		}
		s = next
	}
	r.waiters = 0
	r.demand = [edge.Result]int32{}
}

// dismiss has those who wait for an edge wait no more.
func (g *Graph) dismiss(r *edgeRow) {
	for s := r.waiters; s != 0; {
		in := g.slots.at(uint32(s))
		next := in.next
		in.next, in.prev, in.waiting, in.together = 0, 0, false, false
		g.edges.at(uint32(in.parent)).asks--
		s = next
	}
	r.waiters = 0
}

// Reopen has an edge that was done be solved anew: its result is gone. What is known of
// its keys stays known, also if it fails now.
func (g *Graph) Reopen(e Edge, caches edge.Caches) {
	r := g.edges.at(uint32(e))
	n := g.vertices.at(uint32(r.vertex)).n
	clear(g.inputs.run(uint32(r.slots), n))
	r.m.Init(int(n), caches)
	g.forgetProbes(r, n)
	r.state = Open
	g.epochs++
	r.epoch = g.epochs
}
