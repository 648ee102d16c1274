package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver/client"
)

// groups are the progress groups of a build's vertices: which vertices a display
// may fold into one line. They belong to the request's definition, not to what a
// vertex is, and so the solver does not know them.
type groups struct {
	mu       sync.Mutex // guards byVertex
	byVertex map[digest.Digest]*client.ProgressGroup
}

func (g *groups) add(graph *llb.Graph) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byVertex == nil {
		g.byVertex = map[digest.Digest]*client.ProgressGroup{}
	}
	for _, v := range graph.Vertices {
		if group := llb.MetadataOf(v).GetProgressGroup(); group != nil {
			g.byVertex[v.Digest()] = &client.ProgressGroup{ID: group.Id, Name: group.Name, Weak: group.Weak}
		}
	}
}

func (g *groups) of(vertex digest.Digest) *client.ProgressGroup {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byVertex[vertex]
}

// stream passes on what has happened and happens to the job, until that is discarded or
// ctx ends. A warning that several steps give, and that is about no line, is passed on
// once.
func (b *build) stream(ctx context.Context, to chan<- *client.SolveStatus) error {
	ch := make(chan *client.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error { return b.job.Status(ctx, ch) })
	warned := map[string]bool{}
	for st := range ch {
		st.Warnings = slices.DeleteFunc(st.Warnings, func(w *client.VertexWarning) bool {
			text := string(w.Short)
			again := len(w.Range) == 0 && warned[text]
			warned[text] = true
			return again
		})
		for i, v := range st.Vertexes {
			if v.ProgressGroup == nil {
				own := *v // other readers of the status have the same
				own.ProgressGroup = b.groups.of(v.Digest)
				st.Vertexes[i] = &own
			}
		}
		select {
		case to <- st:
		case <-ctx.Done(): // the stream ends by itself
		}
	}
	return eg.Wait()
}
