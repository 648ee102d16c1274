package keygraph

import "math/bits"

// mix mixes a number into a hash.
func (g *Graph) mix(h uint64, x uint32) uint64 {
	hi, lo := bits.Mul64(h^uint64(x)<<1, g.salt)
	return hi ^ lo
}

// hash is the hash of what a link has in common with those like it, and, with its target,
// of the link.
func (g *Graph) hash(l *link) (like, exact uint32) {
	h := g.mix(g.salt>>1, l.from)
	h = g.mix(h, l.label)
	h = g.mix(h, uint32(l.input))
	return uint32(h >> 32), uint32(g.mix(h, l.to) >> 32)
}

// alike reports whether two links of one node are equal but for their targets.
func alike(a, b *link) bool { return a.label == b.label && a.input == b.input }

// first returns the first of the links that are like l; those that are, too, follow it.
func (g *Graph) first(l *link) uint32 {
	n := g.nodes.At(l.from)
	if n.flags&indexed != 0 {
		like, _ := g.hash(l)
		return g.byLink.Find(like, func(row uint32) bool {
			o := g.links.At(row)
			return o.from == l.from && alike(o, l) && (o.prevOut == 0 || !alike(g.links.At(o.prevOut), l))
		})
	}
	for row := n.firstOut; row != 0; {
		o := g.links.At(row)
		if alike(o, l) {
			return row
		}
		row = o.nextOut
	}
	return 0
}

// next returns the link after row if it is like l.
func (g *Graph) next(row uint32, l *link) uint32 {
	if row = g.links.At(row).nextOut; row != 0 && alike(g.links.At(row), l) {
		return row
	}
	return 0
}

// link returns the link that equals l; 0 if there is none.
func (g *Graph) link(l *link) uint32 {
	if g.nodes.At(l.from).flags&indexed != 0 {
		_, exact := g.hash(l)
		return g.byLink.Find(exact, func(row uint32) bool {
			o := g.links.At(row)
			return o.from == l.from && o.to == l.to && alike(o, l)
		})
	}
	for row := g.first(l); row != 0; row = g.next(row, l) {
		if g.links.At(row).to == l.to {
			return row
		}
	}
	return 0
}

// addLink adds a link, unless it is there: before those that are like it, or to the front.
func (g *Graph) addLink(l link) {
	n, to := g.nodes.At(l.from), g.nodes.At(l.to)
	if n.firstOut != 0 && g.link(&l) != 0 {
		return
	}
	like := uint32(0)
	if n.firstOut != 0 {
		like = g.first(&l)
	}
	row, r := g.links.Add(g.walks == 0)
	l.nextOut, l.nextIn = n.firstOut, to.firstIn
	if like != 0 {
		l.nextOut, l.prevOut = like, g.links.At(like).prevOut
	}
	if l.nextOut != 0 {
		g.links.At(l.nextOut).prevOut = row
	}
	if l.prevOut != 0 {
		g.links.At(l.prevOut).nextOut = row
	} else {
		n.firstOut = row
	}
	to.firstIn = row
	*r = l
	g.labels.At(l.label).refs++
	g.credit += creditPerLink
	if n.flags&indexed != 0 {
		g.indexLink(row, like)
	} else {
		g.indexIfMany(n)
	}
	g.journal.link(g, &l)
}

// indexIfMany indexes the outgoing links of a node if they are many.
func (g *Graph) indexIfMany(n *node) {
	row, count := n.firstOut, 0
	for ; row != 0 && count <= scanned; count++ {
		row = g.links.At(row).nextOut
	}
	if count <= scanned {
		return
	}
	n.flags |= indexed
	for row = n.firstOut; row != 0; row = g.links.At(row).nextOut {
		l := g.links.At(row)
		like, exact := g.hash(l)
		g.byLink.Insert(exact, row)
		if l.prevOut == 0 || !alike(g.links.At(l.prevOut), l) {
			g.byLink.Insert(like, row)
		}
	}
}

// indexLink indexes a link that stands before those like it, of which like was the first.
func (g *Graph) indexLink(row, was uint32) {
	like, exact := g.hash(g.links.At(row))
	g.byLink.Insert(exact, row)
	if was != 0 {
		g.byLink.Replace(like, was, row)
	} else {
		g.byLink.Insert(like, row)
	}
}

// unindexLink takes a link out of the index while it is still in the list.
func (g *Graph) unindexLink(row uint32) {
	l := g.links.At(row)
	like, exact := g.hash(l)
	g.byLink.Remove(exact, row)
	if l.prevOut != 0 && alike(g.links.At(l.prevOut), l) {
		return
	}
	if next := g.next(row, l); next != 0 {
		g.byLink.Replace(like, row, next)
	} else {
		g.byLink.Remove(like, row)
	}
}

// removeNewestIn removes the newest of the links that lead to a node, and marks the
// node that it comes from as one that has lost something.
func (g *Graph) removeNewestIn(n *node) {
	row := n.firstIn
	l := g.links.At(row)
	n.firstIn = l.nextIn
	from := g.nodes.At(l.from)
	if from.flags&indexed != 0 {
		g.unindexLink(row)
	}
	if l.prevOut != 0 {
		g.links.At(l.prevOut).nextOut = l.nextOut
	} else {
		from.firstOut = l.nextOut
	}
	if l.nextOut != 0 {
		g.links.At(l.nextOut).prevOut = l.prevOut
	}
	g.lose(l.from)
	g.releaseLabel(l.label)
	g.links.Remove(row, g.walks == 0)
}

// lose marks a node as one that has lost something.
func (g *Graph) lose(row uint32) {
	if n := g.nodes.At(row); n.flags&lost == 0 {
		n.flags |= lost
		g.work = append(g.work, row)
	}
}
