package ops

import (
	"context"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"

	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver"
)

// ProxyKey is under what a job keeps a ProxyUser (Job.SetValue).
const ProxyKey = "tenon.proxy"

// ProxyUser is a build whose steps reach others only by a proxy.
type ProxyUser interface {
	// Allow decides about a request of a step, which is like that for a source: it may be
	// changed.
	Allow(op *pb.Op) error
	// Used is told what a step has asked for.
	Used(step solver.Vertex, asked *network.ProxyCapture)
}

// proxy is by what the step of a vertex reaches others; nil if it has a network.
func proxy(v solver.Vertex, b solver.Builder) *execop.Proxy {
	if !llb.Proxied(v) {
		return nil
	}
	return &execop.Proxy{Policy: users{b}, Used: func(ctx context.Context, asked *network.ProxyCapture) {
		_ = users{b}.each(ctx, func(u ProxyUser) error { // ends with ctx, and then nobody asks
			u.Used(v, asked)
			return nil
		})
	}}
}

// users are the builds that a step works for. All of them have to allow what it asks for.
type users struct{ builder solver.Builder }

func (u users) each(ctx context.Context, fn func(ProxyUser) error) error {
	return u.builder.EachValue(ctx, ProxyKey, func(v any) error {
		if user, ok := v.(ProxyUser); ok {
			return fn(user)
		}
		return nil
	})
}

// Evaluate implements network.ProxyPolicy.
func (u users) Evaluate(ctx context.Context, op *pb.Op) (bool, error) {
	err := u.each(ctx, func(user ProxyUser) error { return user.Allow(op) })
	return err == nil, err
}
