package solver

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestShortList compares a short list with a map.
func TestShortList(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var f shortList[string]
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
