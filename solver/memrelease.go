package solver

// Looking for cycles costs at most freeSteps a call, and beyond that
// creditPerLink for each link that was ever added. So all releases together cost
// no more than was put in, whatever the graph looks like.
const (
	freeSteps     = 16
	creditPerLink = 16
)

// Release removes a result, and what then leads nowhere: nodes that have neither
// results nor outgoing links, with the links into them, and so on, and cycles of
// nodes from which no result can be reached.
func (s *memStorage) Release(resultID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var work []*memNode
	for r := s.byResult()[resultID]; r != nil; r = r.nextHolder {
		if r.prev != nil {
			r.prev.next = r.next
		} else {
			r.node.results = r.next
		}
		if r.next != nil {
			r.next.prev = r.prev
		}
		work = append(work, r.node)
	}
	delete(s.results, resultID)
	s.collect(work)
	return nil
}

// collect removes those of the nodes, each of which has lost something, that
// lead nowhere, and what led to them. The chain may be a million long: there is
// a list of work and no recursion.
func (s *memStorage) collect(work []*memNode) {
	for len(work) > 0 {
		n := work[len(work)-1]
		work = work[:len(work)-1]
		switch {
		case n.gone || n.results != nil:
		case n.firstOut == nil:
			work = s.remove(n, work)
		default:
			for _, dead := range s.deadRegion(n) {
				work = s.remove(dead, work)
			}
		}
	}
}

// remove takes a node and its links out, and adds the nodes that led to it to
// the work.
func (s *memStorage) remove(n *memNode, work []*memNode) []*memNode {
	n.gone = true
	s.nodes.remove(hashOf(n.id), n)
	for l := n.firstIn; l != nil; l = l.nextIn {
		if l.from == n {
			continue
		}
		l.removeOut()
		if !l.from.gone {
			work = append(work, l.from)
		}
	}
	for l := n.firstOut; l != nil; l = l.nextOut {
		if l.to != n {
			l.removeIn()
		}
	}
	n.firstIn, n.lastIn, n.firstOut, n.lastOut, n.hub = nil, nil, nil, nil, nil
	return work
}

// deadRegion returns the nodes that can be reached from a node without results,
// if nothing but they themselves keeps them: equal keys make cycles. It returns
// none if a result can be reached, a node that never had one stands at an end, or
// finding out would cost too much.
func (s *memStorage) deadRegion(n *memNode) []*memNode {
	for l, i := n.firstOut, 0; l != nil && i < manyLinks; l, i = l.nextOut, i+1 {
		if l.to.results != nil {
			return nil
		}
	}
	steps := 0
	defer func() { s.credit -= max(0, steps-freeSteps) }()
	limit := freeSteps + s.credit
	region := []*memNode{n}
	seen := map[*memNode]struct{}{n: {}}
	for i := 0; i < len(region); i++ {
		for l := region[i].firstOut; l != nil; l = l.nextOut {
			steps++
			if steps > limit || l.to.results != nil || l.to.firstOut == nil {
				return nil
			}
			if _, ok := seen[l.to]; !ok {
				seen[l.to] = struct{}{}
				region = append(region, l.to)
			}
		}
	}
	return region
}
