package progress_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver/client"
)

func TestTally(t *testing.T) {
	var tally progress.Tally
	if got := tally.String(); got != "" {
		t.Errorf("nothing is %q", got)
	}
	add := func(name string, o client.Outcome) {
		tally.Add(&client.SolveStatus{Vertexes: []*client.Vertex{nil, {Digest: digest.FromString(name), Name: name, Outcome: o}}})
	}
	add("[1/2] RUN a", "")
	add("[1/2] RUN a", client.Executed)
	if got := tally.String(); got != "1 step: 1 executed" {
		t.Errorf("got %q", got)
	}
	add("[1/2] RUN a", client.Executed) // told again
	add("[2/2] RUN b", client.Cached)
	add("[x 1/1] RUN c", client.NotNeeded)
	add("[x 2/2] RUN d", client.NotNeeded)
	add("[internal] load build context", client.Executed)
	add("[context go] load from client", client.Cached)
	add("exporting to image", client.Executed)
	add("importing cache manifest from a.example/c", client.Failed)
	add("pushing a.example/b", client.Executed)
	if got := tally.String(); got != "4 steps: 1 executed, 1 cached, 2 not needed" {
		t.Errorf("got %q", got)
	}
}
