package frontend

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"

	tenonllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Reference is a definition that has been checked, and that is solved when its
// result is first needed. A definition without anything in it is the empty tree.
type Reference struct {
	build  *Build
	client *Client
	graph  *tenonllb.Graph
	def    *pb.Definition
	made   uint64

	mu       sync.Mutex // guards what follows
	result   solver.CachedResult
	released bool
}

var _ client.Reference = (*Reference)(nil)

// Graph is the definition's graph.
func (r *Reference) Graph() *tenonllb.Graph { return r.graph }

// Definition is what the reference stands for. It is only to be read.
func (r *Reference) Definition() *pb.Definition { return r.def }

// Result solves the definition, and returns a result that the reference keeps: the
// caller borrows it. It is nil for the empty tree. Errors of a step point into the
// source that its op came from: see errdefs.Sources.
func (r *Reference) Result(ctx context.Context) (solver.CachedResult, error) {
	if r.graph.Edge.Vertex == nil {
		return nil, nil
	}
	if res, err := r.known(); res != nil || err != nil {
		return res, err
	}
	// Several callers may solve at the same time: the solver does the work once.
	res, err := r.build.Solve(ctx, r.graph.Edge)
	if err != nil {
		return nil, withSource(err, r.graph)
	}
	r.mu.Lock()
	if r.result == nil && !r.released {
		r.result, res = res, nil
	}
	r.mu.Unlock()
	if res != nil {
		if err := res.Release(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
	}
	return r.known()
}

func (r *Reference) known() (solver.CachedResult, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.released {
		return nil, errors.New("a reference was used after its build had ended")
	}
	return r.result, nil
}

// Again has the definition solved by another function, whose result takes the place of the
// one that there is.
func (r *Reference) Again(ctx context.Context, solve func(context.Context, solver.Edge) (solver.CachedResult, error)) error {
	if r.graph.Edge.Vertex == nil {
		return nil
	}
	res, err := solve(ctx, r.graph.Edge)
	if err != nil {
		return withSource(err, r.graph)
	}
	r.mu.Lock()
	if !r.released {
		r.result, res = res, r.result
	}
	r.mu.Unlock()
	if res == nil {
		return nil
	}
	return res.Release(context.WithoutCancel(ctx))
}

// Ref solves the definition, and returns the tree, which the reference keeps.
func (r *Reference) Ref(ctx context.Context) (*store.Ref, error) {
	res, err := r.Result(ctx)
	if err != nil || res == nil {
		return nil, err
	}
	return store.RefOf(res)
}

func (r *Reference) release(ctx context.Context) error {
	r.mu.Lock()
	res := r.result
	r.result, r.released = nil, true
	r.mu.Unlock()
	if res == nil {
		return nil
	}
	return res.Release(ctx)
}

// Evaluate solves the definition.
func (r *Reference) Evaluate(ctx context.Context) error {
	if r.build.Evaluating != nil && r.graph.Edge.Vertex != nil {
		r.build.Evaluating(r.graph.Edge)
	}
	_, err := r.Result(ctx)
	return err
}

// ToState returns the definition as a state that others can build on.
func (r *Reference) ToState() (llb.State, error) {
	op, err := llb.NewDefinitionOp(r.def)
	if err != nil {
		return llb.State{}, fmt.Errorf("a reference's definition: %w", err)
	}
	return llb.NewState(op), nil
}

// ReadFile returns a file of the tree, or a part of it.
func (r *Reference) ReadFile(ctx context.Context, req client.ReadRequest) (data []byte, err error) {
	err = r.with(ctx, func(t tree) error {
		data, err = t.read(req)
		return err
	})
	return data, err
}

// StatFile tells about a path of the tree.
func (r *Reference) StatFile(ctx context.Context, req client.StatRequest) (st *fstypes.Stat, err error) {
	err = r.with(ctx, func(t tree) error {
		st, err = t.stat(req.Path)
		return err
	})
	return st, err
}

// ReadDir lists a directory of the tree.
func (r *Reference) ReadDir(ctx context.Context, req client.ReadDirRequest) (list []*fstypes.Stat, err error) {
	err = r.with(ctx, func(t tree) error {
		list, err = t.list(req)
		return err
	})
	return list, err
}

func (r *Reference) with(ctx context.Context, use func(tree) error) error {
	if r.build.Place != nil {
		if dir, release, err := r.build.Place(ctx, r); dir != "" || err != nil {
			return reading(err, release, func() error { return use(tree(dir)) })
		}
	}
	ref, err := r.Ref(ctx)
	if err != nil {
		return err
	}
	return withTree(ctx, ref, use)
}

// Client is the client that made the reference.
func (r *Reference) Client() *Client { return r.client }
