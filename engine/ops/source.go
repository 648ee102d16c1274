package ops

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/solver"
)

// sourceOp is a source as an op.
type sourceOp struct {
	kind     string
	instance source.Instance
}

func (e *Env) source(o *pb.SourceOp, platform *pb.Platform) (solver.Op, error) {
	src, err := e.Sources.For(o.GetIdentifier())
	if err != nil {
		return nil, err
	}
	in, err := src.Parse(o, platform)
	if err != nil {
		return nil, err
	}
	// http and https, say, are one kind: the first of the source's schemes names it.
	schemes := src.Schemes()
	if len(schemes) == 0 {
		return nil, fmt.Errorf("source %q: what serves it has no scheme", o.GetIdentifier())
	}
	return &sourceOp{kind: schemes[0], instance: in}, nil
}

// CacheMap is known by the kind of the source and the key it gives: trees of equal
// keys are equal, whatever they are called.
func (o *sourceOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	key, done, err := o.instance.CacheKey(ctx, index)
	if err != nil {
		return nil, false, err
	}
	return &solver.CacheMap{Digest: digest.FromString("tenon.source.v1\x00" + o.kind + "\x00" + key)}, done, nil
}

func (o *sourceOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	return one(o.instance.Snapshot(ctx))
}
