package ops

import (
	"context"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// mergeOp lays trees over each other.
type mergeOp struct {
	merge *pb.MergeOp
	name  string
	store *store.Store
}

func (o *mergeOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	return cacheMap(struct {
		Type  string
		Merge *pb.MergeOp
	}{"buildkit.merge.v0", o.merge}, len(o.merge.Inputs))
}

func (o *mergeOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	refs, err := trees(inputs)
	if err != nil {
		return nil, err
	}
	// The empty tree adds nothing.
	var layers []*store.Ref
	for _, in := range o.merge.Inputs {
		if ref := refs[in.Input]; ref != nil {
			layers = append(layers, ref)
		}
	}
	switch len(layers) {
	case 0:
		return one(nil, nil)
	case 1:
		return one(layers[0].Clone(), nil)
	default:
		return one(o.store.Merge(ctx, layers, store.NewOptions{Description: o.name}))
	}
}

// diffOp is what has to be laid over the lower tree to get the upper.
type diffOp struct {
	diff   *pb.DiffOp
	name   string
	inputs int
	store  *store.Store
}

func (o *diffOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	return cacheMap(struct {
		Type string
		Diff *pb.DiffOp
	}{"buildkit.diff.v0", o.diff}, o.inputs)
}

func (o *diffOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	refs, err := trees(inputs)
	if err != nil {
		return nil, err
	}
	tree := func(n int64) *store.Ref {
		if n == int64(pb.Empty) {
			return nil
		}
		return refs[n]
	}
	lower, upper := tree(o.diff.Lower.Input), tree(o.diff.Upper.Input)
	switch {
	case lower == nil:
		return one(upper.Clone(), nil)
	case upper != nil && lower.ID() == upper.ID():
		return one(nil, nil)
	default:
		return one(o.store.Diff(ctx, lower, upper, store.NewOptions{Description: o.name}))
	}
}
