package solvertest_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// A test of what embeds a solver: nodes are vertices whose calls are counted, and whose
// results must have been released in the end.
func Example() {
	ctx := context.Background()
	stats := &solvertest.Stats{}
	src := &solvertest.Node{ID: "src", Stats: stats}
	link := &solvertest.Node{ID: "link", In: []solvertest.Input{{Node: src}, {Node: src, Content: true}}, Stats: stats}

	s := solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: solvertest.Resolve,
		DefaultCache:  solver.NewCacheManager("local", solver.NewInMemoryCacheStorage(), &solvertest.Results{Stats: stats}),
	})
	for range 2 {
		job, err := s.NewJob("build")
		if err != nil {
			log.Fatal(err)
		}
		r, err := job.Build(ctx, link.Edge(0))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(solvertest.Value(r))
		r.Release(ctx)
		job.Discard()
	}
	s.Close()
	fmt.Println("link was run:", stats.Executed("link"))
	fmt.Println("not released:", stats.Live.Load(), stats.Faults())

	// Output:
	// link(src(),src())
	// link(src(),src())
	// link was run: 1
	// not released: 0 []
}

// The suite for a storage of results goes into a test of the package that has it.
func ExampleCacheResultStorage() {
	// func TestResults(t *testing.T)
	_ = func(t *testing.T) {
		solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
			results := &solvertest.Results{} // your storage
			return solvertest.ResultStorage{Storage: results, Prune: results.Prune}
		})
	}
}

// So does the one for a storage of keys, and that for a whole cache.
func ExampleCacheKeyStorage() {
	// func TestKeys(t *testing.T)
	_ = func(t *testing.T) {
		solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
			return solver.NewInMemoryCacheStorage() // your storage
		})
	}
}
