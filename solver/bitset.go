package solver

import "math/bits"

// bitset is a set of small numbers.
type bitset struct {
	first uint64
	more  *[]uint64 // nil while there is none from 64 on
}

func (b *bitset) rest() []uint64 {
	if b.more == nil {
		return nil
	}
	return *b.more
}

func (b *bitset) has(i int) bool {
	if i < 64 {
		return b.first&(1<<i) != 0
	}
	w := i/64 - 1
	rest := b.rest()
	return w < len(rest) && rest[w]&(1<<(i%64)) != 0
}

func (b *bitset) add(i int) {
	if i < 64 {
		b.first |= 1 << i
		return
	}
	w := i/64 - 1
	if b.more == nil {
		b.more = new([]uint64)
	}
	for w >= len(*b.more) {
		*b.more = append(*b.more, 0)
	}
	(*b.more)[w] |= 1 << (i % 64)
}

func (b *bitset) remove(i int) {
	if i < 64 {
		b.first &^= 1 << i
	} else if rest := b.rest(); i/64-1 < len(rest) {
		rest[i/64-1] &^= 1 << (i % 64)
	}
}

func (b *bitset) empty() bool {
	for _, w := range b.rest() {
		if w != 0 {
			return false
		}
	}
	return b.first == 0
}

// all yields the members in order.
func (b *bitset) all(yield func(int) bool) {
	for w := b.first; w != 0; w &= w - 1 {
		if !yield(bits.TrailingZeros64(w)) {
			return
		}
	}
	for i, w := range b.rest() {
		for ; w != 0; w &= w - 1 {
			if !yield((i+1)*64 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}
