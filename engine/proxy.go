package engine

import (
	"context"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/solver"
)

// proxyUse is what a build says and knows of the proxy that its steps reach others by.
type proxyUse struct {
	allow func(*pb.Op) error // nil allows all
	asked sync.Map           // digest.Digest of a step: *network.ProxyCapture
}

var _ ops.ProxyUser = (*proxyUse)(nil)

// useProxy has the steps of a build reach others only by a proxy, if the request or the
// engine wants that.
func (b *build) useProxy(ctx context.Context) error {
	if !b.req.ProxyNetwork && !b.engine.proxied {
		return nil
	}
	allow, err := b.policy(ctx, nil)
	if err != nil {
		return err
	}
	b.proxy = &proxyUse{allow: allow}
	b.job.SetValue(ops.ProxyKey, b.proxy)
	return nil
}

// Allow implements ops.ProxyUser.
func (p *proxyUse) Allow(op *pb.Op) error {
	if p.allow == nil {
		return nil
	}
	return p.allow(op)
}

// Used implements ops.ProxyUser.
func (p *proxyUse) Used(step solver.Vertex, asked *network.ProxyCapture) {
	p.asked.Store(step.Digest(), asked)
}

// Evaluate implements network.ProxyPolicy, for the containers of frontends.
func (p *proxyUse) Evaluate(_ context.Context, op *pb.Op) (bool, error) {
	err := p.Allow(op)
	return err == nil, err
}

// ofContainers is by what containers of frontends reach others; nil if they have a network.
func (p *proxyUse) ofContainers() *execop.Proxy {
	if p == nil {
		return nil
	}
	return &execop.Proxy{Policy: p}
}

// note notes what a step has asked the proxy for, if it has run in this build.
func (p *proxyUse) note(c *provenance.Capture, step digest.Digest, args []string) {
	var asked *network.ProxyCapture
	if p != nil {
		if v, ok := p.asked.Load(step); ok {
			asked = v.(*network.ProxyCapture)
		}
	}
	c.AddProxied(step, args, asked)
}
