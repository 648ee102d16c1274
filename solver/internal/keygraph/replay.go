package keygraph

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Replay makes the changes of a journal's frames in a graph. Nobody else has the graph
// meanwhile.
type Replay struct {
	g *Graph
	// Skipped counts the records that name what is not there.
	Skipped       int
	nodes, labels definitions
	coding
	frame []byte
	bad   bool
}

// definitions are the rows of numbers, which ascend.
type definitions struct{ numbers, rows []uint32 }

func (d *definitions) add(number, row uint32) {
	d.numbers, d.rows = append(d.numbers, number), append(d.rows, row)
}

// at is where a number is; -1 if it was not defined.
func (d *definitions) at(number uint32) int {
	if len(d.numbers) == 0 || number < d.numbers[0] {
		return -1
	}
	if i := int(number - d.numbers[0]); i < len(d.numbers) && d.numbers[i] == number {
		return i // nothing is left out so far
	}
	if i, ok := slices.BinarySearch(d.numbers, number); ok {
		return i
	}
	return -1
}

// row is the row of a number; 0 if it has none.
func (d *definitions) row(number uint32) uint32 {
	if i := d.at(number); i >= 0 {
		return d.rows[i]
	}
	return 0
}

// follows reports whether a number may be defined next.
func (d *definitions) follows(number uint64) bool {
	n := len(d.numbers)
	return number <= maxNumber && (n == 0 || number > uint64(d.numbers[n-1]))
}

// NewReplay begins a replay into an empty graph that has a journal. Rows are not used
// again meanwhile, so that their order is that of the records.
func NewReplay(g *Graph) *Replay {
	g.walks++
	g.journal.mute = true
	return &Replay{g: g}
}

// errRecord says that a frame is not one of a journal.
var errRecord = errors.New("a record is not in the format")

// Apply makes the changes of a frame, up to the first record that is damaged.
func (r *Replay) Apply(frame []byte) error {
	r.frame, r.bad, r.coding = frame, false, coding{}
	for len(r.frame) > 0 {
		kind := r.frame[0]
		r.frame = r.frame[1:]
		if r.record(kind); r.bad {
			return fmt.Errorf("%w, %d bytes before the end of its frame", errRecord, len(r.frame))
		}
	}
	return nil
}

func (r *Replay) uint() uint64 {
	v, n := binary.Uvarint(r.frame)
	return uint64(r.took(int64(v), n))
}

func (r *Replay) int() int64 {
	v, n := binary.Varint(r.frame)
	return r.took(v, n)
}

func (r *Replay) took(v int64, n int) int64 {
	if n <= 0 {
		r.bad, r.frame = true, nil
		return 0
	}
	r.frame = r.frame[n:]
	return v
}

// near reads a number that is told by its distance from the one before.
func (r *Replay) near(before *uint32) uint32 {
	v := r.int() + int64(*before)
	if v < 0 || v > math.MaxUint32 {
		r.bad = true
		return 0
	}
	*before = uint32(v)
	return *before
}

// name reads a packed name.
func (r *Replay) name() name { return r.take(packedLen(r.frame)) }

func (r *Replay) take(n int) name {
	if n == 0 {
		r.bad = true
		return name{}
	}
	b := r.frame[:n:n]
	r.frame = r.frame[n:]
	return r.g.hashed(b)
}

func (r *Replay) record(kind byte) {
	g := r.g
	switch kind {
	case recNode:
		r.node()
	case recLabel:
		r.label()
	case recResult:
		r.result()
	case recLink:
		r.link()
	case recRelease:
		if result := r.name(); !r.bad {
			for !g.indexEntries(indexStep) {
			}
			for g.removeHolder(result) {
			}
		}
	case recRemoveIn, recRemove:
		r.remove(kind)
	case recReleased:
		for _, row := range g.work {
			if row < g.nodes.End() {
				g.nodes.At(row).flags &^= lost
			}
		}
		g.work = nil
	default:
		r.bad = true
	}
}

func (r *Replay) node() {
	number := r.uint() + uint64(r.newNode)
	id := r.name()
	if r.bad = r.bad || !r.nodes.follows(number); r.bad {
		return
	}
	r.newNode, r.coding.node = uint32(number), uint32(number)
	row := r.g.known(id)
	if row == 0 {
		row = r.g.node(id)
	}
	r.g.nodes.At(row).number, r.g.journal.nextNode = r.newNode, r.newNode+1
	r.nodes.add(r.newNode, row)
}

// label reads a new label, and takes a reference to it, for the time of the replay.
func (r *Replay) label() {
	number := r.uint() + uint64(r.newLabel)
	text := r.take(labelLen(r.frame))
	if r.bad = r.bad || !r.labels.follows(number); r.bad {
		return
	}
	r.newLabel, r.coding.label = uint32(number), uint32(number)
	row := r.g.label(text)
	l := r.g.labels.At(row)
	l.number, r.g.journal.nextLabel = r.newLabel, r.newLabel+1
	l.refs++
	r.labels.add(r.newLabel, row)
}

func (r *Replay) result() {
	n := r.nodes.row(r.near(&r.coding.node))
	r.sec += r.int()
	nsec := r.uint()
	result := r.name()
	switch {
	case r.bad || nsec >= uint64(time.Second):
		r.bad = true
	case n == 0:
		r.Skipped++
	default:
		r.g.touch(n)
		r.g.addResult(n, result, time.Unix(r.sec, int64(nsec)))
	}
}

func (r *Replay) link() {
	from, label := r.near(&r.coding.node), r.near(&r.coding.label)
	input := r.int()
	to := r.near(&r.coding.node)
	l := link{from: r.nodes.row(from), to: r.nodes.row(to), label: r.labels.row(label), input: int32(input)}
	switch {
	case r.bad || input != int64(l.input):
		r.bad = true
	case l.from == 0 || l.to == 0 || l.label == 0:
		r.Skipped++
	default:
		r.g.touch(l.from)
		r.g.touch(l.to)
		r.g.addLink(l)
	}
}

// remove removes a node, or the newest of the links to it.
func (r *Replay) remove(kind byte) {
	i := r.nodes.at(r.near(&r.coding.node))
	count := uint64(0)
	if kind == recRemoveIn {
		count = r.uint()
	}
	if r.bad {
		return
	}
	if i < 0 || r.nodes.rows[i] == 0 {
		r.Skipped++
		return
	}
	row := r.nodes.rows[i]
	n := r.g.nodes.At(row)
	switch {
	case kind == recRemoveIn:
		for ; count > 0 && n.firstIn != 0; count-- {
			r.g.removeNewestIn(n)
		}
	case n.results|n.firstOut|n.firstIn != 0:
		r.Skipped++
	default:
		r.nodes.rows[i] = 0
		r.g.removeRow(row)
	}
}

// End ends the replay, and a release that was under way when the journal ended. It
// removes the nodes of which all that was said is lost. The journal is told.
func (r *Replay) End() {
	g := r.g
	for _, row := range r.labels.rows {
		g.releaseLabel(row)
	}
	g.walks--
	g.journal.mute = false
	g.mu.Lock()
	defer g.mu.Unlock()
	for row := uint32(1); row < g.nodes.End(); row++ {
		if n := g.nodes.At(row); n.flags&used != 0 && n.results|n.firstOut|n.firstIn == 0 {
			g.removeRow(row)
		}
	}
	if len(g.work) > 0 {
		g.collect(new(int))
	}
}
