package ops

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// losing tells the solver which input of an op a cache has lost, and builds what it has made.
// It asks them before.
type losing struct {
	solver.Op
	ran func(ctx context.Context, results []solver.Result)
	// refusal says why the op must not run.
	refusal func(context.Context) error
}

// CacheMap implements solver.Op.
func (o losing) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	cm, done, err := o.Op.CacheMap(ctx, index)
	if err != nil || cm == nil {
		return cm, done, err
	}
	for i := range cm.Deps {
		compute := cm.Deps[i].ComputeDigestFunc
		if compute == nil {
			continue
		}
		cm.Deps[i].ComputeDigestFunc = lostContent(compute)
	}
	return cm, done, nil
}

// Aliases implements solver.Aliaser.
func (o losing) Aliases(index int) (a solver.Aliases) {
	named, ok := o.Op.(solver.Aliaser)
	if !ok {
		return a
	}
	a = named.Aliases(index)
	for i, compute := range a.Contents {
		if compute != nil {
			a.Contents[i] = lostContent(compute)
		}
	}
	return a
}

// Prepare implements solver.Preparer.
func (o losing) Prepare(ctx context.Context, inputs []solver.Result) error {
	if err := o.refusal(ctx); err != nil {
		return err
	}
	p, ok := o.Op.(solver.Preparer)
	if !ok {
		return nil
	}
	return store.LostInput(ctx, inputs, p.Prepare(ctx, inputs))
}

// Exec implements solver.Op. An op that only names its inputs does not notice that one was
// lost.
func (o losing) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	if _, reads := o.Op.(solver.Preparer); !reads {
		for i, in := range inputs {
			ref, err := store.RefOf(in)
			if err != nil {
				continue
			}
			if err := ref.There(ctx); errors.Is(err, solver.ErrNotFound) {
				return nil, &solver.LostInputError{Input: solver.Index(i), Err: err}
			}
		}
	}
	out, err := o.Op.Exec(ctx, inputs)
	if err == nil {
		o.ran(ctx, out)
	}
	return out, store.LostInput(ctx, inputs, err)
}

// lostContent says of the only input of a digest that it was lost.
func lostContent(compute solver.ResultBasedCacheFunc) solver.ResultBasedCacheFunc {
	return func(ctx context.Context, r solver.Result) (digest.Digest, error) {
		d, err := compute(ctx, r)
		return d, store.LostInput(ctx, []solver.Result{r}, err)
	}
}
