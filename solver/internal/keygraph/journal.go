package keygraph

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// Journal collects the changes of a graph as records, in frames. A frame is to be read
// after those before it. Methods without a capital are called with the lock of the
// graph held, also if there is no journal.
//
// Records name nodes and labels by numbers, which grow and are never used again, so that
// what one means does not depend on what was lost. In a frame they are told by their
// distance from the one before.
type Journal struct {
	// Limit is how many bytes may wait. Beyond it nothing is added to the graph.
	Limit int
	// Wake is called at each change. It must not block.
	Wake func()

	mu *sync.Mutex // the graph's
	// frames are complete, open is not.
	frames [][]byte
	open   []byte
	// size is the length of what waits, written that of all there ever was.
	size    int
	written uint64
	err     error // why nothing is taken
	// mute drops the records: they come from where they would go to.
	mute bool
	// nextNode and nextLabel are the next numbers.
	nextNode, nextLabel uint32
	coding
}

// coding is the state of a frame that is written or read: the numbers before.
type coding struct {
	node, label, newNode, newLabel uint32
	sec                            int64
}

// What a record says. Each is followed by its numbers, as varints, and its name.
const (
	recNode     = iota + 1 // distance, name
	recLabel               // distance, name
	recResult              // node, seconds, nanoseconds, name
	recLink                // from, label, input, to
	recRelease             // name: the result is gone from all nodes
	recRemoveIn            // node, count: the newest links to it are gone
	recRemove              // node
	recReleased            // no node is lost any more
)

const (
	// frameSize is the length from which on a frame is complete.
	frameSize = 64 << 10
	// FrameHead is how many bytes at the beginning of a frame are left to whoever
	// writes it.
	FrameHead = 24
	// maxNumber is where numbers end.
	maxNumber = math.MaxUint32 - rows.ChunkRows
)

// ErrBehind says that too much waits to be written.
var ErrBehind = errors.New("too many writes wait for the disk")

// Attach has a journal told of all further changes of an empty graph.
func (g *Graph) Attach(j *Journal) {
	j.mu = &g.mu
	g.journal = j
}

func (j *Journal) admit() error {
	switch {
	case j == nil:
		return nil
	case j.err != nil:
		return j.err
	case j.size+len(j.open) >= j.Limit:
		return ErrBehind
	case max(j.nextNode, j.nextLabel) > maxNumber:
		return ErrFull
	}
	return nil
}

// refuses is admit for what makes room.
func (j *Journal) refuses() error {
	if j == nil {
		return nil
	}
	return j.err
}

// record begins a record, unless there is nobody to be told.
func (j *Journal) record(kind byte) bool {
	if j == nil || j.mute {
		return false
	}
	if j.open == nil {
		j.coding = coding{}
		j.open = make([]byte, FrameHead, frameSize+1<<10)
	}
	j.open = append(j.open, kind)
	return true
}

func (j *Journal) uint(v uint64)  { j.open = binary.AppendUvarint(j.open, v) }
func (j *Journal) int(v int64)    { j.open = binary.AppendVarint(j.open, v) }
func (j *Journal) bytes(b []byte) { j.open = append(j.open, b...) }

// near writes a number by its distance from the one before.
func (j *Journal) near(n uint32, before *uint32) {
	j.int(int64(n) - int64(*before))
	*before = n
}

// node tells of a new node, and gives it a number.
func (j *Journal) node(n *node, name []byte) {
	if j != nil {
		n.number = j.nextNode
		j.nextNode++
		j.tellNode(n.number, name)
	}
}

func (j *Journal) tellNode(number uint32, name []byte) {
	if j.record(recNode) {
		j.uint(uint64(number - j.newNode))
		j.newNode, j.coding.node = number, number
		j.bytes(name)
	}
}

// label tells of a new label, and gives it a number.
func (j *Journal) label(l *label, name []byte) {
	if j != nil {
		l.number = j.nextLabel
		j.nextLabel++
		j.tellLabel(l.number, name)
	}
}

func (j *Journal) tellLabel(number uint32, name []byte) {
	if j.record(recLabel) {
		j.uint(uint64(number - j.newLabel))
		j.newLabel, j.coding.label = number, number
		j.bytes(name)
	}
}

func (j *Journal) result(node uint32, result []byte, at time.Time) {
	if j.record(recResult) {
		j.near(node, &j.coding.node)
		sec := at.Unix()
		j.int(sec - j.sec)
		j.sec = sec
		j.uint(uint64(at.Nanosecond()))
		j.bytes(result)
		j.cut()
	}
}

func (j *Journal) link(g *Graph, l *link) {
	if j.record(recLink) {
		j.near(g.nodes.At(l.from).number, &j.coding.node)
		j.near(g.labels.At(l.label).number, &j.coding.label)
		j.int(int64(l.input))
		j.near(g.nodes.At(l.to).number, &j.coding.node)
		j.cut()
	}
}

func (j *Journal) release(result []byte) {
	if j.record(recRelease) {
		j.bytes(result)
	}
}

func (j *Journal) removeIn(n *node, count int) {
	if j.record(recRemoveIn) {
		j.near(n.number, &j.coding.node)
		j.uint(uint64(count))
		j.cut()
	}
}

func (j *Journal) remove(n *node) {
	if j.record(recRemove) {
		j.near(n.number, &j.coding.node)
		j.cut()
	}
}

func (j *Journal) released() { j.record(recReleased) }

// cut completes the open frame if it is long.
func (j *Journal) cut() {
	if len(j.open) >= frameSize {
		j.complete()
	}
}

func (j *Journal) complete() {
	j.frames = append(j.frames, j.open)
	j.size += len(j.open)
	j.written += uint64(len(j.open))
	j.open = nil
}

// endWrite is called when a write is complete.
func (j *Journal) endWrite() {
	if j != nil && j.Wake != nil {
		j.Wake()
	}
}

// Take returns the frames that were collected, and how many bytes there were in all.
// They still wait until Wrote is called.
func (j *Journal) Take() (frames [][]byte, written uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.take()
}

func (j *Journal) take() (frames [][]byte, written uint64) {
	if len(j.open) > 0 {
		j.complete()
	}
	frames, j.frames = j.frames, nil
	return frames, j.written
}

// Wrote says that so many bytes do not wait any more.
func (j *Journal) Wrote(bytes int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.size -= bytes
}

// Written is how many bytes were collected so far.
func (j *Journal) Written() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.written + uint64(len(j.open))
}

// Refuse has all further changes fail with err.
func (j *Journal) Refuse(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
}
