package solver_test

import (
	"context"
	"fmt"

	"github.com/tenonbuild/tenon/solver"
)

// A sub-build: the op of "plan" decides while it runs what is to be built, builds
// it, and returns what came out. What it builds is shared and cached like
// everything else.
func ExampleBuilder() {
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()

	plan := newCommand("plan", func(ctx context.Context, b solver.Builder, in []string) (string, error) {
		fmt.Println("run: plan")
		r, err := b.Build(ctx, solver.Edge{Vertex: join("compile", echo(in[0]+" c"))})
		if err != nil {
			return "", err
		}
		defer r.Release(ctx)
		return "planned " + textOf(r), nil
	}, echo("a b"))
	fmt.Println(build(s, plan))
	fmt.Println("-- again, with nothing kept but the cache")
	fmt.Println(build(s, plan))

	// Output:
	// run: a b
	// run: plan
	// run: a b c
	// run: compile
	// planned compile[a b c]
	// -- again, with nothing kept but the cache
	// planned compile[a b c]
}
