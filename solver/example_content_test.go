package solver_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/tenonbuild/tenon/solver"
)

// Content keys: the source changes, but what "strip" makes of it does not. So
// "compile", which knows its input by content, is not run again.
func Example_contentKeys() {
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()

	program := func(source string) *command {
		strip := newCommand("strip", func(_ context.Context, _ solver.Builder, in []string) (string, error) {
			fmt.Println("run: strip")
			code, _, _ := strings.Cut(in[0], " // ")
			return code, nil
		}, echo(source))
		compile := join("compile", strip)
		compile.byContent = true
		return compile
	}
	fmt.Println(build(s, program("f() // a comment")))
	fmt.Println("-- the comment changes")
	fmt.Println(build(s, program("f() // another")))
	fmt.Println("-- the same again: found by its definition, nothing is computed")
	fmt.Println(build(s, program("f() // another")))

	// Output:
	// run: f() // a comment
	// run: strip
	// run: compile
	// compile[f()]
	// -- the comment changes
	// run: f() // another
	// run: strip
	// compile[f()]
	// -- the same again: found by its definition, nothing is computed
	// compile[f()]
}
