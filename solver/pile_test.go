package solver

import "testing"

// TestPile grows a pile far past the length at which its chunks stay the same: to
// more chunks than a number has bits.
func TestPile(t *testing.T) {
	var p pile[int]
	var where []*int
	for i := range 100 * lastChunk {
		x := p.grow()
		*x = i
		where = append(where, x)
	}
	for i, x := range where {
		if p.at(i) != x || *x != i {
			t.Fatalf("element %d is %d, and has moved: %v", i, *p.at(i), p.at(i) != x)
		}
	}
}
