package rows

import (
	"math/rand/v2"
	"testing"
)

// An index does what a map does, where many hashes are equal, and where it has many
// segments, and gives its memory back.
func TestIndex(t *testing.T) {
	for name, hash := range map[string]func(x uint32) uint32{
		"equal":  func(x uint32) uint32 { return x % 37 },
		"spread": func(x uint32) uint32 { return x * 2654435769 },
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		var tab Index[uint32]
		model := map[uint32]bool{}
		for _, most := range []int{200, 40_000, 1} {
			for range 5 * most {
				x := 1 + rng.Uint32N(uint32(most))
				if name == "equal" {
					x = 1 + x%200
				}
				if model[x] {
					tab.Remove(hash(x), x)
					delete(model, x)
				} else {
					tab.Insert(hash(x), x)
					model[x] = true
				}
				if x = 1 + rng.Uint32N(uint32(most)); tab.Find(hash(x), func(o uint32) bool { return o == x }) == x != model[x] {
					t.Fatalf("%s: %d is found: %v", name, x, !model[x])
				}
			}
			if tab.Len() != len(model) {
				t.Errorf("%s: %d things, want %d", name, tab.Len(), len(model))
			}
		}
		for x := range model {
			tab.Replace(hash(x), x, x+1<<20)
			tab.Remove(hash(x), x+1<<20)
		}
		if tab.Len() != 0 || len(tab.segments) > 1 {
			t.Errorf("%s: %d things are left, in %d segments", name, tab.Len(), len(tab.segments))
		}
	}
}

// A column's rows keep their numbers and, past the first chunk, their places.
func TestColumn(t *testing.T) {
	var c Column[int]
	where := map[uint32]*int{}
	for i := range 10 * ChunkRows {
		row, x := c.Add(true)
		if *x = i; row >= ChunkRows {
			where[row] = x
		}
	}
	for row, x := range where {
		if c.At(row) != x || *x != int(row)-1 {
			t.Fatalf("row %d is %d, and has moved: %v", row, *c.At(row), c.At(row) != x)
		}
	}
	c.Remove(7, true)
	if row, _ := c.Add(false); row != 10*ChunkRows+1 {
		t.Errorf("row %d was used again", row)
	}
	if row, x := c.Add(true); row != 7 || *x != 0 {
		t.Errorf("row %d is %d", row, *x)
	}
	for row := uint32(1); row < 10*ChunkRows+2; row++ {
		c.Remove(row, true)
	}
	if c.Len() != 0 || c.chunks != nil {
		t.Errorf("%d rows in %d chunks are left", c.Len(), len(c.chunks))
	}
}

// Strings are where they were put, also after they were moved together.
func TestBytes(t *testing.T) {
	var b Bytes
	rng := rand.New(rand.NewPCG(1, 2))
	have := map[uint32]string{}
	for range 100_000 {
		s := make([]byte, 1+rng.IntN(60))
		if rng.IntN(10_000) == 0 {
			s = make([]byte, byteChunk/4+rng.IntN(2*byteChunk))
		}
		for i := range s {
			s[i] = byte(rng.Uint32())
		}
		have[b.Add(s)] = string(s)
	}
	n := 0
	for at, s := range have {
		if n++; n%4 != 0 {
			b.Drop(at, len(s))
			delete(have, at)
		}
	}
	if !b.BeginMove() {
		t.Fatal("there is nothing to move")
	}
	moved := map[uint32]string{}
	for at, s := range have {
		moved[b.Moved(at, len(s))] = s
	}
	b.EndMove()
	if b.BeginMove() || len(moved) != len(have) {
		t.Error("moving has no end, or has lost something")
	}
	for at, s := range moved {
		if string(b.From(at)[:len(s)]) != s {
			t.Fatal("a string has changed")
		}
		b.Drop(at, len(s))
	}
	if b.Len() != 0 || b.chunks != nil {
		t.Errorf("%d bytes are left", b.Len())
	}
}
