package why

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Critical is the critical path of a build, the first step first, by their place in Steps: of
// all chains of steps, each of which stands on the one before, the one that took longest. Steps
// that took no time themselves are passed through.
//
// When steps began is not asked: what a cache has is loaded when somebody needs it, so such a
// step is often the last of what another has waited for, and the cause of nothing.
func Critical(b *Build) []int {
	waits, took := waitsFor(b)
	last := -1
	for i := range b.Steps {
		if timed(&b.Steps[i]) && (last < 0 || cmp.Or(cmp.Compare(took[i], took[last]), b.Steps[i].Ended.Compare(b.Steps[last].Ended)) > 0) {
			last = i
		}
	}
	var chain []int
	for ; last >= 0; last = waits[last] {
		chain = append(chain, last)
	}
	slices.Reverse(chain)
	return chain
}

func timed(s *Step) bool { return !s.Started.IsZero() && !s.Ended.Before(s.Started) }

// waitsFor says for each step which one below it ends the chain that took longest, -1 for none;
// and how long it took with its own. Only inputs that come before a step count, so a damaged
// file makes no cycle.
func waitsFor(b *Build) (waits []int, took []time.Duration) {
	at := make(map[digest.Digest]int, len(b.Steps))
	waits, took = make([]int, len(b.Steps)), make([]time.Duration, len(b.Steps))
	for i := range b.Steps {
		s := &b.Steps[i]
		waits[i] = -1
		for _, in := range s.Inputs {
			j, known := at[in.Step]
			if !known {
				continue
			}
			if !timed(&b.Steps[j]) {
				if j = waits[j]; j < 0 {
					continue
				}
			}
			if timed(s) && b.Steps[j].Ended.After(s.Ended) {
				continue // it has not waited for that
			}
			if waits[i] < 0 || took[j] > took[waits[i]] {
				waits[i] = j
			}
		}
		took[i] = s.Took()
		if waits[i] >= 0 {
			took[i] += took[waits[i]]
		}
		if _, twice := at[s.Digest]; !twice {
			at[s.Digest] = i
		}
	}
	return waits, took
}
