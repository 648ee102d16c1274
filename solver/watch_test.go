package solver_test

import (
	"context"
	"testing/synctest"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// watching is a subscriber and all it was sent. To be read once done is closed.
type watching struct {
	vertices map[digest.Digest][]client.Vertex
	byName   map[string]client.Vertex // the last of each
	statuses []*client.VertexStatus
	logs     []*client.VertexLog
	warnings []*client.VertexWarning
	err      error
	done     chan struct{}
}

// watch subscribes to a job. It is for use in a bubble.
func (w *world) watch(j *solver.Job) *watching {
	st := &watching{vertices: map[digest.Digest][]client.Vertex{}, byName: map[string]client.Vertex{}, done: make(chan struct{})}
	ch := make(chan *client.SolveStatus)
	ended := make(chan error, 1)
	go func() { ended <- j.Status(context.Background(), ch) }()
	go func() {
		defer close(st.done)
		for m := range ch {
			for _, v := range m.Vertexes {
				st.vertices[v.Digest] = append(st.vertices[v.Digest], *v)
				st.byName[v.Name] = *v
			}
			st.statuses = append(st.statuses, m.Statuses...)
			st.logs = append(st.logs, m.Logs...)
			st.warnings = append(st.warnings, m.Warnings...)
		}
		st.err = <-ended
	}()
	synctest.Wait()
	return st
}
