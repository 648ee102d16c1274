package engine

import (
	"context"
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

// stream passes on what happens to the job until it is discarded.
func (b *build) stream(ctx context.Context, to chan<- *client.SolveStatus) error {
	ch := make(chan *client.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error { return b.job.Status(ctx, ch) })
	for st := range ch {
		for _, v := range st.Vertexes {
			if v.ProgressGroup == nil {
				v.ProgressGroup = b.groups.of(v.Digest)
			}
		}
		to <- st
	}
	return eg.Wait()
}
