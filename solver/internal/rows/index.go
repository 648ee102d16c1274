package rows

import "hash/maphash"

var seed = maphash.MakeSeed()

// Hash is a hash of a name. It is another one in each process.
func Hash(name string) uint32 { return uint32(maphash.String(seed, name)) }

// Index finds things by a hash of what they stand for. It does not hold their names, as
// a map would: it is told at each look-up what to look for. It consists of segments of a
// bounded size, which are found by the upper bits of a hash. So it grows and shrinks by
// one segment at a time. The zero value of T stands for nothing.
type Index[T comparable] struct {
	// segments has 1<<depth elements. Neighbours may be the same segment.
	segments []*segment[T]
	depth    uint8
	n        int
}

type segment[T comparable] struct {
	slots []slot[T] // linear probing by the lower bits of a hash
	used  int
	// depth is how many upper bits the hashes in it have in common.
	depth uint8
}

type slot[T comparable] struct {
	item T
	hash uint32
}

const (
	minSlots = 8
	maxSlots = 4096
	// keptSlots is how much room an empty index keeps.
	keptSlots = 1024
	// maxDepth bounds how far segments are split. Past it they grow.
	maxDepth = 20
)

// Len is the number of things in the index.
func (t *Index[T]) Len() int { return t.n }

func (t *Index[T]) segment(hash uint32) *segment[T] { return t.segments[hash>>(32-t.depth)] }

// Find returns the thing that has a hash and is the one looked for.
func (t *Index[T]) Find(hash uint32, is func(T) bool) (item T) {
	var none T
	if t.n == 0 {
		return none
	}
	slots := t.segment(hash).slots
	mask := uint32(len(slots) - 1)
	for i := hash & mask; slots[i].item != none; i = (i + 1) & mask {
		if s := &slots[i]; s.hash == hash && is(s.item) {
			return s.item
		}
	}
	return none
}

// Insert adds what is not there under this hash.
func (t *Index[T]) Insert(hash uint32, item T) {
	if len(t.segments) == 0 {
		t.segments = []*segment[T]{{slots: make([]slot[T], minSlots)}}
	}
	s := t.segment(hash)
	for s.used*8 >= len(s.slots)*7 {
		if len(s.slots) < maxSlots || s.depth >= maxDepth {
			s.resize(2 * len(s.slots))
			break
		}
		t.split(s, hash)
		s = t.segment(hash)
	}
	t.n++
	s.put(slot[T]{item, hash})
}

func (s *segment[T]) put(e slot[T]) {
	var none T
	mask := uint32(len(s.slots) - 1)
	i := e.hash & mask
	for s.slots[i].item != none {
		i = (i + 1) & mask
	}
	s.slots[i] = e
	s.used++
}

func (s *segment[T]) resize(size int) {
	var none T
	old := s.slots
	s.slots, s.used = make([]slot[T], size), 0
	for _, e := range old {
		if e.item != none {
			s.put(e)
		}
	}
}

// split makes two segments of the one that a hash is in.
func (t *Index[T]) split(s *segment[T], hash uint32) {
	var none T
	if s.depth == t.depth {
		wider := make([]*segment[T], 2*len(t.segments))
		for i, o := range t.segments {
			wider[2*i], wider[2*i+1] = o, o
		}
		t.segments = wider
		t.depth++
	}
	old, bit := s.slots, uint32(1)<<(31-s.depth)
	s.depth++
	s.slots, s.used = make([]slot[T], maxSlots), 0
	other := &segment[T]{slots: make([]slot[T], maxSlots), depth: s.depth}
	for _, e := range old {
		switch {
		case e.item == none:
		case e.hash&bit != 0:
			other.put(e)
		default:
			s.put(e)
		}
	}
	// The upper half of the places that lead to s.
	span := 1 << (t.depth - s.depth)
	first := int(hash>>(32-t.depth)) &^ (2*span - 1)
	for i := first + span; i < first+2*span; i++ {
		t.segments[i] = other
	}
}

// place is where a thing is that is there under a hash.
func (s *segment[T]) place(hash uint32, item T) uint32 {
	mask := uint32(len(s.slots) - 1)
	i := hash & mask
	for s.slots[i] != (slot[T]{item, hash}) {
		i = (i + 1) & mask
	}
	return i
}

// Remove takes out a thing that is there, and closes the gap, so that what was put past
// it is still found.
func (t *Index[T]) Remove(hash uint32, item T) {
	var none T
	s := t.segment(hash)
	slots := s.slots
	mask := uint32(len(slots) - 1)
	gap := s.place(hash, item)
	for i := (gap + 1) & mask; slots[i].item != none; i = (i + 1) & mask {
		// What is there moves into the gap unless its home lies behind it.
		if home := slots[i].hash & mask; (i-home)&mask >= (i-gap)&mask {
			slots[gap] = slots[i]
			gap = i
		}
	}
	slots[gap] = slot[T]{}
	s.used--
	t.n--
	switch {
	case t.n == 0 && (len(t.segments) > 1 || len(slots) > keptSlots):
		*t = Index[T]{}
	case s.used*8 < len(slots) && len(slots) > keptSlots:
		s.resize(len(slots) / 2)
	}
}

// Replace puts a thing in the place of another under the same hash.
func (t *Index[T]) Replace(hash uint32, old, item T) {
	s := t.segment(hash)
	s.slots[s.place(hash, old)].item = item
}
