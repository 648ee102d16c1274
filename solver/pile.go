package solver

import "math/bits"

// pile is a list that grows without moving what is in it: each chunk is twice as
// long as the one before, up to a length.
type pile[T any] struct {
	chunks [][]T
	n      int
}

const (
	// firstChunk is the length of a pile's first chunk, lastChunk that from which on
	// it stays the same; powers of two.
	firstChunk = 16
	lastChunk  = 1024
	// growing is how many elements there are before the chunks of that length.
	growing = lastChunk - firstChunk
)

// find is the chunk of an element, and where it stands there.
func (p *pile[T]) find(i int) (chunk, at int) {
	if i >= growing {
		i -= growing
		return bits.Len(lastChunk/firstChunk) - 1 + i/lastChunk, i % lastChunk
	}
	k := bits.Len(uint(i)/firstChunk + 1)
	return k - 1, i - (firstChunk<<(k-1) - firstChunk)
}

func (p *pile[T]) at(i int) *T {
	chunk, at := p.find(i)
	return &p.chunks[chunk][at]
}

// grow adds an element, and returns it.
func (p *pile[T]) grow() *T {
	chunk, at := p.find(p.n)
	p.n++
	if chunk == len(p.chunks) {
		n := lastChunk
		if p.n <= growing {
			n = firstChunk << chunk
		}
		p.chunks = append(p.chunks, make([]T, n))
	}
	return &p.chunks[chunk][at]
}
