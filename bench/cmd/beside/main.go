// Command beside measures how long builds of a few vertices take beside one of many: while
// that is loaded and run, and while its job is discarded. It prints the median, the 99th
// percentile and the worst of each.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
	"github.com/tenonbuild/tenon/bench/ours"
)

func main() {
	shape := flag.String("only", string(graph.Tree), fmt.Sprintf("the shape of the large graph: %v", graph.Shapes))
	n := flag.Int("n", 300_000, "its vertices")
	pause := flag.Duration("pause", 200*time.Microsecond, "between two small builds")
	flag.Parse()
	if err := run(graph.Shape(*shape), *n, *pause); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// phases are what the large job does.
var phases = [...]string{"build", "discard"}

func run(shape graph.Shape, n int, pause time.Duration) error {
	large, err := graph.New(shape, n, 1)
	if err != nil {
		return err
	}
	small, err := graph.New(graph.Chain, graph.MinLen, 2)
	if err != nil {
		return err
	}
	var counts bench.Counts
	subject := ours.Subject{}
	largeDef, smallDef := subject.Define(large, false, &counts), subject.Define(small, false, &counts)
	store, err := subject.NewStore("")
	if err != nil {
		return err
	}
	if err := store.Open(); err != nil {
		return err
	}
	solver, err := subject.NewSolver(store)
	if err != nil {
		return err
	}
	defer solver.Close()
	if err := buildOnce(solver, "before", smallDef, nil); err != nil { // from now on it is cached
		return err
	}
	var phase atomic.Int32
	ended := make(chan error, 1)
	go func() {
		ended <- buildOnce(solver, "large", largeDef, func() { phase.Store(1) })
	}()
	var took [len(phases)][]time.Duration
	for i := 0; ; i++ {
		select {
		case err := <-ended:
			for p, all := range took {
				print(phases[p], all)
			}
			return err
		case <-time.After(pause):
		}
		p, start := phase.Load(), time.Now()
		if err := buildOnce(solver, fmt.Sprint("small ", i), smallDef, nil); err != nil {
			return err
		}
		took[p] = append(took[p], time.Since(start))
	}
}

// buildOnce builds in a job of its own, and tells when the job is to be discarded.
func buildOnce(s bench.Solver, id string, def bench.Definition, built func()) error {
	ctx := context.Background()
	j, err := s.NewJob(id)
	if err != nil {
		return err
	}
	if err := j.Build(ctx, def); err != nil {
		return err
	}
	if err := j.Release(ctx); err != nil {
		return err
	}
	if built != nil {
		built()
	}
	return j.Discard()
}

func print(phase string, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	fmt.Printf("beside the %s: %d builds, median %v, 99th percentile %v, worst %v\n",
		phase, len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
}
