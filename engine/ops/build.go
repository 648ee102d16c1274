package ops

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// LoadOptionsKey is under what a job keeps its llb.LoadOptions (Job.SetValue), for
// definitions that are found in the course of the build. A job without them grants
// nothing.
const LoadOptionsKey = "tenon.llb.options"

// buildOp builds a definition that is a file in one of its inputs. As in BuildKit it
// is known by that definition: where its result is cached, what the definition names
// and moves (a tag, a branch, a local directory) is not looked up again. Pin it, or
// have a frontend solve the definition instead.
type buildOp struct {
	build   *pb.BuildOp
	inputs  int
	builder solver.Builder
	env     *Env
}

func (o *buildOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	return cacheMap(struct {
		Type string
		Exec *pb.BuildOp // so called by BuildKit
	}{"buildkit.build.v0", o.build}, o.inputs)
}

func (o *buildOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	refs, err := trees(inputs)
	if err != nil {
		return nil, err
	}
	name := o.build.Attrs[pb.AttrLLBDefinitionFilename]
	if name == "" {
		name = pb.LLBDefaultDefinitionFile
	}
	def, err := readDefinition(ctx, refs[o.build.Inputs[pb.LLBDefinitionInput].GetInput()], name)
	if err != nil {
		return nil, err
	}
	opt, err := o.options(ctx)
	if err != nil {
		return nil, err
	}
	g, err := llb.Load(def, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if g.Edge.Vertex == nil {
		return one(nil, nil)
	}
	res, err := o.builder.Build(ctx, g.Edge)
	if err != nil {
		return nil, err
	}
	return []solver.Result{res}, nil
}

// options are those of the jobs that the op works for. What one of them does not
// grant is not granted: they share the result.
func (o *buildOp) options(ctx context.Context) (llb.LoadOptions, error) {
	var opt llb.LoadOptions
	first := true
	err := o.builder.EachValue(ctx, LoadOptionsKey, func(v any) error {
		x, ok := v.(llb.LoadOptions)
		if !ok {
			return fmt.Errorf("the value %s of a job is a %T", LoadOptionsKey, v)
		}
		if first {
			opt, first = x, false
			return nil
		}
		both := entitlements.Set{}
		for e, cfg := range opt.Allowed {
			if x.Allowed.Allowed(e) {
				both[e] = cfg
			}
		}
		opt.Allowed = both
		opt.Policy = bothPolicies(opt.Policy, x.Policy)
		return nil
	})
	return opt, err
}

// bothPolicies has both decide, where there are two.
func bothPolicies(a, b func(*pb.Op) error) func(*pb.Op) error {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return func(op *pb.Op) error {
		if err := a(op); err != nil {
			return err
		}
		return b(op)
	}
}

// readDefinition reads a definition from a file of a tree.
func readDefinition(ctx context.Context, ref *store.Ref, name string) (_ *pb.Definition, err error) {
	root, unmount, err := store.MountLocal(ctx, ref, true)
	if err != nil {
		return nil, fmt.Errorf("the tree of an LLB definition: %w", err)
	}
	defer func() { err = errors.Join(err, unmount()) }()
	p, err := fs.RootPath(root, name)
	if err != nil {
		return nil, fmt.Errorf("LLB definition %q: %w", name, err)
	}
	fi, err := os.Lstat(p)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("LLB definition %q: the tree has no such file: %w", name, iofs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("LLB definition %q: %w", name, errors.Unwrap(err))
	}
	// Another kind of file could be a device of this machine, or never answer.
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("LLB definition %q: it is not a regular file", name)
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, fmt.Errorf("LLB definition %q: %w", name, errors.Unwrap(err))
	}
	defer f.Close()
	def, err := llb.ReadDefinition(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return def, nil
}
