package solver_test

import (
	"fmt"
	"log"

	"github.com/tenonbuild/tenon/solver"
)

// The trace tells why an op ran. In detail it has which caches were asked about which
// input, and what they answered.
func ExampleJob_Trace() {
	cache := solver.NewCacheManager("local", nil, nil) // in memory
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve, DefaultCache: cache})
	defer s.Close()
	compile := join("compile", echo("src"))
	build(s, join("link v1", compile))

	fmt.Println("-- another way to link")
	job, err := s.NewJob("traced")
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()
	buildIn(job, join("link v2", compile))

	fmt.Print(job.Trace())
	fmt.Println("-- in detail")
	for _, edge := range job.Trace() {
		for _, d := range edge.Decisions {
			switch d.Kind {
			case solver.TraceProbe:
				fmt.Printf("%s: input %d: asked %v, answered %v\n", edge.Name, d.Input, d.Asked, d.Answered)
			default:
				fmt.Printf("%s: %s\n", edge.Name, d.Kind)
			}
		}
	}

	// Output:
	// run: src
	// run: compile
	// run: link v1
	// -- another way to link
	// run: link v2
	// compile: loaded from cache "local"
	// link v2: run: no cache has it for its input "compile"
	// not needed: 1
	// -- in detail
	// compile: input 0: asked [local], answered [local]
	// compile: match
	// compile: loaded
	// link v2: input 0: asked [local], answered []
	// link v2: executed
}
