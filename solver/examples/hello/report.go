package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// progress prints a line for each vertex that ends.
type progress struct {
	job      *solver.Job
	top      digest.Digest
	topEnded chan struct{} // closed when the stream says so
	ended    chan struct{} // closed when the stream has ended
	outcomes map[digest.Digest]client.Outcome
}

// follow begins to print a job's progress.
func follow(job *solver.Job, top solver.Vertex) *progress {
	p := &progress{job: job, top: top.Digest(), topEnded: make(chan struct{}), ended: make(chan struct{}), outcomes: map[digest.Digest]client.Outcome{}}
	ch := make(chan *client.SolveStatus)
	go job.Status(context.Background(), ch)
	go func() {
		defer close(p.ended)
		for msg := range ch {
			for _, v := range msg.Vertexes {
				p.show(v)
			}
			for _, w := range msg.Warnings {
				fmt.Printf("  warning: %s\n", w.Short)
			}
		}
	}()
	return p
}

func (p *progress) show(v *client.Vertex) {
	if v.Completed == nil || p.outcomes[v.Digest] != "" {
		return
	}
	p.outcomes[v.Digest] = v.Outcome
	if v.Outcome == client.NotNeeded {
		return
	}
	took := ""
	if v.Started != nil {
		took = fmt.Sprintf(" in %s", v.Completed.Sub(*v.Started).Round(10*time.Microsecond))
	}
	fmt.Printf("  %-18s %s%s\n", v.Name, v.Outcome, took)
	if v.Digest == p.top {
		close(p.topEnded)
	}
}

// end discards the job, waits for the end of its stream, and returns how each
// vertex ended.
func (p *progress) end(err error) map[digest.Digest]client.Outcome {
	if err == nil {
		<-p.topEnded
	}
	p.job.Discard()
	<-p.ended
	return p.outcomes
}

// explain says of each vertex why it was run, or why not.
func explain(traces []solver.EdgeTrace, outcomes map[digest.Digest]client.Outcome) {
	names := map[digest.Digest]string{}
	for _, t := range traces {
		names[t.Vertex] = t.Name
	}
	notNeeded := 0
	for _, o := range outcomes {
		if o == client.NotNeeded {
			notNeeded++
		}
	}
	if notNeeded > 0 {
		fmt.Printf("  %-18s not needed\n", fmt.Sprint(notNeeded, " others"))
	}
	fmt.Println("\n  Why:")
	for _, t := range traces {
		same, byContent := sameContent(t, names)
		switch outcomes[t.Vertex] {
		case client.Executed:
			fmt.Printf("  %-18s was run: %s\n", t.Name, whyRun(t, names))
		case client.Cached, client.NotNeeded:
			switch {
			case byContent:
				fmt.Printf("  %-18s was not: its input %q has the same content as before\n", t.Name, same)
			case outcomes[t.Vertex] == client.Cached:
				fmt.Printf("  %-18s was not: it is cached for these inputs\n", t.Name)
			}
		}
	}
}

// whyRun finds the input for which nothing is cached.
func whyRun(t solver.EdgeTrace, names map[digest.Digest]string) string {
	if len(t.Inputs) == 0 {
		return "nothing is cached for what it reads"
	}
	for _, d := range t.Decisions {
		if d.Kind != solver.TraceProbe || len(d.Answered) > 0 {
			continue
		}
		in := t.Inputs[d.Input]
		if in.HasContent {
			return fmt.Sprintf("nothing is cached for its input %q, by definition or by content", names[in.Vertex])
		}
		return fmt.Sprintf("nothing is cached for its input %q", names[in.Vertex])
	}
	return "nothing is cached for these inputs together, or it is gone"
}

// sameContent finds the input by whose content a match was found.
func sameContent(t solver.EdgeTrace, names map[digest.Digest]string) (string, bool) {
	for _, d := range t.Decisions {
		if d.Kind == solver.TraceProbe && d.Content && len(d.Answered) > 0 {
			return names[t.Inputs[d.Input].Vertex], true
		}
	}
	return "", false
}
