package solver

// manyLinks is how many links are looked through one by one. A node with more
// outgoing links has an index.
const manyLinks = 8

// memLink is a link between two nodes. It is in the list of outgoing links of
// the one and in that of incoming links of the other, so that it is stored once
// and removed in no time from either side.
type memLink struct {
	from, to         *memNode
	info             CacheInfoLink
	nextOut, prevOut *memLink
	nextIn, prevIn   *memLink
}

// first returns the first outgoing link that equals info; those that equal it
// follow it.
func (n *memNode) first(info *CacheInfoLink) *memLink {
	if n.hub != nil {
		if g := n.hub.group(info, n.hub.hash(info)); g != nil {
			return g.first
		}
		return nil
	}
	for l := n.firstOut; l != nil; l = l.nextOut {
		if l.info == *info {
			return l
		}
	}
	return nil
}

// count returns how many outgoing links equal info.
func (n *memNode) count(info *CacheInfoLink) int {
	if n.hub != nil {
		if g := n.hub.group(info, n.hub.hash(info)); g != nil {
			return int(g.n)
		}
		return 0
	}
	c := 0
	for l := n.first(info); l != nil && l.info == *info; l = l.nextOut {
		c++
	}
	return c
}

// link returns the outgoing link that equals info and leads to a node.
func (n *memNode) link(info *CacheInfoLink, to *memNode) *memLink {
	if n.hub != nil {
		hash := n.hub.hash(info)
		if g := n.hub.group(info, hash); g != nil {
			return n.hub.link(g, hash, to)
		}
		return nil
	}
	return linkTo(n.first(info), to)
}

// linkTo returns the link to a node among first and those that equal it.
func linkTo(first *memLink, to *memNode) *memLink {
	for l := first; l != nil && l.info == first.info; l = l.nextOut {
		if l.to == to {
			return l
		}
	}
	return nil
}

// addLink adds a link, unless it is there.
func (s *memStorage) addLink(from *memNode, l *memLink, to *memNode) {
	info := &l.info
	// It goes behind those that equal it, or to the end.
	after, others := from.lastOut, 0
	var hash uint32
	var g *linkSlot
	if from.hub != nil {
		hash = from.hub.hash(info)
		if g = from.hub.group(info, hash); g != nil {
			if from.hub.link(g, hash, to) != nil {
				return
			}
			after = g.last
		}
	} else {
		for o := from.firstOut; o != nil; o = o.nextOut {
			if others++; o.info == *info {
				if o.to == to {
					return
				}
				after = o
			}
		}
	}
	l.from, l.to = from, to
	l.insertOut(after)
	l.insertIn()
	s.credit += creditPerLink
	switch {
	case from.hub != nil:
		from.hub.insert(l, g, hash)
	case others >= manyLinks:
		from.hub = newMemHub(from, s.seed)
	}
}

// insertOut puts a link behind another, or makes it the only one.
func (l *memLink) insertOut(after *memLink) {
	l.prevOut = after
	if after != nil {
		l.nextOut, after.nextOut = after.nextOut, l
	} else {
		l.from.firstOut = l
	}
	if l.nextOut != nil {
		l.nextOut.prevOut = l
	} else {
		l.from.lastOut = l
	}
}

// insertIn puts a link behind the other incoming links of the node it leads to.
func (l *memLink) insertIn() {
	n := l.to
	if l.prevIn = n.lastIn; l.prevIn != nil {
		l.prevIn.nextIn = l
	} else {
		n.firstIn = l
	}
	n.lastIn = l
}

// removeOut takes a link out of the outgoing links of the node it comes from.
func (l *memLink) removeOut() {
	n := l.from
	if n.hub != nil {
		n.hub.remove(l)
	}
	if l.prevOut != nil {
		l.prevOut.nextOut = l.nextOut
	} else {
		n.firstOut = l.nextOut
	}
	if l.nextOut != nil {
		l.nextOut.prevOut = l.prevOut
	} else {
		n.lastOut = l.prevOut
	}
}

// removeIn takes a link out of the incoming links of the node it leads to.
func (l *memLink) removeIn() {
	n := l.to
	if l.prevIn != nil {
		l.prevIn.nextIn = l.nextIn
	} else {
		n.firstIn = l.nextIn
	}
	if l.nextIn != nil {
		l.nextIn.prevIn = l.prevIn
	} else {
		n.lastIn = l.prevIn
	}
}
