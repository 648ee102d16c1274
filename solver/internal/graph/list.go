package graph

// List is the edges that wait for one thing, in the order in which they came. An edge
// is in one list at a time. The zero value is empty.
type List struct {
	id          uint32 // of lists that were used
	first, last Edge
	n           int
}

// Len is the number of edges in the list.
func (l *List) Len() int { return l.n }

// Wait puts an edge into a list.
func (g *Graph) Wait(l *List, e Edge) {
	if l.id == 0 {
		g.lists++
		l.id = g.lists
	}
	r := g.edges.at(uint32(e))
	r.list, r.listNext, r.listPrev = l.id, 0, l.last
	if l.last != 0 {
		g.edges.at(uint32(l.last)).listNext = e
	} else {
		l.first = e
	}
	l.last = e
	l.n++
}

// Leave takes an edge out of a list, and reports whether it was there.
func (g *Graph) Leave(l *List, e Edge) bool {
	r := g.edges.at(uint32(e))
	if r.list == 0 || r.list != l.id {
		return false
	}
	if r.listPrev != 0 {
		g.edges.at(uint32(r.listPrev)).listNext = r.listNext
	} else {
		l.first = r.listNext
	}
	if r.listNext != 0 {
		g.edges.at(uint32(r.listNext)).listPrev = r.listPrev
	} else {
		l.last = r.listPrev
	}
	r.list, r.listNext, r.listPrev = 0, 0, 0
	l.n--
	return true
}

// Pop takes the first edge out of a list; 0 if there is none.
func (g *Graph) Pop(l *List) Edge {
	e := l.first
	if e != 0 {
		g.Leave(l, e)
	}
	return e
}

// Each visits the edges of a list, which must not change meanwhile.
func (g *Graph) Each(l *List) func(func(Edge) bool) {
	return func(yield func(Edge) bool) {
		for e := l.first; e != 0; e = g.edges.at(uint32(e)).listNext {
			if !yield(e) {
				return
			}
		}
	}
}
