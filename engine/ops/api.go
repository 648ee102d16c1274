// Package ops finds the op that runs an LLB vertex, and has the small ones: source,
// merge, diff, build and passthrough. Exec is package execop's and file is package
// fileop's.
//
// # Cache keys
//
// What an op is cached by is made of what it does and of content, never of times or of
// what belongs to one request. A merge and a diff are known by their inputs' keys alone:
// what they result in depends on how their inputs were made, and they cost little.
//
// Keys are BuildKit's (v0.33), so that a cache that one of both has written is one for the
// other, step for step. They decide where two trees of one key look the same to a step.
// Where BuildKit's key says less, one of our own decides, and BuildKit's is an alias of it
// (solver.Aliaser): it is looked up in caches that are imported, and exported, and the
// local cache never answers to it. By kind of key:
//
//   - an image, of a registry or a layout: BuildKit's, which is what the reference stands
//     for and the platform. Besides, a key of our own: the layers, each by its blob and its
//     content, so that other images of these layers are found. Content that nobody has
//     checked yet is never a key: an image could take the place of another.
//   - a blob, and a file of a server: BuildKit's, and one of our own without how the file was
//     asked for.
//   - a git commit: BuildKit's. Of a tree with its .git directory, of a bundle, and of a
//     directory with a parenthesis in its name it is an alias.
//   - a local directory: its content. BuildKit's is of one session, and is never exported.
//   - exec, merge, diff, build, passthrough: BuildKit's.
//   - file: BuildKit's, unless it does not tell which of two paths is copied where. The op
//     then has a key of its own, and no alias: by that, an honest mistake would be found.
//   - the content of an input: our own (package contenthash). BuildKit's is an alias. There
//     is none of several parts of one input that are mounted, or lie in each other.
//   - the content of the root of an exec, and of a tree that a file op builds on: our own
//     (contenthash.Tree), and local (solver.LocalPrefix): no other cache is asked by it,
//     and none that is exported has it. BuildKit has none.
//
// That they are BuildKit's is shown by TestCacheKeysOfBuildKit in package engine, on what
// buildkitd has exported; bench/cmd/keys records that.
package ops

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/fileop"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
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
	// NoCutoff has no input be known by the content of its whole tree.
	NoCutoff bool
	// Listed, if not nil, is told what is in the tree of a source, by the digest that the
	// source is cached by. The tree is borrowed, and does not change.
	Listed func(source digest.Digest, root *contenthash.Node)
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
		return losing{op, observers(v, b), refusal(v, b)}, nil
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
		return fileop.New(k.File, v, fileop.Deps{Store: e.Store, TimesCount: llb.TimesCount(v), NoCutoff: e.NoCutoff, Failed: looking(b)})
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
// of its inputs. As in BuildKit its digest is that of JSON.
func cacheMap(told any, inputs int) (*solver.CacheMap, bool, error) {
	dt, err := json.Marshal(told)
	if err != nil {
		return nil, false, err
	}
	return solver.NewCacheMap(digest.FromBytes(dt), inputs), true, nil
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
	return cacheMap(struct {
		Type        string
		Passthrough *pb.PassthroughOp
	}{"buildkit.passthrough.v0", o.pass}, o.inputs)
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
