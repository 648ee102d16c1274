package keygraph

import "fmt"

// Check proves that the graph agrees with itself: each name leads to its row and back,
// each link is found from both of its ends and in the index, each result from its
// node and from its holders, and the counts agree. It holds the lock meanwhile.
func (g *Graph) Check() error {
	g.releasing.Lock()
	defer g.releasing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	c := checker{Graph: g}
	for row := uint32(1); row < g.nodes.End(); row++ {
		if g.nodes.At(row).flags&used != 0 {
			c.node(row)
		}
	}
	for row := uint32(1); row < g.labels.End(); row++ {
		if g.labels.At(row).refs > 0 {
			c.label(row)
		}
	}
	c.count("nodes", c.nodes, g.nodes.Len())
	c.count("IDs", c.nodes, g.byID.Len())
	c.count("links from nodes", c.outs, g.links.Len())
	c.count("links to nodes", c.ins, g.links.Len())
	c.count("indexed links", c.indexed, g.byLink.Len())
	c.count("results", c.results, g.entries.Len())
	c.count("labels", c.labels, g.labels.Len())
	c.count("names of labels", c.labels, g.byLabel.Len())
	c.count("references to labels", c.outs, c.refs)
	c.count("bytes of names", c.bytes, g.names.Len())
	return c.err
}

type checker struct {
	*Graph
	err                                error
	nodes, outs, ins, indexed, results int
	labels, refs, bytes                int
}

func (c *checker) faultf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *checker) count(what string, got, want int) {
	if got != want {
		c.faultf("%s: counted %d, there should be %d", what, got, want)
	}
}

func (c *checker) node(row uint32) {
	g, n := c.Graph, c.Graph.nodes.At(row)
	c.nodes++
	name := g.nameAt(n.name)
	c.bytes += len(name)
	if found := g.known(g.hashed(name)); found != row {
		c.faultf("node %d: its ID leads to node %d", row, found)
	}
	if n.results|n.firstOut|n.firstIn == 0 {
		c.faultf("node %d: it has nothing", row)
	}
	prev := uint32(0)
	for e := n.results; e != 0; e = g.entries.At(e).next {
		r := g.entries.At(e)
		result := g.nameAt(r.name)
		if found, _ := g.findEntry(row, g.hashed(result)); r.node != row || r.prev != prev || found != e {
			c.faultf("node %d: result %d is of node %d, or not found", row, e, r.node)
		}
		c.results++
		c.bytes += len(result)
		prev = e
	}
	c.out(row, n)
	for l := n.firstIn; l != 0; l = g.links.At(l).nextIn {
		if r := g.links.At(l); r.to != row || g.nodes.At(r.from).flags&used == 0 {
			c.faultf("node %d: link %d leads to node %d", row, l, r.to)
		}
		c.ins++
	}
}

// out goes through the outgoing links of a node.
func (c *checker) out(row uint32, n *node) {
	g, prev := c.Graph, uint32(0)
	var before *link
	for l := n.firstOut; l != 0; l = g.links.At(l).nextOut {
		r := g.links.At(l)
		if r.from != row || r.prevOut != prev || g.nodes.At(r.to).flags&used == 0 || g.link(r) != l {
			c.faultf("node %d: link %d to node %d is not found, or in the wrong place", row, l, r.to)
		}
		if g.labels.At(r.label).refs == 0 {
			c.faultf("node %d: link %d has no label", row, l)
		}
		first := before == nil || !alike(before, r)
		if first && g.first(r) != l {
			c.faultf("node %d: link %d is away from those like it", row, l)
		}
		if n.flags&indexed != 0 {
			c.indexed++
			if first {
				c.indexed++
			}
		}
		c.outs++
		prev, before = l, r
	}
}

func (c *checker) label(row uint32) {
	l := c.Graph.labels.At(row)
	c.labels++
	c.refs += int(l.refs)
	name := c.labelAt(l.name)
	c.bytes += len(name)
	if found := c.knownLabel(c.hashed(name)); found != row {
		c.faultf("label %d: its name leads to label %d", row, found)
	}
}
