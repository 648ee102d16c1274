package execop

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/store"
)

// keepLooked keeps an input whose content could not be digested, like what a run leaves.
func (o *op) keepLooked(ctx context.Context, err error, input int, ref *store.Ref) error {
	if o.Failed == nil || ref == nil {
		return err
	}
	builds := o.Failed(ctx)
	if len(builds) == 0 {
		return err
	}
	return failed.Keep(builds, err, &failed.Left{Inputs: []*store.Ref{ref}, Action: input})
}

// keepMissing keeps the input of a run that could not begin since something is to be mounted
// that it does not have: nobody had to digest it before.
func (o *op) keepMissing(ctx context.Context, err error, refs []*store.Ref) error {
	for i, d := range o.deps {
		for _, p := range d.paths {
			if p == pb.RootMount {
				continue
			}
			if _, missing := contenthash.Checksum(ctx, refs[i], p, contenthash.Opt{FollowLinks: true}); missing != nil {
				return o.keepLooked(ctx, err, i, refs[i])
			}
		}
	}
	return err
}

// keepLeft keeps what a run that failed leaves, for the jobs that may want to look at it,
// and returns the error by which they find it.
func (o *op) keepLeft(ctx context.Context, err error, refs []*store.Ref, m *mounts) error {
	var exit *ExitError
	if !errors.As(err, &exit) {
		return o.keepMissing(ctx, err, refs)
	}
	if o.Failed == nil {
		return err
	}
	builds := o.Failed(ctx)
	if len(builds) == 0 {
		return err
	}
	left := &failed.Left{Inputs: make([]*store.Ref, len(o.slots)), Outputs: make([]*store.Ref, len(o.slots))}
	defer func() {
		if err := left.Release(ctx); err != nil {
			warn(ctx, fmt.Sprintf("cleaning up after %q: %v", o.command(), err))
		}
	}()
	for i, s := range o.slots {
		if ref := s.ref(refs); ref != nil {
			left.Inputs[i] = ref.Clone()
		}
		tree, written := m.trees[i].(*store.Mutable)
		if !written {
			if left.Inputs[i] != nil {
				left.Outputs[i] = left.Inputs[i].Clone()
			}
			continue
		}
		ref, err1 := tree.Commit(ctx)
		if err1 != nil {
			warn(ctx, fmt.Sprintf("what %q left at %s cannot be looked at: %v", o.command(), s.dest, err1))
			return err
		}
		left.Outputs[i] = ref
	}
	return failed.Keep(builds, err, left)
}
