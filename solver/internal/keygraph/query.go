package keygraph

import "sync"

// query is what is asked of a graph, or saved there: names are packed and hashed before
// the lock is taken. It is used again.
type query struct {
	g       *Graph
	buf     []byte
	sources []packedSource
	links   []link
}

// packedSource is a source with the label of the links that lead from it.
type packedSource struct {
	input     int32
	id, label span
}

// span is a packed name in the buffer of a query.
type span struct{ from, to, hash uint32 }

var queries = sync.Pool{New: func() any { return new(query) }}

func newQuery(g *Graph) *query {
	q := queries.Get().(*query)
	q.g = g
	q.reset()
	return q
}

func (q *query) reset() { q.buf, q.sources, q.links = q.buf[:0], q.sources[:0], q.links[:0] }

// free gives a query back, unless it has become large.
func (q *query) free() {
	if q.g = nil; cap(q.buf) <= 1<<16 {
		queries.Put(q)
	}
}

// span is what was packed from a place on.
func (q *query) span(from int) span {
	return span{uint32(from), uint32(len(q.buf)), q.g.hashed(q.buf[from:]).hash}
}

// name packs a name.
func (q *query) name(s string) span {
	from := len(q.buf)
	q.buf = appendPacked(q.buf, s)
	return q.span(from)
}

func (q *query) at(s span) name { return name{q.buf[s.from:s.to:s.to], s.hash} }

// add packs sources. Those with one selector share a label.
func (q *query) add(op string, output int, sources []Source) {
	var label span
	for i := range sources {
		s := &sources[i]
		if i == 0 || s.Selector != sources[i-1].Selector {
			from := len(q.buf)
			q.buf = appendLabel(q.buf, op, output, s.Selector)
			label = q.span(from)
		}
		q.sources = append(q.sources, packedSource{input: int32(s.Input), id: q.name(s.ID), label: label})
	}
}

// link appends to links what equals the links of the next source, but for the target. It
// is none, from node 0, if there cannot be one.
func (q *query) link() *link {
	i := len(q.links)
	s := &q.sources[i]
	l := link{input: s.input}
	if i > 0 && s.label == q.sources[i-1].label {
		l.label = q.links[i-1].label
	} else {
		l.label = q.g.knownLabel(q.at(s.label))
	}
	if l.label != 0 {
		l.from = q.g.known(q.at(s.id))
	}
	q.links = append(q.links, l)
	return &q.links[i]
}
