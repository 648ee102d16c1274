package fileop

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/store"
)

// run is one execution of an op. It owns everything it holds until close.
type run struct {
	op     *op
	steps  []step
	inputs []*store.Ref // borrowed

	// By action: what was committed, and the trees that the next one goes on in.
	refs  []*store.Ref
	trees []*tree
	// reading are the trees that are mounted to be read.
	reading map[*store.Ref]*mounted
}

// tree is a tree being written, and where it is mounted.
type tree struct {
	mutable *store.Mutable
	at      *mounted
}

func newRun(o *op, inputs []*store.Ref) *run {
	return &run{
		op: o, steps: plan(o.file.Actions, len(inputs)), inputs: inputs,
		refs:    make([]*store.Ref, len(o.file.Actions)),
		trees:   make([]*tree, len(o.file.Actions)),
		reading: map[*store.Ref]*mounted{},
	}
}

// exec runs the actions and returns the outputs, which are the caller's.
func (r *run) exec(ctx context.Context) ([]*store.Ref, error) {
	n := 0
	for i, a := range r.op.file.Actions {
		if !r.steps[i].run {
			continue
		}
		if err := r.action(ctx, i, a); err != nil {
			return nil, &ActionError{Index: i, Action: describe(a), Err: err, ref: r.copied(a)}
		}
		if a.Output != int64(pb.SkipOutput) {
			n++
		}
	}
	outs := make([]*store.Ref, n)
	for i, a := range r.op.file.Actions {
		if a.Output != int64(pb.SkipOutput) {
			outs[a.Output], r.refs[i] = r.refs[i], nil
		}
	}
	return outs, nil
}

// action runs one action and leaves its tree where the next ones find it.
func (r *run) action(ctx context.Context, i int, a *pb.FileAction) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	t, err := r.target(ctx, i, a)
	if err != nil {
		return err
	}
	r.trees[i] = t
	if err := r.apply(ctx, t.at.dir, a); err != nil {
		return err
	}
	if !r.steps[i].commit {
		return nil
	}
	r.trees[i] = nil
	if err := t.at.unmount(); err != nil {
		return errors.Join(err, t.mutable.Release(context.WithoutCancel(ctx)))
	}
	r.refs[i], err = t.mutable.Commit(ctx)
	return err
}

// target is the tree an action changes.
func (r *run) target(ctx context.Context, i int, a *pb.FileAction) (*tree, error) {
	if r.steps[i].inPlace {
		before := a.Input - int64(len(r.inputs))
		t := r.trees[before]
		r.trees[before] = nil
		return t, nil
	}
	m, err := r.op.deps.Store.New(ctx, r.ref(a.Input), store.NewOptions{Description: r.op.name, TimesCount: r.op.deps.TimesCount})
	if err != nil {
		return nil, err
	}
	at, err := mount(ctx, m, false)
	if err != nil {
		return nil, errors.Join(err, m.Release(context.WithoutCancel(ctx)))
	}
	return &tree{mutable: m, at: at}, nil
}

// ref is the tree of a number: an input's or an action's. It is borrowed.
func (r *run) ref(n int64) *store.Ref {
	switch {
	case n < 0:
		return nil
	case n < int64(len(r.inputs)):
		return r.inputs[n]
	default:
		return r.refs[n-int64(len(r.inputs))]
	}
}

// copied is the ID of the tree that an action copies from; "" if it copies from none.
func (r *run) copied(a *pb.FileAction) string {
	if a.GetCopy() == nil {
		return ""
	}
	if ref := r.ref(a.SecondaryInput); ref != nil {
		return ref.ID()
	}
	return "scratch"
}

// name says which tree a number is.
func (r *run) name(n int64) string {
	switch {
	case n < 0:
		return "scratch, which is empty"
	case n < int64(len(r.op.trees)):
		return r.op.trees[n]
	default:
		return "the tree that an action before it made"
	}
}

// read returns the directory where the tree of a number can be read.
func (r *run) read(ctx context.Context, n int64) (string, error) {
	ref := r.ref(n)
	if m, ok := r.reading[ref]; ok {
		return m.dir, nil
	}
	m, err := mount(ctx, ref, true)
	if err != nil {
		return "", err
	}
	r.reading[ref] = m
	return m.dir, nil
}

// apply changes the tree at dir.
func (r *run) apply(ctx context.Context, dir string, a *pb.FileAction) error {
	user, err := r.user(ctx, owner(a))
	if err != nil {
		return err
	}
	switch x := a.Action.(type) {
	case *pb.FileAction_Mkdir:
		return inTree(mkdir(dir, x.Mkdir, user), dir)
	case *pb.FileAction_Mkfile:
		return inTree(mkfile(dir, x.Mkfile, user), dir)
	case *pb.FileAction_Symlink:
		return inTree(symlink(dir, x.Symlink, user), dir)
	case *pb.FileAction_Rm:
		return inTree(rm(dir, x.Rm), dir)
	case *pb.FileAction_Copy:
		src, err := r.read(ctx, a.SecondaryInput)
		if err != nil {
			return err
		}
		err = copyFiles(ctx, src, dir, x.Copy, user)
		if m := (*missing)(nil); errors.As(err, &m) {
			m.tree = r.name(a.SecondaryInput)
		}
		return inTree(err, src, dir)
	default:
		return fmt.Errorf("this version does not know actions of type %T", x)
	}
}

// close gives back what is left.
func (r *run) close(ctx context.Context) error {
	var errs []error
	for _, m := range r.reading {
		errs = append(errs, m.unmount())
	}
	for _, t := range r.trees {
		if t != nil {
			errs = append(errs, t.at.unmount(), t.mutable.Release(ctx))
		}
	}
	for _, ref := range r.refs {
		errs = append(errs, ref.Release(ctx))
	}
	return errors.Join(errs...)
}

// mounted is a tree that is mounted.
type mounted struct {
	dir     string
	unmount func() error
}

func mount(ctx context.Context, t store.Tree, readonly bool) (*mounted, error) {
	dir, unmount, err := store.MountLocal(ctx, t, readonly)
	if err != nil {
		return nil, err
	}
	return &mounted{dir: dir, unmount: unmount}, nil
}
