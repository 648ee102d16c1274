package keygraph

import "slices"

// Has reports whether a node exists.
func (g *Graph) Has(id string) bool {
	q := newQuery(g)
	defer q.free()
	n := q.name(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known(q.at(n)) != 0
}

// Load returns one result of a node.
func (g *Graph) Load(id, result string) (Result, bool) {
	q := newQuery(g)
	defer q.free()
	n, r := q.name(id), q.name(result)
	g.mu.Lock()
	defer g.mu.Unlock()
	if row := g.known(q.at(n)); row != 0 {
		if e, _ := g.findEntry(row, q.at(r)); e != 0 {
			return g.result(e), true
		}
	}
	return Result{}, false
}

// Results appends the results of a node to buf, those added last first.
func (g *Graph) Results(id string, buf []Result) []Result {
	g.list(id, func(n *node) uint32 { return n.results }, func(e uint32) uint32 { return g.entries.At(e).next }, func(n, e uint32) {
		if g.entries.At(e).node == n {
			buf = append(buf, g.result(e))
		}
	})
	return buf
}

// Backlink is a link that leads to a node.
type Backlink struct {
	From string
	Link Link
}

// Backlinks appends the links that lead to a node to buf.
func (g *Graph) Backlinks(id string, buf []Backlink) []Backlink {
	var label uint32
	var b Backlink // links of one label share its strings
	g.list(id, func(n *node) uint32 { return n.firstIn }, func(l uint32) uint32 { return g.links.At(l).nextIn }, func(_, row uint32) {
		if l := g.links.At(row); l.from != 0 {
			if l.label != label {
				label, b.Link = l.label, unpackLabel(g.names.From(g.labels.At(l.label).name))
			}
			b.From, b.Link.Input = g.id(l.from), int(l.input)
			buf = append(buf, b)
		}
	})
	return buf
}

// list calls fn for the rows of a list of a node.
func (g *Graph) list(id string, first func(*node) uint32, next func(row uint32) uint32, fn func(n, row uint32)) {
	q := newQuery(g)
	defer q.free()
	name := q.name(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.known(q.at(name))
	if n == 0 {
		return
	}
	var room [16]uint32
	list := room[:0]
	for row := first(g.nodes.At(n)); row != 0; row = next(row) {
		list = append(list, row)
	}
	g.each(list, func(row uint32) { fn(n, row) })
}

// each calls fn for rows in steps, between which rows may be removed but not used again.
func (g *Graph) each(list []uint32, fn func(row uint32)) {
	g.walks++
	steps := 0
	for _, row := range list {
		fn(row)
		g.pause(&steps)
	}
	g.walks--
}

// Holders returns the nodes that hold a result.
func (g *Graph) Holders(result string) (ids []string) {
	q := newQuery(g)
	defer q.free()
	r := q.name(result)
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.indexEntries(indexStep) {
		g.yield()
	}
	var list []uint32
	for e := g.holder(q.at(r)); e != 0; e = g.entries.At(e).holder {
		list = append(list, e)
	}
	g.each(list, func(e uint32) {
		if n := g.entries.At(e).node; n != 0 {
			ids = append(ids, g.id(n))
		}
	})
	return ids
}

// Walk calls fn, without the lock, for the IDs of all nodes that there were when it
// began and are still there.
func (g *Graph) Walk(fn func(id string) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.walks++
	defer func() { g.walks-- }()
	ids := make([]string, 0, stepRows)
	for row, end := uint32(1), g.nodes.End(); row < end; {
		for ids = ids[:0]; row < end && len(ids) < stepRows; row++ {
			if g.nodes.At(row).flags&used != 0 {
				ids = append(ids, g.id(row))
			}
		}
		if err := g.unlocked(ids, fn); err != nil {
			return err
		}
	}
	return nil
}

// unlocked calls fn without the lock.
func (g *Graph) unlocked(ids []string, fn func(id string) error) error {
	g.mu.Unlock()
	defer g.mu.Lock()
	for _, id := range ids {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}

// HasLink reports whether a link exists.
func (g *Graph) HasLink(id string, l Link, target string) bool {
	if l.Input != int(int32(l.Input)) {
		return false
	}
	q := newQuery(g)
	defer q.free()
	to := q.name(target)
	q.add(l.Op, l.Output, []Source{{Input: l.Input, ID: id, Selector: l.Selector}})
	g.mu.Lock()
	defer g.mu.Unlock()
	like := q.link()
	like.to = g.known(q.at(to))
	return like.from != 0 && like.to != 0 && g.link(like) != 0
}

// Targets returns the nodes that a node's links lead to which equal l.
func (g *Graph) Targets(id string, l Link) []string {
	if l.Input != int(int32(l.Input)) {
		return nil
	}
	return g.Match(l.Op, l.Output, []Source{{Input: l.Input, ID: id, Selector: l.Selector}})
}

// HasOp reports whether any link is of an output of an operation, seen through a selector.
func (g *Graph) HasOp(op string, output int, selector string) bool {
	label := appendLabel(nil, op, output, selector)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.knownLabel(g.hashed(label)) != 0
}

// Leads reports whether any of the sources leads to an output of an operation.
func (g *Graph) Leads(op string, output int, sources []Source) bool {
	q := newQuery(g)
	defer q.free()
	for ; len(sources) > 0; sources = sources[min(len(sources), stepRows):] {
		q.reset()
		q.add(op, output, sources[:min(len(sources), stepRows)])
		if q.leads() {
			return true
		}
	}
	return false
}

func (q *query) leads() bool {
	q.g.mu.Lock()
	defer q.g.mu.Unlock()
	for range q.sources {
		if l := q.link(); l.from != 0 && q.g.first(l) != 0 {
			return true
		}
	}
	return false
}

// Match returns the nodes that are reached, as an output of an operation, from each
// input, by one of its sources at least. Sources of one input are neighbours.
//
// Only what the input with the fewest targets leads to is gone through: an input that
// everything uses costs nothing where another one tells more.
func (g *Graph) Match(op string, output int, sources []Source) (ids []string) {
	q := newQuery(g)
	defer q.free()
	q.add(op, output, sources)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.walks++
	defer func() { g.walks-- }()
	steps := 0
	for range q.sources {
		q.link()
		g.pause(&steps)
	}
	best := g.narrowest(q.links, &steps)
	if best == nil {
		return nil
	}
	var room [16]uint32
	list := g.targets(best, room[:0])
	for rest := q.links; len(rest) > 0 && len(list) > 0; {
		var input []link
		if input, rest = cutInput(rest); &input[0] != &best[0] {
			list = g.reached(input, list, &steps)
		}
	}
	for _, to := range list {
		if g.nodes.At(to).flags&used != 0 {
			ids = append(ids, g.id(to))
		}
		g.pause(&steps)
	}
	return ids
}

// cutInput cuts off the links of the first input.
func cutInput(links []link) (input, rest []link) {
	n := 1
	for n < len(links) && links[n].input == links[0].input {
		n++
	}
	return links[:n], links[n:]
}

// narrowest returns the links of the input with the fewest targets; nil if one has none.
// None is counted much further than the fewest.
func (g *Graph) narrowest(links []link, steps *int) (best []link) {
	if len(links) == 0 {
		return nil
	}
	if input, rest := cutInput(links); len(rest) == 0 {
		return input
	}
	for limit := scanned; best == nil; limit *= 8 {
		for rest := links; len(rest) > 0; {
			var input []link
			input, rest = cutInput(rest)
			switch n := g.count(input, limit, steps); {
			case n == 0:
				return nil
			case n < limit:
				best, limit = input, n
			}
		}
	}
	return best
}

// count counts the targets of an input, up to a limit.
func (g *Graph) count(input []link, limit int, steps *int) (n int) {
	for i := 0; i < len(input) && n < limit; i++ {
		if input[i].from == 0 {
			continue
		}
		for l := g.first(&input[i]); l != 0 && n < limit; l = g.next(l, &input[i]) {
			n++
		}
		g.pause(steps)
	}
	return n
}

// targets appends to list what the links lead to that are like one of an input, each
// once.
func (g *Graph) targets(input []link, list []uint32) []uint32 {
	for i := range input {
		if input[i].from == 0 {
			continue
		}
		for l := g.first(&input[i]); l != 0; l = g.next(l, &input[i]) {
			list = append(list, g.links.At(l).to)
		}
	}
	if len(input) > 1 {
		slices.Sort(list)
		list = slices.Compact(list)
	}
	return list
}

// reached filters a list in place: those stay to which an input leads.
func (g *Graph) reached(input []link, list []uint32, steps *int) []uint32 {
	if len(input) > scanned && len(list) > scanned {
		// Where many meet many, listing all is less than asking for each.
		all := g.targets(input, nil)
		return slices.DeleteFunc(list, func(row uint32) bool {
			_, found := slices.BinarySearch(all, row)
			return !found
		})
	}
	return slices.DeleteFunc(list, func(row uint32) bool {
		g.pause(steps)
		for i := range input {
			if l := input[i]; l.from != 0 {
				if l.to = row; g.link(&l) != 0 {
					return false
				}
			}
		}
		return true
	})
}
