package keygraph

import "time"

// scanned is how many links or results are looked through one by one.
const scanned = 8

// indexStep is how many entries are indexed each time that the index is missed.
const indexStep = 512

// addResult adds or replaces a node's entry for a result.
func (g *Graph) addResult(n uint32, result name, at time.Time) {
	row, looked := g.findEntry(n, result)
	r := g.nodes.At(n)
	if row == 0 {
		var e *entry
		row, e = g.entries.Add(g.walks == 0)
		*e = entry{node: n, name: g.names.Add(result.bytes), next: r.results}
		if e.next != 0 {
			g.entries.At(e.next).prev = row
		}
		r.results = row
		switch {
		case row <= g.indexedTo: // the index stays complete, if it is
			g.indexedTo = max(g.indexedTo, row+1)
			g.indexEntry(row)
		case looked > scanned:
			g.indexEntries(indexStep)
		}
	}
	g.entries.At(row).setTime(at)
	g.journal.result(r.number, result.bytes, at)
}

func (e *entry) setTime(at time.Time) {
	sec := uint64(at.Unix())
	e.secHi, e.secLo, e.nan = uint32(sec>>32), uint32(sec), uint32(at.Nanosecond())
}

func (e *entry) time() time.Time {
	return time.Unix(int64(uint64(e.secHi)<<32|uint64(e.secLo)), int64(e.nan)).UTC()
}

func (g *Graph) result(row uint32) Result {
	e := g.entries.At(row)
	return Result{ID: g.stringAt(e.name), CreatedAt: e.time()}
}

// indexEntries indexes some more entries by their results, and reports whether all
// are indexed.
func (g *Graph) indexEntries(count int) bool {
	g.indexedTo = max(1, g.indexedTo)
	for ; count > 0 && g.indexedTo < g.entries.End(); count-- {
		if g.indexedTo++; g.entries.At(g.indexedTo-1).node != 0 {
			g.indexEntry(g.indexedTo - 1)
		}
	}
	return g.indexedTo == g.entries.End()
}

// indexEntry puts an entry behind the first holder of its result, or makes it that.
func (g *Graph) indexEntry(row uint32) {
	e := g.entries.At(row)
	n := g.hashed(g.nameAt(e.name))
	if first := g.holder(n); first != 0 {
		h := g.entries.At(first)
		h.holder, e.holder = row, h.holder
		return
	}
	g.byResult.Insert(n.hash, row)
}

// holder is the first indexed entry for a result; 0 if there is none.
func (g *Graph) holder(result name) uint32 {
	return g.byResult.Find(result.hash, func(row uint32) bool { return g.is(g.entries.At(row).name, result) })
}

// findEntry returns a node's entry for a result, and how many entries it looked at. A
// node with many results and a result at many nodes are both quick: the shorter list
// decides, once all entries are indexed.
func (g *Graph) findEntry(n uint32, result name) (row uint32, looked int) {
	of := g.nodes.At(n).results
	if of == 0 {
		return 0, 0
	}
	complete := g.indexedTo == g.entries.End()
	var holder uint32
	if complete {
		holder = g.holder(result)
	}
	for ; of != 0 && (holder != 0 || !complete); looked++ {
		e := g.entries.At(of)
		if g.is(e.name, result) {
			return of, looked
		}
		of = e.next
		if complete {
			h := g.entries.At(holder)
			if h.node == n {
				return holder, looked
			}
			holder = h.holder
		}
	}
	return 0, looked
}

// removeHolder removes one entry for a result, if there is one. All are indexed.
func (g *Graph) removeHolder(result name) bool {
	row := g.holder(result)
	if row == 0 {
		return false
	}
	e := g.entries.At(row)
	if e.holder != 0 {
		g.byResult.Replace(result.hash, row, e.holder)
	} else {
		g.byResult.Remove(result.hash, row)
	}
	if e.prev != 0 {
		g.entries.At(e.prev).next = e.next
	} else {
		g.nodes.At(e.node).results = e.next
	}
	if e.next != 0 {
		g.entries.At(e.next).prev = e.prev
	}
	g.lose(e.node)
	g.names.Drop(e.name, len(result.bytes))
	g.entries.Remove(row, g.walks == 0)
	if g.entries.End() == 1 {
		g.indexedTo = 0
	}
	return true
}
