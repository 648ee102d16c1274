// Package ops finds the op that runs an LLB vertex, and has the small ones: source,
// merge, diff, build and passthrough. Exec is package execop's and file is package
// fileop's.
//
// # Cache keys
//
// What an op is cached by is made of what it does and of content, never of times or of
// what belongs to one request. A source is known by its kind and the key it gives
// itself: a manifest's digest, a commit, a tree's digest. A merge and a diff are
// known by their inputs' keys alone: they have no content keys, because to compute
// those would fetch and read layers that a merge of lazy trees need not even have.
package ops

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/fileop"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"google.golang.org/protobuf/proto"
)

// Env is what ops work with.
type Env struct {
	Store    *store.Store
	Sources  *source.Set
	Sessions *session.Sessions
	// Executor runs containers. It is nil if this machine cannot; exec ops then say
	// why: NoExecutor.
	Executor   executor.Executor
	NoExecutor error
	// Log bounds what is shown of a step's output.
	Log execop.LogLimits
}

// Maker is implemented by the Sys() of a vertex that brings its own op: a program
// that embeds the engine can put vertices of its own beside those of LLB. An op of
// its own returns results of store.NewResult if LLB is to be built on them.
type Maker interface {
	MakeOp(env *Env, v solver.Vertex, b solver.Builder) (solver.Op, error)
}

// Resolve is the solver's ResolveOpFunc. The Sys() of a vertex is a *pb.Op that
// llb.Load has checked, or a Maker.
func (e *Env) Resolve(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	switch sys := v.Sys().(type) {
	case Maker:
		return sys.MakeOp(e, v, b)
	case *pb.Op:
		op, err := e.resolve(sys, v, b)
		if err != nil {
			return nil, err
		}
		return losing{op}, nil
	default:
		return nil, fmt.Errorf("vertex %q: nothing runs a %T", v.Name(), sys)
	}
}

func (e *Env) resolve(o *pb.Op, v solver.Vertex, b solver.Builder) (solver.Op, error) {
	switch k := o.Op.(type) {
	case *pb.Op_Source:
		return e.source(k.Source, o.Platform)
	case *pb.Op_Exec:
		return e.exec(k.Exec, o.Platform, v, b)
	case *pb.Op_File:
		return fileop.New(k.File, v, fileop.Deps{Store: e.Store, Failed: looking(b)})
	case *pb.Op_Merge:
		return &mergeOp{merge: k.Merge, name: v.Name(), store: e.Store}, nil
	case *pb.Op_Diff:
		return &diffOp{diff: k.Diff, name: v.Name(), inputs: len(v.Inputs()), store: e.Store}, nil
	case *pb.Op_Build:
		return &buildOp{build: k.Build, inputs: len(v.Inputs()), builder: b, env: e}, nil
	case *pb.Op_Passthrough:
		return &passthroughOp{pass: k.Passthrough, inputs: len(v.Inputs())}, nil
	default:
		return nil, fmt.Errorf("vertex %q: nothing runs an op of type %T", v.Name(), k)
	}
}

// cacheMap is the cache map of an op that is known by what it is told, and by the keys
// of its inputs.
func cacheMap(kind string, told proto.Message, inputs int) (*solver.CacheMap, bool, error) {
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(told)
	if err != nil {
		return nil, false, err
	}
	return solver.NewCacheMap(digest.FromBytes(append([]byte(kind+"\x00"), dt...)), inputs), true, nil
}

// trees returns the trees of results, borrowed from them.
func trees(results []solver.Result) ([]*store.Ref, error) {
	refs := make([]*store.Ref, len(results))
	for i, r := range results {
		ref, err := store.RefOf(r)
		if err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		refs[i] = ref
	}
	return refs, nil
}

// one is the result of an op that has one.
func one(ref *store.Ref, err error) ([]solver.Result, error) {
	if err != nil {
		return nil, err
	}
	return []solver.Result{store.NewResult(ref)}, nil
}

// passthroughOp gives its inputs back as outputs.
type passthroughOp struct {
	pass   *pb.PassthroughOp
	inputs int
}

func (o *passthroughOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	return cacheMap("tenon.passthrough.v1", o.pass, o.inputs)
}

func (o *passthroughOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	refs, err := trees(inputs)
	if err != nil {
		return nil, err
	}
	outs := make([]solver.Result, len(o.pass.Outputs))
	for i, n := range o.pass.Outputs {
		outs[i] = store.NewResult(refs[n].Clone())
	}
	return outs, nil
}
