package keygraph

// Looking for cycles costs at most freeSteps a time, and beyond that creditPerLink for
// each link that was ever added. So all releases together cost no more than was put
// in, whatever the graph looks like.
const (
	freeSteps     = 16
	creditPerLink = 16
)

// Release removes a result from all nodes, and what then leads nowhere: nodes that have
// neither results nor outgoing links, with the links into them, and so on, and cycles
// of nodes from which no result can be reached.
//
// It works in steps. What others write meanwhile stays: a node that gains something
// after it has lost something is as one that was made after the release.
func (g *Graph) Release(result string) error {
	q := newQuery(g)
	defer q.free()
	r := q.at(q.name(result))
	g.releasing.Lock()
	defer g.releasing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.journal.refuses(); err != nil {
		return err
	}
	for !g.indexEntries(indexStep) {
		g.yield()
	}
	if g.holder(r) == 0 {
		return nil
	}
	g.journal.release(r.bytes)
	steps, paused := 0, false
	for g.removeHolder(r) {
		paused = g.pause(&steps) || paused
	}
	if paused { // some may have been added
		g.journal.release(r.bytes)
	}
	g.collect(&steps)
	g.compact(&steps)
	return nil
}

// collect removes those of the lost nodes that lead nowhere, and what led to them. The
// chain may be a million long: there is a list of work and no recursion.
func (g *Graph) collect(steps *int) {
	for len(g.work) > 0 {
		row := g.work[len(g.work)-1]
		g.work = g.work[:len(g.work)-1]
		if row >= g.nodes.End() { // all are gone
			continue
		}
		n := g.nodes.At(row)
		switch {
		case n.flags&lost == 0: // it is gone, or has gained something
		case n.results != 0:
			n.flags &^= lost
		case n.firstOut == 0:
			g.remove(row, steps)
		case g.deadRegion(row, steps):
		default:
			g.nodes.At(row).flags &^= lost
		}
		g.pause(steps)
	}
	g.work = nil
	g.journal.released()
	g.journal.endWrite()
}

// remove removes a node that has no results and no outgoing links, unless somebody
// adds something to it.
func (g *Graph) remove(row uint32, steps *int) {
	if g.removeIn(row, steps) {
		g.removeRow(row)
	}
}

// removeRow removes a node that has nothing.
func (g *Graph) removeRow(row uint32) {
	n := g.nodes.At(row)
	b := g.nameAt(n.name)
	g.byID.Remove(g.hashed(b).hash, row)
	g.names.Drop(n.name, len(b))
	g.journal.remove(n)
	g.nodes.Remove(row, g.walks == 0)
}

// removeIn removes the links that lead to a node, as long as it is lost. It reports
// whether it is.
func (g *Graph) removeIn(row uint32, steps *int) bool {
	for {
		n, k := g.nodes.At(row), 0
		for ; n.firstIn != 0; k++ {
			g.removeNewestIn(n)
			if *steps++; *steps%stepRows == 0 {
				k++
				break
			}
		}
		if k > 0 {
			g.journal.removeIn(g.nodes.At(row), k)
		}
		if n.firstIn == 0 {
			return true
		}
		if g.yield(); g.nodes.At(row).flags&lost == 0 {
			return false
		}
	}
}

// deadRegion finds the nodes that can be reached from a node without results, and if
// nothing but they themselves keeps them, it removes the links between them and leaves
// the nodes to be removed: equal keys make cycles. It does nothing if a result can be
// reached, if a node that never had one stands at an end, if finding out would cost too
// much, and if somebody adds to them meanwhile.
func (g *Graph) deadRegion(row uint32, steps *int) bool {
	for l, i := g.nodes.At(row).firstOut, 0; l != 0 && i < scanned; i++ {
		if g.nodes.At(g.links.At(l).to).results != 0 {
			return false
		}
		l = g.links.At(l).nextOut
	}
	g.disturbed = false
	region, dead := g.reach(row, steps)
	for i := 0; dead && i < len(region); i++ {
		g.lose(region[i])
		dead = !g.pause(steps) || !g.disturbed
	}
	for _, r := range region {
		g.nodes.At(r).flags &^= visited
		g.pause(steps)
	}
	if !dead {
		return false
	}
	for _, r := range region {
		if g.nodes.At(r).flags&lost != 0 {
			g.removeIn(r, steps)
		}
	}
	// The row itself was taken off the list.
	g.work = append(g.work, row)
	return true
}

// reach marks the nodes that can be reached from one as visited, and reports whether
// all of them are dead.
func (g *Graph) reach(row uint32, steps *int) (region []uint32, dead bool) {
	count := 0
	defer func() { g.credit -= max(0, count-freeSteps) }()
	limit := freeSteps + g.credit
	g.nodes.At(row).flags |= visited
	region = append(region, row)
	for i := 0; i < len(region); i++ {
		for l := g.nodes.At(region[i]).firstOut; l != 0; l = g.links.At(l).nextOut {
			to := g.links.At(l).to
			n := g.nodes.At(to)
			if count++; count > limit || n.results != 0 || n.firstOut == 0 {
				return region, false
			}
			if n.flags&visited == 0 {
				n.flags |= visited
				region = append(region, to)
			}
			if g.pause(steps) && g.disturbed {
				return region, false
			}
		}
	}
	return region, true
}

// compact copies the living names together if more is dead than alive.
func (g *Graph) compact(steps *int) {
	if !g.names.BeginMove() {
		return
	}
	for i := uint32(1); i < g.nodes.End(); i++ {
		if n := g.nodes.At(i); n.flags&used != 0 {
			n.name = g.names.Moved(n.name, len(g.nameAt(n.name)))
		}
		g.pause(steps)
	}
	for i := uint32(1); i < g.entries.End(); i++ {
		if e := g.entries.At(i); e.node != 0 {
			e.name = g.names.Moved(e.name, len(g.nameAt(e.name)))
		}
		g.pause(steps)
	}
	for i := uint32(1); i < g.labels.End(); i++ {
		if l := g.labels.At(i); l.refs > 0 {
			l.name = g.names.Moved(l.name, len(g.labelAt(l.name)))
		}
		g.pause(steps)
	}
	g.names.EndMove()
}
