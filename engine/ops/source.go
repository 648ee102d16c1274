package ops

import (
	"context"
	"fmt"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/solver"
)

// sourceOp is a source as an op.
type sourceOp struct {
	kind     string
	instance source.Instance
	listed   func(digest.Digest, *contenthash.Node)
	mu       sync.Mutex // guards all below
	// theirs is the digest that BuildKit has, "" before it is known, or where there is none.
	theirs digest.Digest
	whole  bool // it tells all
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
	return &sourceOp{kind: schemes[0], instance: in, listed: e.Listed}, nil
}

// CacheMap is known by what BuildKit keys the source by, if that tells all, and then by the
// kind of the source and the key it gives itself: trees of equal keys are equal, whatever
// they are called.
func (o *sourceOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	theirs, whole, err := o.ask(ctx)
	if err != nil {
		return nil, false, err
	}
	if whole {
		if index == 0 {
			return solver.NewCacheMap(theirs, 0), false, nil
		}
		index--
	}
	key, done, err := o.instance.CacheKey(ctx, index)
	if err != nil {
		return nil, false, err
	}
	dgst := digest.FromString("tenon.source.v1\x00" + o.kind + "\x00" + key)
	if o.kind == "local" {
		// The next build's is another. In other caches what is made of it is found by the files
		// that are used, and so it is then known here.
		dgst = solver.LocalPrefix + digest.Digest(dgst.Encoded())
	}
	if l, ok := o.instance.(source.Lister); ok && o.listed != nil {
		if root := l.Listing(); root != nil {
			o.listed(dgst, root)
		}
	}
	return solver.NewCacheMap(dgst, 0), done, nil
}

// ask asks the source, once, for what BuildKit keys it by.
func (o *sourceOp) ask(ctx context.Context) (theirs digest.Digest, whole bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	named, ok := o.instance.(source.BuildKitKeyer)
	if !ok || o.theirs != "" {
		return o.theirs, o.whole, nil
	}
	key, whole, err := named.BuildKitKey(ctx)
	if err != nil {
		return "", false, err
	}
	o.theirs, o.whole = digest.FromString("buildkit.source.v0:"+key), whole
	return o.theirs, o.whole, nil
}

// Aliases implements solver.Aliaser: what BuildKit keys the source by, if that does not tell
// all.
func (o *sourceOp) Aliases(index int) (a solver.Aliases) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if index == 0 && !o.whole {
		a.Digest = o.theirs
	}
	return a
}

func (o *sourceOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	return one(o.instance.Snapshot(ctx))
}
