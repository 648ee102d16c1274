package fileop

import (
	"context"
	"errors"

	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/store"
)

// keepLeft keeps the trees of actions that ended with an error, for the jobs that may want
// to look at them, and returns the error by which they find them.
func (r *run) keepLeft(ctx context.Context, err error) error {
	var action *ActionError
	if r.op.deps.Failed == nil || ctx.Err() != nil || !errors.As(err, &action) {
		return err
	}
	builds := r.op.deps.Failed(ctx)
	if len(builds) == 0 {
		return err
	}
	left := &failed.Left{Action: action.Index, Outputs: make([]*store.Ref, len(r.refs))}
	for _, ref := range r.inputs {
		left.Inputs = append(left.Inputs, ref.Clone())
	}
	for i, ref := range r.refs {
		left.Outputs[i] = ref.Clone()
	}
	var lost error
	if left.Outputs[action.Index], lost = r.worked(ctx, action.Index); lost == nil {
		err = failed.Keep(builds, err, left)
	}
	return errors.Join(err, left.Release(ctx))
}

// worked is the tree that an action worked on, as it has left it.
func (r *run) worked(ctx context.Context, action int) (*store.Ref, error) {
	t := r.trees[action]
	if t == nil {
		return r.ref(r.op.file.Actions[action].Input).Clone(), nil
	}
	r.trees[action] = nil
	if err := t.at.unmount(); err != nil {
		return nil, errors.Join(err, t.mutable.Release(context.WithoutCancel(ctx)))
	}
	return t.mutable.Commit(ctx)
}
