package ours

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
	"github.com/tenonbuild/tenon/solver"
)

type definition struct{ vertices []vertex }

func (d *definition) root() *vertex { return &d.vertices[len(d.vertices)-1] }

// vertex is a vertex, the op that runs it, and the result of that.
type vertex struct {
	dgst     digest.Digest
	inputs   []solver.Edge
	cacheMap solver.CacheMap
	content  digest.Digest
	counts   *bench.Counts
}

// Define implements bench.Subject.
func (Subject) Define(g *graph.Graph, content bool, c *bench.Counts) bench.Definition {
	d := &definition{vertices: make([]vertex, g.Len())}
	for i := range d.vertices {
		v := &d.vertices[i]
		v.dgst, v.content, v.counts = g.Definitions.At(i), g.Contents.At(i), c
		inputs := g.Inputs(i)
		v.cacheMap = *solver.NewCacheMap(g.Ops.At(i), len(inputs))
		v.inputs = make([]solver.Edge, len(inputs))
		for k, in := range inputs {
			v.inputs[k].Vertex = &d.vertices[in]
			if content {
				v.cacheMap.Deps[k].ComputeDigestFunc = contentOf
			}
		}
	}
	return d
}

func contentOf(_ context.Context, r solver.Result) (digest.Digest, error) {
	v := r.Sys().(*vertex)
	v.counts.Content.Add(1)
	return v.content, nil
}

func resolve(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
	return (*op)(v.Sys().(*vertex)), nil
}

func (v *vertex) Digest() digest.Digest         { return v.dgst }
func (v *vertex) Sys() any                      { return v }
func (v *vertex) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (v *vertex) Inputs() []solver.Edge         { return v.inputs }
func (v *vertex) Name() string                  { return string(v.dgst) }

type op vertex

// CacheMap returns the one map there is.
func (o *op) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	o.counts.CacheMap.Add(1)
	return &o.cacheMap, true, nil
}

func (o *op) Exec(context.Context, []solver.Result) ([]solver.Result, error) {
	o.counts.Exec.Add(1)
	return []solver.Result{(*result)(o)}, nil
}

type result vertex

// resultIDLen is as long as the random names that snapshots have.
const resultIDLen = 25

func (r *result) ID() string                    { return r.dgst.Encoded()[:resultIDLen] }
func (r *result) Release(context.Context) error { return nil }
func (r *result) Sys() any                      { return (*vertex)(r) }
