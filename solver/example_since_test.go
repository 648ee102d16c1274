package solver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/tenonbuild/tenon/solver"
)

// A program that keeps the traces of its jobs can say why an op runs again: what differs
// first from the nearest earlier run of it.
func ExampleTrace_Since() {
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()
	quiet := func(_ context.Context, _ solver.Builder, in []string) (string, error) { return fmt.Sprint(in), nil }
	graph := func(src, flags string) *command {
		return newCommand("link", quiet, newCommand("compile "+flags, quiet, newCommand(src, quiet)), newCommand("libc", quiet))
	}
	first := traced(s, graph("main.c v1", "-O1"))
	kept, err := json.Marshal(first)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println("-- another flag")
	var earlier solver.Trace
	if err := json.Unmarshal(kept, &earlier); err != nil {
		log.Fatal(err)
	}
	second := traced(s, graph("main.c v1", "-O2"))
	for _, reason := range second.Since(earlier) {
		fmt.Println(reason)
	}

	fmt.Println("-- another source")
	third := traced(s, graph("main.c v2", "-O2"))
	for _, reason := range third.Since(second, earlier) { // the latest first
		fmt.Println(reason)
	}

	// Output:
	// -- another flag
	// compile -O2: what it does differs from "compile -O1", which was in its place
	// link: its input "compile -O2" differs, because of compile -O2: what it does differs from "compile -O1", which was in its place
	// -- another source
	// main.c v2: what it does differs from "main.c v1", which was in its place
	// compile -O2: its input "main.c v2" differs, because of main.c v2: what it does differs from "main.c v1", which was in its place
	// link: its input "compile -O2" differs, because of main.c v2: what it does differs from "main.c v1", which was in its place
}

// traced builds a command, and returns the trace of its job.
func traced(s *solver.Solver, c *command) solver.Trace {
	job, err := s.NewJob("traced " + c.name)
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()
	buildIn(job, c)
	return job.Trace()
}
