package engine

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver"
)

// vertices are those of a build's definitions, by their digests.
type vertices struct {
	mu       sync.Mutex // guards what follows
	byDigest map[digest.Digest]solver.Vertex
	where    map[digest.Digest]llb.Position
}

func (v *vertices) add(g *llb.Graph) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byDigest == nil {
		v.byDigest, v.where = map[digest.Digest]solver.Vertex{}, map[digest.Digest]llb.Position{}
	}
	for _, x := range g.Vertices {
		v.byDigest[x.Digest()] = x
		if at, ok := g.Where(x); ok {
			v.where[x.Digest()] = at
		}
	}
}

// of returns a vertex, nil if no definition has it, and where it is.
func (v *vertices) of(d digest.Digest) (solver.Vertex, llb.Position) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.byDigest[d], v.where[d]
}

// salvage writes the caches of a build that has failed: of the steps that have not. What
// goes wrong is shown, and is not why the build has failed.
func (b *build) salvage(ctx context.Context) []map[string]string {
	if len(b.cacheExports) == 0 || ctx.Err() != nil {
		return nil
	}
	var of []solver.CachedResult
	defer func() {
		for _, r := range of {
			_ = r.Release(context.WithoutCancel(ctx)) // the build's own error says more
		}
	}()
	for _, e := range b.succeeded() {
		// It is there: the job holds it.
		if res, err := b.job.Build(ctx, e); err == nil {
			of = append(of, res)
		}
	}
	if len(of) == 0 {
		return nil
	}
	said, _ := b.exportCaches(ctx, of) // which has shown its errors
	return said
}

// succeeded are the edges that have a result and that no other one with a result is made of.
func (b *build) succeeded() (tops []solver.Edge) {
	type edge struct {
		vertex digest.Digest
		output solver.Index
	}
	trace := b.job.Trace()
	done := map[edge]bool{}
	below := map[edge]bool{}
	for i := range trace {
		t := &trace[i]
		if !hasResult(t) {
			continue
		}
		done[edge{t.Vertex, t.Output}] = true
		for _, in := range t.Inputs {
			below[edge{in.Vertex, in.Output}] = true
		}
	}
	b.vertices.mu.Lock()
	defer b.vertices.mu.Unlock()
	for i := range trace {
		e := edge{trace[i].Vertex, trace[i].Output}
		if v := b.vertices.byDigest[e.vertex]; v != nil && done[e] && !below[e] {
			tops = append(tops, solver.Edge{Vertex: v, Index: e.output})
		}
	}
	return tops
}

// hasResult says whether an edge was solved to its end.
func hasResult(t *solver.EdgeTrace) bool {
	has := false
	for _, d := range t.Decisions {
		switch d.Kind {
		case solver.TraceExecuted, solver.TraceLoaded, solver.TraceShared:
			has = true
		case solver.TraceLost:
			has = false
		}
	}
	return has && t.Err == nil
}
