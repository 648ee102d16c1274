package engine

import (
	"context"
	"errors"
	"fmt"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// maxLost is how often a result that a cache has lost is made again for an output.
const maxLost = 3

// keeper is a vertex above a result that is not to be lost: an op may say that an input is.
type keeper struct {
	of solver.Edge
	id digest.Digest
}

func newKeeper(of solver.Edge) solver.Edge {
	return solver.Edge{Vertex: &keeper{of: of, id: digest.FromString("keeper " + identity.NewID())}}
}

// Digest implements solver.Vertex.
func (k *keeper) Digest() digest.Digest { return k.id }

// Sys implements solver.Vertex.
func (k *keeper) Sys() any { return k }

// Options implements solver.Vertex.
func (k *keeper) Options() solver.VertexOptions { return solver.VertexOptions{IgnoreCache: true} }

// Inputs implements solver.Vertex.
func (k *keeper) Inputs() []solver.Edge { return []solver.Edge{k.of} }

// Name implements solver.Vertex.
func (k *keeper) Name() string {
	return "[internal] making what a cache has lost: " + k.of.Vertex.Name()
}

// MakeOp implements ops.Maker.
func (k *keeper) MakeOp(*ops.Env, solver.Vertex, solver.Builder) (solver.Op, error) { return k, nil }

// CacheMap implements solver.Op.
func (k *keeper) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return solver.NewCacheMap(k.id, 1), true, nil
}

// Exec implements solver.Op: it gives the input back, once that is there.
func (k *keeper) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	ref, err := store.RefOf(inputs[0])
	if err != nil {
		return nil, err
	}
	if err := ref.There(ctx); errors.Is(err, solver.ErrNotFound) {
		return nil, &solver.LostInputError{Err: err}
	}
	return []solver.Result{store.NewResult(ref.Clone())}, nil
}

// makeAgain has the results of a frontend's references made again that a cache has lost.
func (b *build) makeAgain(ctx context.Context, res *gwclient.Result, src *export.Source) error {
	return eachReference(res, func(i int, r *frontend.Reference) (err error) {
		if err := r.Again(ctx, b.solveKept); err != nil {
			return fmt.Errorf("making again what a cache has lost: %w", err)
		}
		src.Platforms[i].Ref, err = r.Ref(ctx)
		return err
	})
}

// solveKept solves an edge whose result is there.
func (b *build) solveKept(ctx context.Context, e solver.Edge) (solver.CachedResult, error) {
	kept, err := b.job.Build(ctx, newKeeper(e))
	if err != nil {
		return nil, err
	}
	res, err := b.job.Build(ctx, e)
	if rerr := kept.Release(context.WithoutCancel(ctx)); err == nil {
		err = rerr
	}
	return res, err
}
