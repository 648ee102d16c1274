package solver

import "math/bits"

// pile is a list that grows without moving what is in it: each chunk is twice as
// long as the one before.
type pile[T any] struct {
	chunks [][]T
	n      int
}

// firstChunk is the length of a pile's first chunk; a power of two.
const firstChunk = 16

func (p *pile[T]) at(i int) *T {
	k := bits.Len(uint(i)/firstChunk + 1)
	return &p.chunks[k-1][i-(firstChunk<<(k-1)-firstChunk)]
}

// grow adds an element, and returns it.
func (p *pile[T]) grow() *T {
	i := p.n
	p.n++
	if k := bits.Len(uint(i)/firstChunk + 1); k > len(p.chunks) {
		p.chunks = append(p.chunks, make([]T, firstChunk<<(k-1)))
	}
	return p.at(i)
}
