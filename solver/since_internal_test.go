package solver

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestSinceLinear counts what is compared of graphs and of graphs of twice the size.
func TestSinceLinear(t *testing.T) {
	chain := func(i int) []int { return []int{i - 1} }
	for _, shape := range []struct {
		name    string
		oneName bool // all vertices have one name, and one op
		change  bool // all but the first vertex are as they were
		inputs  func(n, i int) []int
	}{
		{"chain", false, true, func(_, i int) []int { return chain(i) }},
		{"chain of one name", true, true, func(_, i int) []int { return chain(i) }},
		{"nothing in common", true, false, func(_, i int) []int { return chain(i) }},
		{"ladder", true, true, func(_, i int) []int { return []int{i - 1, max(0, i-2)} }},
		{"fan-in", true, true, func(n, i int) []int {
			if i < n-1 {
				return []int{0}
			}
			all := make([]int, n-1)
			for j := range all {
				all[j] = j
			}
			return all
		}},
		{"wide over wide", true, true, func(n, i int) []int {
			if i < n-50 {
				return []int{0}
			}
			all := make([]int, n/50)
			for j := range all {
				all[j] = j
			}
			return all
		}},
	} {
		t.Run(shape.name, func(t *testing.T) {
			trace := func(n int, version string) (out Trace) {
				for i := range n {
					e := EdgeTrace{Name: "same", Op: []digest.Digest{"sha256:same"}, Decisions: []Decision{{Kind: TraceExecuted}}}
					if !shape.oneName {
						e.Name = fmt.Sprint(i)
						e.Op[0] = digest.Digest(e.Name)
					}
					if i == 0 || !shape.change {
						e.Op = []digest.Digest{digest.Digest(fmt.Sprint(version, i))}
					}
					id := fmt.Sprint(version, " ", i)
					e.Vertex, e.Keys = digest.Digest(id), []*CacheKey{{ID: id}}
					if i > 0 {
						for _, in := range shape.inputs(n, i) {
							e.Inputs = append(e.Inputs, InputTrace{Vertex: out[in].Vertex, Name: out[in].Name, Keys: out[in].Keys})
						}
					}
					out = append(out, e)
				}
				return out
			}
			steps := func(n int) int {
				now, earlier := trace(n, "now"), []Trace{trace(n, "one"), trace(n, "two")}
				c := newSince(now, earlier)
				if got := len(c.reasons()); got != n {
					t.Errorf("%d reasons of %d", got, n)
				}
				return c.steps
			}
			small, large := steps(2000), steps(4000)
			t.Logf("%d, %d", small, large)
			if large > small*5/2 {
				t.Errorf("twice as much takes %d steps, and not %d", large, small)
			}
		})
	}
}
