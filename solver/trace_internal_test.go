package solver

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDecisionsAreKept adds decisions of which many could be kept as one, in and out
// of order, and compares what is told with what was added.
func TestDecisionsAreKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var trace edgeTrace
		var want []traceEvent
		input := int32(0)
		for range rng.IntN(600) {
			switch rng.IntN(40) {
			case 0:
				input = int32(rng.IntN(4))
			case 1: // the same once more
			default:
				input++
			}
			ev := traceEvent{kind: TraceProbe, input: input, asked: 1}
			if rng.IntN(30) == 0 {
				ev.answered = 1
			}
			trace.add(ev)
			want = append(want, ev)
		}
		if got := slices.Collect(trace.all); !slices.Equal(got, want) {
			t.Fatalf("told %v, not %v", got, want)
		}
	}
}
