package solver_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Following progress: a subscriber gets every vertex of the job, what ops report,
// and in the end how each vertex ended. The stream ends with the job.
func ExampleJob_Status() {
	ctx := context.Background()
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()
	build(s, echo("src")) // is cached now

	fetch := newCommand("fetch", func(ctx context.Context, _ solver.Builder, _ []string) (string, error) {
		p := solver.ProgressFrom(ctx)
		p.Status(client.VertexStatus{ID: "layer", Current: 50, Total: 100})
		p.Status(client.VertexStatus{ID: "layer", Current: 100, Total: 100})
		p.Log(1, []byte("fetched"))
		return "fetched", nil
	})
	link := join("link", echo("src"), fetch)

	job, err := s.NewJob("followed")
	if err != nil {
		log.Fatal(err)
	}
	ch := make(chan *client.SolveStatus)
	go job.Status(ctx, ch) // closes ch when the job has ended
	built := make(chan solver.CachedResult)
	go func() {
		r, err := job.Build(ctx, solver.Edge{Vertex: link})
		if err != nil {
			log.Fatal(err)
		}
		built <- r
	}()

	for msg := range ch {
		for _, st := range msg.Statuses {
			fmt.Printf("%s: %d of %d\n", st.ID, st.Current, st.Total)
		}
		for _, l := range msg.Logs {
			fmt.Printf("log: %s\n", l.Data)
		}
		for _, v := range msg.Vertexes {
			if v.Completed == nil {
				continue // it appears, or something begins to run for it
			}
			fmt.Printf("%s: %s\n", v.Name, v.Outcome)
			if v.Digest == link.Digest() {
				r := <-built
				fmt.Println(r.Sys())
				r.Release(ctx)
				job.Discard()
			}
		}
	}

	// Unordered output:
	// run: src
	// layer: 50 of 100
	// layer: 100 of 100
	// log: fetched
	// run: link
	// link[src fetched]
	// src: cached
	// fetch: executed
	// link: executed
}
