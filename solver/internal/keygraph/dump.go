package keygraph

import (
	"cmp"
	"slices"
)

// Weight is about how many bytes the records take that Dump writes.
func (g *Graph) Weight() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.names.Len() + 2*(g.nodes.Len()+g.labels.Len()) + 8*(g.entries.Len()+g.links.Len())
}

// numbered is a row with its number in the journal.
type numbered struct{ number, row uint32 }

// Dump writes records that make the graph as it is at one instant, in the numbers of its
// journal. It first hands the frames to taken that the journal has collected up to that
// instant, with the lock held, and then each frame to write, without. Writers go on
// meanwhile, releases wait.
func (g *Graph) Dump(taken func(frames [][]byte), write func(frame []byte) error) error {
	g.releasing.Lock()
	defer g.releasing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	// Nothing is removed, and no row is used again: what comes from now on is behind end.
	g.walks++
	defer func() { g.walks-- }()
	frames, _ := g.journal.take()
	taken(frames)
	d := dump{g: g, write: write}
	entries, links := g.entries.End(), g.links.End()
	nodes := d.sorted(g.nodes.End(), func(row uint32) (number uint32, is bool) {
		n := g.nodes.At(row)
		return n.number, n.flags&used != 0
	})
	labels := d.sorted(g.labels.End(), func(row uint32) (number uint32, is bool) {
		l := g.labels.At(row)
		return l.number, l.refs > 0
	})
	for _, n := range nodes {
		d.j.tellNode(n.number, g.nameAt(g.nodes.At(n.row).name))
		d.step()
	}
	for row := uint32(1); row < entries; row++ {
		if e := g.entries.At(row); e.node != 0 {
			d.j.result(g.nodes.At(e.node).number, g.nameAt(e.name), e.time())
		}
		d.step()
	}
	for _, l := range labels {
		d.j.tellLabel(l.number, g.labelAt(g.labels.At(l.row).name))
		d.step()
	}
	for row := uint32(1); row < links; row++ {
		if l := g.links.At(row); l.from != 0 {
			d.j.link(g, l)
		}
		d.step()
	}
	if len(d.j.open) > 0 {
		d.j.complete()
	}
	d.flush()
	return d.err
}

// dump is a Dump under way.
type dump struct {
	g     *Graph
	j     Journal // collects the frames
	write func(frame []byte) error
	err   error
	steps int
}

// sorted are those of the rows below end that there are, by their numbers.
func (d *dump) sorted(end uint32, at func(row uint32) (number uint32, is bool)) (list []numbered) {
	for row := uint32(1); row < end; row++ {
		if number, is := at(row); is {
			list = append(list, numbered{number, row})
		}
		d.g.pause(&d.steps)
	}
	d.g.mu.Unlock()
	defer d.g.mu.Lock()
	slices.SortFunc(list, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	return list
}

// step ends a record.
func (d *dump) step() {
	d.j.cut()
	if len(d.j.frames) > 0 {
		d.flush()
	}
	d.g.pause(&d.steps)
}

func (d *dump) flush() {
	d.g.mu.Unlock()
	defer d.g.mu.Lock()
	for _, frame := range d.j.frames {
		if d.err == nil {
			d.err = d.write(frame)
		}
	}
	d.j.frames = nil
}
