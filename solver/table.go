package solver

import "hash/maphash"

// table finds things by a hash of their names, with linear probing. It is told the
// name at each look-up, and so does not hold it a second time, as a map would; and
// it grows without looking at anything but hashes. The zero value of T stands for
// nothing.
type table[T comparable] struct {
	slots []tableSlot[T]
	n     int
}

type tableSlot[T comparable] struct {
	item T
	hash uint32
}

// maxEmpty is how much room an empty table keeps.
const maxEmpty = 1024

// hashSeed is that of all tables.
var hashSeed = maphash.MakeSeed()

func hashOf(name string) uint32 { return uint32(maphash.String(hashSeed, name)) }

// find returns the thing that has a hash and is the one looked for.
func (t *table[T]) find(hash uint32, is func(T) bool) (item T, ok bool) {
	var none T
	if t.n == 0 {
		return none, false
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; t.slots[i].item != none; i = (i + 1) & mask {
		if s := &t.slots[i]; s.hash == hash && is(s.item) {
			return s.item, true
		}
	}
	return none, false
}

// reserve makes room for n things in an empty table.
func (t *table[T]) reserve(n int) {
	size := 16
	for n*4 >= size*3 {
		size *= 2
	}
	t.slots = make([]tableSlot[T], size)
}

// insert adds what is not there.
func (t *table[T]) insert(hash uint32, item T) {
	if t.n*4 >= len(t.slots)*3 {
		var none T
		old := t.slots
		t.slots = make([]tableSlot[T], max(16, 2*len(old)))
		for _, s := range old {
			if s.item != none {
				t.put(s)
			}
		}
	}
	t.n++
	t.put(tableSlot[T]{item, hash})
}

func (t *table[T]) put(s tableSlot[T]) {
	var none T
	mask := uint32(len(t.slots) - 1)
	i := s.hash & mask
	for t.slots[i].item != none {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

// remove takes out what is there, and closes the gap, so that what was put past it
// is still found.
func (t *table[T]) remove(hash uint32, item T) {
	var none T
	mask := uint32(len(t.slots) - 1)
	gap := hash & mask
	for t.slots[gap].item != item {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; t.slots[i].item != none; i = (i + 1) & mask {
		// What is there moves into the gap unless its home lies behind it.
		if home := t.slots[i].hash & mask; (i-home)&mask >= (i-gap)&mask {
			t.slots[gap] = t.slots[i]
			gap = i
		}
	}
	t.slots[gap] = tableSlot[T]{}
	if t.n--; t.n == 0 && len(t.slots) > maxEmpty {
		t.slots = nil
	}
}

// all yields what is in the table, in no order.
func (t *table[T]) all(yield func(T) bool) {
	var none T
	for i := range t.slots {
		if item := t.slots[i].item; item != none && !yield(item) {
			return
		}
	}
}
