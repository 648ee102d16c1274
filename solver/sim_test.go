package solver_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

var (
	simSeeds   = flag.Uint64("sim.seeds", 3000, "how many seeds TestSimulation runs")
	simFirst   = flag.Uint64("sim.first", 0, "the first of those seeds")
	simSeed    = flag.Int64("sim.seed", -1, "the one seed TestSimulation runs, several times")
	simVerbose = flag.Bool("sim.v", false, "TestSimulation names each seed on standard error before it runs it")
)

// simTries is how often a case is run to see whether it fails: what happens at
// one instant happens in any order.
const simTries = 10

// TestSimulation runs the solver on cases made from seeds and compares with what
// a plain recursion says. A case that fails is shrunk and printed. To see it
// again: go test -run TestSimulation -sim.seed=N.
func TestSimulation(t *testing.T) {
	if *simSeed >= 0 {
		for range simTries {
			if runSeed(t, uint64(*simSeed)) {
				return
			}
		}
		return
	}
	seeds := *simSeeds
	if testing.Short() {
		seeds = min(seeds, 300)
	}
	var next, failed atomic.Uint64
	for w := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("worker", w), func(t *testing.T) {
			t.Parallel()
			for failed.Load() < 3 {
				n := next.Add(1) - 1
				if n >= seeds {
					return
				}
				if runSeed(t, *simFirst+n) {
					failed.Add(1)
				}
			}
		})
	}
}

// runSeed runs one seed and reports whether it failed.
func runSeed(t *testing.T, seed uint64) bool {
	if *simVerbose {
		fmt.Fprintln(os.Stderr, "seed", seed)
	}
	// A turn of the solver's that does not end cannot be seen by the bubble.
	watchdog := time.AfterFunc(2*time.Minute, func() {
		stacks := make([]byte, 1<<20)
		panic(fmt.Sprintf("seed %d takes too long\n%s", seed, stacks[:runtime.Stack(stacks, true)]))
	})
	defer watchdog.Stop()
	c := newSimCase(seed)
	failures := runCase(t, c)
	if failures == nil {
		return false
	}
	watchdog.Stop()
	c, failures = shrink(t, c, failures)
	t.Errorf("\n%s", c)
	for _, f := range failures {
		t.Errorf("  %s", f)
	}
	return true
}

// TestSimulationText writes cases and reads them again.
func TestSimulationText(t *testing.T) {
	for seed := range uint64(300) {
		text := newSimCase(seed).String()
		if again := parseSimCase(text).String(); again != text {
			t.Fatalf("read as\n%s\nfrom\n%s", again, text)
		}
	}
}
