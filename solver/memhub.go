package solver

import "hash/maphash"

// memHub indexes the outgoing links of a node that has many.
type memHub struct {
	seed maphash.Seed
	// groups has a slot for each info that occurs.
	groups linkTable
	// links has a slot for each link of the groups of more than manyLinks.
	links linkTable
}

// newMemHub indexes all outgoing links of a node.
func newMemHub(n *memNode, seed maphash.Seed) *memHub {
	h := &memHub{seed: seed}
	for l := n.firstOut; l != nil; l = l.nextOut {
		hash := h.hash(&l.info)
		h.insert(l, h.group(&l.info, hash), hash)
	}
	return h
}

func (h *memHub) hash(info *CacheInfoLink) uint32 {
	return uint32(maphash.Comparable(h.seed, *info))
}

// linkHash is the hash of a link to a node, given that of its info.
func (h *memHub) linkHash(hash uint32, to *memNode) uint32 {
	return hash*31 + uint32(maphash.String(h.seed, to.id))
}

// group returns the slot of the links that equal info; nil if there are none. It
// is valid until the next change.
func (h *memHub) group(info *CacheInfoLink, hash uint32) *linkSlot {
	return h.groups.find(hash, func(l *memLink) bool { return l.info == *info })
}

// link returns the link of a group that leads to a node.
func (h *memHub) link(g *linkSlot, hash uint32, to *memNode) *memLink {
	if g.n <= manyLinks {
		return linkTo(g.first, to)
	}
	s := h.links.find(h.linkHash(hash, to), func(l *memLink) bool {
		return l.to == to && l.info == g.first.info
	})
	if s == nil {
		return nil
	}
	return s.first
}

// insert indexes a link that stands behind the others of its group g.
func (h *memHub) insert(l *memLink, g *linkSlot, hash uint32) {
	if g == nil {
		g = h.groups.insert(l, hash)
	}
	g.last = l
	switch g.n++; {
	case g.n > manyLinks+1:
		h.links.insert(l, h.linkHash(hash, l.to))
	case g.n > manyLinks:
		for o, i := g.first, g.n; i > 0; o, i = o.nextOut, i-1 {
			h.links.insert(o, h.linkHash(hash, o.to))
		}
	}
}

// remove takes a link out of the index while it is still in the list.
func (h *memHub) remove(l *memLink) {
	hash := h.hash(&l.info)
	g := h.group(&l.info, hash)
	switch g.n--; {
	case g.n > manyLinks:
		h.links.remove(l, h.linkHash(hash, l.to))
	case g.n == manyLinks:
		for o, i := g.first, g.n+1; i > 0; o, i = o.nextOut, i-1 {
			h.links.remove(o, h.linkHash(hash, o.to))
		}
	}
	if g.n == 0 {
		h.groups.remove(g.first, hash)
		return
	}
	if g.last == l {
		g.last = l.prevOut
	}
	if g.first == l {
		g.first = l.nextOut
	}
}

// linkTable finds links by a hash of what they are, with linear probing. A map
// would hold what they are a second time.
type linkTable struct {
	slots []linkSlot
	used  int
}

// linkSlot is an entry: a link, or a group of n links of equal info that follow
// one another from first to last.
type linkSlot struct {
	first, last *memLink
	n           int32
	hash        uint32
}

// find returns the slot whose first link is the one looked for.
func (t *linkTable) find(hash uint32, is func(*memLink) bool) *linkSlot {
	if t.used == 0 {
		return nil
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; t.slots[i].first != nil; i = (i + 1) & mask {
		if s := &t.slots[i]; s.hash == hash && is(s.first) {
			return s
		}
	}
	return nil
}

// insert makes a slot for a link that is not there.
func (t *linkTable) insert(l *memLink, hash uint32) *linkSlot {
	if t.used*4 >= len(t.slots)*3 {
		old := t.slots
		t.slots = make([]linkSlot, max(16, 2*len(old)))
		for _, s := range old {
			if s.first != nil {
				*t.free(s.hash) = s
			}
		}
	}
	t.used++
	s := t.free(hash)
	s.first, s.hash = l, hash
	return s
}

// free returns the empty slot where a hash belongs.
func (t *linkTable) free(hash uint32) *linkSlot {
	mask := uint32(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i].first != nil {
		i = (i + 1) & mask
	}
	return &t.slots[i]
}

// remove empties the slot whose first link is l and closes the gap, so that what
// was probed past it is still found.
func (t *linkTable) remove(l *memLink, hash uint32) {
	mask := uint32(len(t.slots) - 1)
	gap := hash & mask
	for t.slots[gap].first != l {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; t.slots[i].first != nil; i = (i + 1) & mask {
		// An entry moves into the gap unless its home lies behind it.
		if home := t.slots[i].hash & mask; (i-home)&mask >= (i-gap)&mask {
			t.slots[gap] = t.slots[i]
			gap = i
		}
	}
	t.slots[gap] = linkSlot{}
	t.used--
}
