package ops

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Planning has ops that are looked up in caches as ever, and run nothing: what would run
// results in a tree of which nothing is known. The content of such a tree is like no other.
type Planning struct {
	env *Env

	mu      sync.Mutex // guards what follows
	unknown map[OpInput]bool
	made    map[digest.Digest]bool
}

// OpInput is an input of a vertex.
type OpInput struct {
	Vertex digest.Digest
	Input  int
}

// Planning returns a Planning of an Env like this one.
func (e *Env) Planning(listed func(source digest.Digest, root *contenthash.Node)) *Planning {
	env := *e
	env.Listed = listed
	return &Planning{env: &env, unknown: map[OpInput]bool{}, made: map[digest.Digest]bool{}}
}

// Unknown says whether the content of an input was asked for, and is not known before
// something has run.
func (p *Planning) Unknown(v digest.Digest, input int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unknown[OpInput{v, input}]
}

// MadeUp says whether a content key stands for what is not known.
func (p *Planning) MadeUp(content digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[content]
}

// unlike returns a digest that is like no other.
func (p *Planning) unlike() digest.Digest {
	d := solver.LocalPrefix + digest.Digest(digest.FromString(rand.Text()).Encoded())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[d] = true
	return d
}

// Resolve is a solver.ResolveOpFunc.
func (p *Planning) Resolve(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	o, ok := v.Sys().(*pb.Op)
	if !ok {
		return nil, errors.New("it is of a program, and cannot be planned")
	}
	op, err := p.env.resolve(o, v, b)
	if err != nil {
		return nil, err
	}
	return &planned{Op: op, p: p, v: v.Digest(), outputs: outputs(o)}, nil
}

// outputs is how many outputs an op has.
func outputs(o *pb.Op) int {
	n := int64(0)
	switch k := o.Op.(type) {
	case *pb.Op_Exec:
		for _, m := range k.Exec.Mounts {
			n = max(n, m.Output)
		}
	case *pb.Op_File:
		for _, a := range k.File.Actions {
			n = max(n, a.Output)
		}
	}
	return int(n) + 1
}

// planned is an op that does not run.
type planned struct {
	solver.Op
	p       *Planning
	v       digest.Digest
	outputs int
	ran     atomic.Bool
}

// CacheMap implements solver.Op.
func (o *planned) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	cm, done, err := o.Op.CacheMap(source.Looking(ctx), index)
	if err != nil || cm == nil {
		return cm, done, err
	}
	for i := range cm.Deps {
		if compute := cm.Deps[i].ComputeDigestFunc; compute != nil {
			cm.Deps[i].ComputeDigestFunc = o.content(i, compute)
		}
	}
	return cm, done, nil
}

// content computes the content key of an input, or makes one up.
func (o *planned) content(input int, compute solver.ResultBasedCacheFunc) solver.ResultBasedCacheFunc {
	return func(ctx context.Context, r solver.Result) (digest.Digest, error) {
		if o.ran.Load() { // it is not for a match
			return o.p.unlike(), nil
		}
		d, err := compute(ctx, r)
		if err == nil || !notHere(r, err) {
			return d, err
		}
		o.p.mu.Lock()
		o.p.unknown[OpInput{o.v, input}] = true
		o.p.mu.Unlock()
		return o.p.unlike(), nil
	}
}

// notHere says whether the error is one of a tree that is only looked at. Ops may say
// something else of it.
func notHere(r solver.Result, err error) bool {
	if errors.Is(err, store.ErrNotHere) {
		return true
	}
	ref, rerr := store.RefOf(r)
	return rerr == nil && !ref.Here()
}

// Aliases implements solver.Aliaser.
func (o *planned) Aliases(index int) (a solver.Aliases) {
	named, ok := o.Op.(solver.Aliaser)
	if !ok {
		return a
	}
	a = named.Aliases(index)
	for i, compute := range a.Contents {
		if compute == nil {
			continue
		}
		a.Contents[i] = func(ctx context.Context, r solver.Result) (digest.Digest, error) {
			if o.ran.Load() {
				return "", nil
			}
			d, err := compute(ctx, r)
			if err != nil && notHere(r, err) {
				return "", nil // content has noted it
			}
			return d, err
		}
	}
	return a
}

// Exec implements solver.Op.
func (o *planned) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	o.ran.Store(true)
	switch op := o.Op.(type) {
	case *passthroughOp:
		return op.Exec(ctx, inputs)
	case *sourceOp:
		if i, ok := op.instance.(source.Imaginer); ok {
			return one(i.Imagine(source.Looking(ctx)))
		}
	}
	out := make([]solver.Result, o.outputs)
	for i := range out {
		out[i] = store.NewResult(o.p.env.Store.Imagine("imagined-" + rand.Text()))
	}
	return out, nil
}
