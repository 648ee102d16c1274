package solver_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tenonbuild/tenon/solver"
)

// An op asks the caller that it works for: SessionID names a job that still waits for the
// op, and EachValue gives what the jobs keep for it. Both may differ from call to call, so
// they must not decide about the result.
func ExampleSessionID() {
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()
	passwords := map[string]string{"alice": "rosebud"}

	clone := newCommand("clone", func(ctx context.Context, b solver.Builder, _ []string) (string, error) {
		session := solver.SessionID(ctx)
		fmt.Println("clone with the password of", session+":", passwords[session])
		err := b.EachValue(ctx, "mirror", func(v interface{}) error {
			fmt.Println("by way of", v)
			return nil
		})
		return "tree", err
	})
	job, err := s.NewJob("of alice")
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()
	job.SessionID = "alice"
	job.SetValue("mirror", "mirror.example.com")
	fmt.Println(buildIn(job, clone))

	// Output:
	// clone with the password of alice: rosebud
	// by way of mirror.example.com
	// tree
}
