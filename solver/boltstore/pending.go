package boltstore

import "github.com/tenonbuild/tenon/solver"

// layer is a batch of writes that is not on the disk yet. It hides what lies
// below it, which is an older layer and the file:
//
//   - a node that is cut hides the node below with its results and the links
//     from it and to it;
//   - a released result is hidden wherever it is below;
//   - what a layer adds stands on top of what it hides.
//
// A layer on top of a file that holds it already says the same as the file, so
// that it does not matter when exactly a commit takes place.
type layer struct {
	// nodes are found by the hash of their ID. Those of one hash are chained.
	nodes map[uint64]*pnode
	// order is the nodes in the order in which they were first touched.
	order []*pnode
	// holders are the nodes of the layer that hold a result.
	holders map[string][]*pnode
	// released are the results that are hidden below.
	released map[string]struct{}
	// below is the layer below, as long as there is one, and hidden counts what
	// this one hides of its nodes.
	below  *layer
	hidden map[*pnode]hidden
	// size counts what the layer holds, to bound it.
	size int
	// upTo is the number of the last write in it. It is set when the layer is
	// frozen; from then on nothing in it changes.
	upTo uint64
}

// hidden is how much of a node's is hidden by the layer above.
type hidden struct{ results, links int }

// newLayer returns a layer on top of below, which may be nil, with room for n
// nodes.
func newLayer(below *layer, n int) *layer {
	return &layer{nodes: make(map[uint64]*pnode, n), holders: make(map[string][]*pnode, n), below: below}
}

func (l *layer) empty() bool { return len(l.order) == 0 && len(l.released) == 0 }

// pnode is what a layer knows of one node.
type pnode struct {
	id   string
	hash uint64
	next *pnode // of the same hash
	// num is the node's number, of use to the commit alone.
	num uint64
	// live says whether the node exists.
	live bool
	// cut says that the node below is hidden.
	cut bool
	// fresh says that there certainly is no such node below.
	fresh bool

	results []solver.CacheResult
	// resultAt finds a result in results, where there are many.
	resultAt map[string]int
	out      outLinks
	// in is a chain through edge.nextIn. Only the cutting of the node removes
	// links to it.
	in *edge
}

// edge is a link that a layer adds. Both ends are nodes of the layer.
type edge struct {
	src, dst *pnode
	nextIn   *edge
	link     solver.CacheInfoLink
}

// few is how many results or links a node has before it is worth an index.
const few = 12

func (l *layer) find(hash uint64, id string) *pnode {
	p := l.nodes[hash]
	for p != nil && p.id != id {
		p = p.next
	}
	return p
}

// add makes a node that the layer does not know.
func (l *layer) add(hash uint64, id string) *pnode {
	p := &pnode{id: id, hash: hash, next: l.nodes[hash]}
	l.nodes[hash] = p
	l.order = append(l.order, p)
	l.size++
	return p
}

func (p *pnode) findResult(id string) int {
	if p.resultAt != nil {
		if i, ok := p.resultAt[id]; ok {
			return i
		}
		return -1
	}
	for i := range p.results {
		if p.results[i].ID == id {
			return i
		}
	}
	return -1
}

func (l *layer) addResult(p *pnode, res solver.CacheResult) {
	if i := p.findResult(res.ID); i >= 0 {
		p.results[i] = res
		return
	}
	if p.resultAt != nil {
		p.resultAt[res.ID] = len(p.results)
	}
	p.results = append(p.results, res)
	if p.resultAt == nil && len(p.results) > few {
		p.resultAt = make(map[string]int, 2*few)
		for i := range p.results {
			p.resultAt[p.results[i].ID] = i
		}
	}
	l.holders[res.ID] = append(l.holders[res.ID], p)
	l.size++
}

func (l *layer) hide(p *pnode, results, links int) {
	if l.hidden == nil {
		l.hidden = make(map[*pnode]hidden)
	}
	h := l.hidden[p]
	h.results += results
	h.links += links
	l.hidden[p] = h
}

// release hides a result below, and removes it from the layer.
func (l *layer) release(id string) {
	if l.released == nil {
		l.released = make(map[string]struct{})
	}
	if _, again := l.released[id]; !again && l.below != nil {
		for _, p := range l.below.holders[id] {
			l.hide(p, 1, 0)
		}
	}
	l.released[id] = struct{}{}
	for _, p := range l.holders[id] {
		i, last := p.findResult(id), len(p.results)-1
		p.results[i] = p.results[last]
		p.results[last] = solver.CacheResult{}
		p.results = p.results[:last]
		if p.resultAt != nil {
			delete(p.resultAt, id)
			if i < last {
				p.resultAt[p.results[i].ID] = i
			}
		}
	}
	delete(l.holders, id)
	l.size++
}

func (l *layer) addLink(src *pnode, link solver.CacheInfoLink, dst *pnode) {
	if src.out.find(link, dst) != nil {
		return
	}
	e := &edge{src: src, dst: dst, link: link, nextIn: dst.in}
	dst.in = e
	src.out.add(e)
	l.size++
}

// cut removes a node that has no results and no links from it.
func (l *layer) cut(p *pnode) {
	if !p.cut && l.below != nil {
		if lower := l.below.find(p.hash, p.id); lower != nil {
			for e := lower.in; e != nil; e = e.nextIn {
				l.hide(e.src, 0, 1)
			}
		}
	}
	p.live, p.cut = false, true
	for e := p.in; e != nil; e = e.nextIn {
		e.src.out.remove(e)
	}
	p.in = nil
	p.results, p.resultAt = nil, nil
}

// outLinks are the links from a node: a list, or an index where there are many.
type outLinks struct {
	list  []*edge
	index map[solver.CacheInfoLink]map[*pnode]*edge
	n     int
}

func (o *outLinks) find(link solver.CacheInfoLink, dst *pnode) *edge {
	if o.index != nil {
		return o.index[link][dst]
	}
	for _, e := range o.list {
		if e.dst == dst && e.link == link {
			return e
		}
	}
	return nil
}

func (o *outLinks) add(e *edge) {
	o.n++
	if o.index == nil && o.n <= few {
		o.list = append(o.list, e)
		return
	}
	if o.index == nil {
		o.index = make(map[solver.CacheInfoLink]map[*pnode]*edge, 2*few)
		for _, old := range o.list {
			o.addIndex(old)
		}
		o.list = nil
	}
	o.addIndex(e)
}

func (o *outLinks) addIndex(e *edge) {
	group := o.index[e.link]
	if group == nil {
		group = make(map[*pnode]*edge, 1)
		o.index[e.link] = group
	}
	group[e.dst] = e
}

func (o *outLinks) remove(e *edge) {
	o.n--
	if o.index != nil {
		if group := o.index[e.link]; len(group) > 1 {
			delete(group, e.dst)
		} else {
			delete(o.index, e.link)
		}
		return
	}
	for i, old := range o.list {
		if old == e {
			last := len(o.list) - 1
			o.list[i] = o.list[last]
			o.list[last] = nil
			o.list = o.list[:last]
			return
		}
	}
}

// each visits the links that equal link.
func (o *outLinks) each(link solver.CacheInfoLink, fn func(*edge)) {
	if o.index != nil {
		for _, e := range o.index[link] {
			fn(e)
		}
		return
	}
	for _, e := range o.list {
		if e.link == link {
			fn(e)
		}
	}
}
