package engine

import (
	"cmp"
	"context"
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/llbsolver/compat"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/source"
)

// captured is what a platform's result was made of, and what its frontend has looked at on
// the way (a Dockerfile, say), but not what the other results of the build were made of.
func (b *build) captured(ctx context.Context, res *gwclient.Result, id string, ref *frontend.Reference, all []exptypes.Platform) (*provenance.Capture, error) {
	c, err := b.capture(ctx, ref)
	if err != nil {
		return nil, err
	}
	by := ref.Client()
	others := map[*frontend.Reference]bool{ref: true}
	_ = res.EachRef(func(r gwclient.Reference) error {
		if r, ok := r.(*frontend.Reference); ok {
			others[r] = true
		}
		return nil
	})
	refs, images := by.Used()
	for _, r := range refs {
		if others[r] || !r.Solved() {
			continue
		}
		more, err := b.capture(ctx, r)
		if err != nil {
			return nil, err
		}
		c.Merge(more)
	}
	for _, i := range ofPlatform(images, id, all) {
		c.AddImage(types.ImageSource{Ref: i.Ref, Local: i.Local, Platform: i.Platform, Digest: i.Digest})
	}
	c.Request.CompatibilityVersion = cmp.Or(b.req.Compatibility, compat.CompatibilityVersionCurrent)
	c.Settle()
	return c, nil
}

// capture is what a reference was made of, and by which request.
func (b *build) capture(ctx context.Context, ref *frontend.Reference) (*provenance.Capture, error) {
	c, err := b.sourcesOf(ctx, ref)
	if by := ref.Client(); err == nil && by.Parent() != nil {
		b.addRequest(ctx, c, by)
	}
	return c, err
}

// sourcesOf is what a reference was made of.
func (b *build) sourcesOf(ctx context.Context, ref *frontend.Reference) (*provenance.Capture, error) {
	c := &provenance.Capture{}
	ctx = b.job.Context(ctx)
	for _, v := range ref.Graph().Vertices {
		op, ok := v.Sys().(*pb.Op)
		if !ok {
			continue
		}
		src := op.GetSource()
		if llb.Proxied(v) {
			b.proxy.note(c, v.Digest(), op.GetExec().GetMeta().GetArgs())
		}
		if src == nil {
			c.AddOp(op)
			continue
		}
		s, err := b.engine.sources.For(src.GetIdentifier())
		if err != nil {
			return nil, err
		}
		i, err := s.Parse(src, op.GetPlatform())
		if err != nil {
			return nil, err
		}
		d, ok := i.(source.Describer)
		if !ok {
			c.Incomplete = true
			continue
		}
		if err := d.Describe(ctx, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// addRequest notes what a frontend was asked for, and what was asked of the build, where
// that is something else.
func (b *build) addRequest(ctx context.Context, c *provenance.Capture, by *frontend.Client) {
	r, _ := b.request(ctx, by, c.Sources)
	name, attrs, _ := by.Asked()
	c.Request.Frontend, c.Request.Args, c.Request.Inputs = name, provenance.Args(attrs), r.Request.Inputs
	first := by
	for p := by.Parent(); p != nil; p = p.Parent() {
		name, attrs, inputs := b.asked(p)
		if name != "" || len(attrs) > 0 || len(inputs) > 0 {
			first = p
		}
	}
	root, _ := b.request(ctx, first, c.Sources)
	nothing := root.Request.Frontend == "" && len(root.Request.Args) == 0 && len(root.Request.Inputs) == 0
	if !nothing && !root.Equal(r) {
		c.Request.Root = root
	}
}

// asked is what a frontend, or the build itself, was asked for.
func (b *build) asked(by *frontend.Client) (name string, attrs map[string]string, inputs map[string]*pb.Definition) {
	name, attrs, inputs = by.Asked()
	if by.Parent() == nil {
		name = b.req.Frontend
	}
	return name, attrs, inputs
}

// ofPlatform leaves out the images of other platforms, where a frontend has asked about an
// image for each of them.
func ofPlatform(images []frontend.Resolved, id string, all []exptypes.Platform) (out []frontend.Resolved) {
	is := func(p exptypes.Platform) func(i frontend.Resolved) bool {
		m := platforms.NewMatcher(p.Platform)
		return func(i frontend.Resolved) bool { return i.Platform != nil && m.Match(*i.Platform) }
	}
	for _, i := range images {
		same := slices.DeleteFunc(slices.Clone(images), func(o frontend.Resolved) bool { return o.Ref != i.Ref })
		each := len(all) > 0
		current := true
		for _, p := range all {
			each = each && slices.ContainsFunc(same, is(p))
			if p.ID == id {
				current = is(p)(i)
			}
		}
		if !each || i.Platform == nil || current {
			out = append(out, i)
		}
	}
	return out
}
