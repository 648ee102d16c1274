package solver_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tenonbuild/tenon/solver"
)

// A first solve: a graph of three commands is built, and then a graph that has
// two of them. The types command and text, and the function resolve, are in
// example_kit_test.go.
func Example() {
	ctx := context.Background()
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()

	job, err := s.NewJob("first")
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()

	src := echo("src")
	obj := join("compile", src)
	r, err := job.Build(ctx, solver.Edge{Vertex: join("link", obj)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Sys())
	r.Release(ctx)

	// What was run is not run again: "test" finds the result of "compile".
	r, err = job.Build(ctx, solver.Edge{Vertex: join("test", obj)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Sys())
	r.Release(ctx)

	// Output:
	// run: src
	// run: compile
	// run: link
	// link[compile[src]]
	// run: test
	// test[compile[src]]
}

// The error of an op says which vertex it comes from.
func ExampleVertexError() {
	errFull := errors.New("disk full")
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()
	job, err := s.NewJob("fails")
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()

	unpack := newCommand("unpack", func(context.Context, solver.Builder, []string) (string, error) {
		return "", errFull
	})
	_, err = job.Build(context.Background(), solver.Edge{Vertex: join("compile", unpack)})
	fmt.Println(err)
	var v *solver.VertexError
	fmt.Println(errors.As(err, &v), v.Name)
	fmt.Println(errors.Is(err, errFull))

	// Output:
	// unpack: disk full
	// true unpack
	// true
}
