package solver_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/filestore"
	"github.com/tenonbuild/tenon/solver/logstore"
)

// A cache that outlives the process: package logstore keeps the keys in a file, package
// filestore the results in a folder.
func Example_persistentCache() {
	dir, err := os.MkdirTemp("", "solver-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// process is what one run of a program does.
	process := func() {
		keys, err := logstore.Open(filepath.Join(dir, "keys.db"), logstore.Options{})
		if err != nil {
			log.Fatal(err)
		}
		results, err := filestore.NewResultStorage(filepath.Join(dir, "results"),
			func(r solver.Result) ([]byte, error) { return []byte(textOf(r)), nil },
			func(data []byte) (solver.Result, error) { return text(data), nil })
		if err != nil {
			log.Fatal(err)
		}
		s := solver.NewSolver(solver.SolverOpt{
			ResolveOpFunc: resolve,
			DefaultCache:  solver.NewCacheManager("local", keys, results),
		})
		fmt.Println(build(s, join("link", join("compile", echo("src")))))
		stats := s.Stats()
		fmt.Println("ops run:", stats.Execs, "results loaded:", stats.Loads)

		// Close the solver first: it may still save. Closing the keys writes out what is
		// pending. Store.Sync does that while the store stays open.
		s.Close()
		if err := keys.Close(); err != nil {
			log.Fatal(err)
		}
	}
	process()
	process()

	// Output:
	// run: src
	// run: compile
	// run: link
	// link[compile[src]]
	// ops run: 3 results loaded: 0
	// link[compile[src]]
	// ops run: 0 results loaded: 1
}

// Another cache is asked beside the default one where a vertex names it. What is
// found there is saved in the default cache.
func ExampleVertexOptions_cacheSources() {
	shared := solver.NewInMemoryCacheManager()
	ours := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve, DefaultCache: shared})
	defer ours.Close()
	build(ours, join("compile", echo("src")))

	theirs := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve}) // its cache is empty
	defer theirs.Close()
	src := echo("src")
	compile := join("compile", src)
	for _, c := range []*command{src, compile} {
		c.options.CacheSources = []solver.CacheManager{shared}
	}
	fmt.Println(build(theirs, compile))
	fmt.Println(build(theirs, join("compile", echo("src")))) // without the source

	// Output:
	// run: src
	// run: compile
	// compile[src]
	// compile[src]
}
