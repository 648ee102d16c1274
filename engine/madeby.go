package engine

import (
	"context"
	"maps"

	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/provenance"
)

// maxRequests is how many requests provenance tells of, those by which inputs were made
// included, and the inputs of these.
const maxRequests = 256

// request is what was asked for, as provenance tells it, and by which requests the inputs
// were made.
func (b *build) request(ctx context.Context, by *frontend.Client, srcs types.Sources) (r *types.RequestProvenance, size int) {
	name, attrs, _ := b.asked(by)
	r = provenance.Request(name, provenance.Args(attrs), srcs)
	in := b.inputsOf(ctx, by)
	r.Request.Inputs = maps.Clone(in.requests)
	return r, 1 + in.size
}

// inputs are the requests by which the inputs of a request were made. Size counts them, and
// those below them.
type inputs struct {
	requests map[string]*types.RequestProvenance
	size     int
}

// inputsOf says by which requests the inputs of one were made. It finds that out once a
// request: there are more ways through a graph of requests than anybody can go.
func (b *build) inputsOf(ctx context.Context, user *frontend.Client) inputs {
	if known, ok := b.inputs.Load(user); ok {
		return known.(inputs)
	}
	out := inputs{}
	_, _, defs := b.asked(user)
	for name, def := range defs {
		r, size := b.madeBy(ctx, user, def)
		if r == nil || out.size+size >= maxRequests {
			continue
		}
		if out.requests == nil {
			out.requests = map[string]*types.RequestProvenance{}
		}
		out.requests[name] = r
		out.size += size
	}
	if ctx.Err() == nil {
		b.inputs.Store(user, out)
	}
	return out
}

// madeBy is the request by which a definition was made that became an input of another: a
// request of this build, or of one under way of the same client. Nil if it is not known, or
// if there are several.
func (b *build) madeBy(ctx context.Context, user *frontend.Client, def *pb.Definition) (made *types.RequestProvenance, size int) {
	want := head(def)
	if want == "" {
		return nil, 0
	}
	several := false
	for _, o := range b.ofClient() {
		o.look(func(top *frontend.Client) {
			refs, _ := top.Used()
			for _, ref := range refs {
				// What was made later than the request was no input of it.
				if ref.Client().Parent() == nil || head(ref.Definition()) != want || !ref.Before(user) {
					continue
				}
				r, n, err := o.producer(ctx, ref)
				if err != nil || made != nil && !made.Equal(r) {
					several = true
					return
				}
				made, size = r, n
			}
		})
		if several {
			return nil, 0
		}
	}
	return made, size
}

// producer is the request that has made a reference.
func (b *build) producer(ctx context.Context, ref *frontend.Reference) (*types.RequestProvenance, int, error) {
	used := &provenance.Capture{}
	if ref.Solved() {
		var err error
		if used, err = b.sourcesOf(ctx, ref); err != nil {
			return nil, 0, err
		}
	}
	r, size := b.request(ctx, ref.Client(), used.Sources)
	return r, size, nil
}

// ofClient are the builds under way of the same client, itself the first.
func (b *build) ofClient() []*build {
	all := []*build{b}
	if b.req.Client == "" {
		return all
	}
	return append(all, b.engine.builds.which(func(o *build) bool { return o != b && o.req.Client == b.req.Client })...)
}

// head is the digest of the op that a definition is about; "" if it is about none.
func head(def *pb.Definition) digest.Digest {
	if len(def.GetDef()) == 0 {
		return ""
	}
	last := &pb.Op{}
	if err := last.Unmarshal(def.Def[len(def.Def)-1]); err != nil || len(last.Inputs) == 0 {
		return ""
	}
	return digest.Digest(last.Inputs[0].GetDigest())
}
