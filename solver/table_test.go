package solver

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestTable compares a table with a map, where many hashes are equal.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	hash := func(x int) uint32 { return uint32(x % 37) }
	var tab table[int]
	model := map[int]bool{}
	for range 20_000 {
		x := 1 + rng.IntN(200)
		if model[x] {
			tab.remove(hash(x), x)
			delete(model, x)
		} else {
			tab.insert(hash(x), x)
			model[x] = true
		}
		x = 1 + rng.IntN(200)
		if _, ok := tab.find(hash(x), func(o int) bool { return o == x }); ok != model[x] {
			t.Fatalf("%d is found: %v", x, ok)
		}
	}
	n := 0
	for x := range tab.all {
		if n++; !model[x] {
			t.Errorf("%d is there", x)
		}
	}
	if n != len(model) || tab.n != n {
		t.Errorf("%d and %d things, want %d", n, tab.n, len(model))
	}
}

// TestFew compares a few with a map.
func TestFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var f few[string]
	model := map[string]bool{}
	for range 5_000 {
		x := strconv.Itoa(rng.IntN(6))
		if model[x] != f.has(x) || f.empty() != (len(model) == 0) {
			t.Fatalf("%q is there: %v, want %v", x, f.has(x), model[x])
		}
		if f.remove(x) != model[x] {
			t.Fatalf("%q was there: %v", x, model[x])
		}
		if delete(model, x); rng.IntN(2) == 0 {
			f.add(x)
			model[x] = true
		}
		n := 0
		for x := range f.all {
			if n++; !model[x] {
				t.Fatalf("%q is yielded", x)
			}
		}
		if n != len(model) {
			t.Fatalf("%d are yielded, want %d", n, len(model))
		}
	}
	if got := f.take(); !f.empty() || len(model) > 0 && got.empty() {
		t.Error("take leaves something, or takes nothing")
	}
}
