// Package fileop is the LLB file op: mkdir, mkfile, symlink, rm and copy, on trees
// of files without a container.
//
// The actions of an op form a graph of their own. Which of them run, and which go on
// in the tree of the one before, is decided first (plan.go); then they run one after
// the other (run.go). Nothing an action is told, and nothing a tree holds, leads out
// of the tree: paths are resolved inside it, links that point elsewhere end at its
// root, and archives are unpacked with the destination as the root of the process.
//
// Files are copied by fsutil's copier. A directory of which all is copied into an empty one is
// copied several files at a time (wide.go), to the same result.
//
// A copy is cached by the content of what it copies (cachemap.go).
package fileop

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Deps are what file ops work with.
type Deps struct {
	Store *store.Store
	// TimesCount says of the outputs what store.NewOptions does.
	TimesCount bool
	// NoCutoff has no input be known by the content of its whole tree.
	NoCutoff bool
	// Failed, if not nil, says who may want to look at what failed actions leave.
	Failed failed.Jobs
}

// op implements solver.Op.
type op struct {
	file  *pb.FileOp
	name  string
	trees []string // the inputs, in words
	deps  Deps
}

// New makes the op of a vertex. The FileOp must have been checked, as llb.Load does,
// and must not be changed any more.
func New(file *pb.FileOp, v solver.Vertex, d Deps) (solver.Op, error) {
	if d.Store == nil {
		return nil, errors.New("a file op needs a store")
	}
	o := &op{file: file, name: v.Name(), deps: d}
	for _, in := range v.Inputs() {
		o.trees = append(o.trees, treeName(in.Vertex))
	}
	return o, nil
}

// ActionError says which action of a file op failed. Err is the cause; it is
// fs.ErrNotExist where a file is missing.
type ActionError struct {
	Index  int    // of the action in the op
	Action string // what it was to do, as in "copy /a /b"
	Err    error
	ref    string // ID of the tree that is copied from
}

func (e *ActionError) Error() string { return fmt.Sprintf("%s: %v", e.Action, e.Err) }
func (e *ActionError) Unwrap() error { return e.Err }

// BuildKit is the error in BuildKit's words, by which programs know it; "" if there are
// none: it looks for what is copied when it computes the cache key.
func (e *ActionError) BuildKit() string {
	m, ok := errors.AsType[*missing](e.Err)
	if !ok || e.ref == "" {
		return ""
	}
	return fmt.Sprintf("failed to compute cache key: failed to calculate checksum of ref %s: %v: %s: no such file or directory", e.ref, m, m.path)
}

// Prepare implements solver.Preparer: it has the inputs fetched and unpacked, which is
// the work of the steps that they come from.
func (o *op) Prepare(ctx context.Context, inputs []solver.Result) error {
	return store.ExtractAll(ctx, inputs)
}

// Exec runs the actions. The results are in the order of their output numbers.
func (o *op) Exec(ctx context.Context, inputs []solver.Result) (_ []solver.Result, err error) {
	refs := make([]*store.Ref, len(inputs))
	for i, in := range inputs {
		if refs[i], err = store.RefOf(in); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	r := newRun(o, refs)
	// Shared work may be cancelled; what it holds is given back all the same.
	outs, err := r.exec(ctx)
	if err != nil {
		err = r.keepLeft(ctx, err)
	}
	if err := errors.Join(err, r.close(context.WithoutCancel(ctx))); err != nil {
		for _, ref := range outs {
			err = errors.Join(err, ref.Release(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	if !o.deps.NoCutoff {
		o.identify(ctx, refs, outs)
	}
	results := make([]solver.Result, len(outs))
	for i, ref := range outs {
		results[i] = store.NewResult(ref)
	}
	return results, nil
}
