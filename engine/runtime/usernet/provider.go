package usernet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/network/netpool"
)

// Options are what a Provider is made of.
type Options struct {
	// Program is the path of slirp4netns.
	Program string
	// Nameservers are those of this machine; the subnet of containers holds none of
	// them.
	Nameservers []netip.Addr
}

// Provider makes the networks of containers. The first that is asked for sets up what
// they share; until then it costs nothing. Its methods may be called concurrently.
type Provider struct {
	opt    Options
	turn   chan struct{} // who puts something in has router, pool and closed
	router *router       // nil until it is needed
	pool   *netpool.Pool[*Namespace]
	closed bool
}

var _ network.Provider = (*Provider)(nil)

// New makes a Provider. The caller closes it, when no container runs any more.
func New(opt Options) *Provider {
	return &Provider{opt: opt, turn: make(chan struct{}, 1)}
}

// New implements network.Provider. Hostnames are not known to any server of names.
func (p *Provider) New(ctx context.Context, _ string, _ network.NamespaceOptions) (network.Namespace, error) {
	pool, err := p.ready(ctx)
	if err != nil {
		return nil, err
	}
	s, err := pool.Get(ctx)
	if err != nil {
		return nil, err
	}
	s.pool = pool
	return s, nil
}

// Warm sets up what containers share, and one namespace, unless that has been done.
func (p *Provider) Warm(ctx context.Context) error {
	_, err := p.ready(ctx)
	return err
}

// ready is the pool of namespaces of a router that works.
func (p *Provider) ready(ctx context.Context) (*netpool.Pool[*Namespace], error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if p.closed {
		return nil, errors.New("the network of containers is closed")
	}
	if p.router != nil && p.router.works() {
		return p.pool, nil
	}
	if err := p.stop(); err != nil {
		return nil, err
	}
	taken, err := used(p.opt.Nameservers)
	if err != nil {
		return nil, fmt.Errorf("looking for a free subnet: %w", err)
	}
	r, err := startRouter(ctx, p.opt.Program, pick(taken))
	if err != nil {
		return nil, err
	}
	p.router = r
	p.pool = netpool.New(netpool.Opt[*Namespace]{TargetSize: kept, New: r.newNamespace, Release: (*Namespace).release})
	first, err := p.pool.Get(ctx)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.pool.Put(first)
	return p.pool, nil
}

// kept is how many namespaces are made ahead, and kept that nobody has used for a
// while. More are made as they are needed.
const kept = 1

// stop ends what runs, if anything.
func (p *Provider) stop() error {
	if p.router == nil {
		return nil
	}
	err := errors.Join(p.pool.Close(), p.router.close())
	p.router, p.pool = nil, nil
	return err
}

// Close ends slirp4netns. All namespaces are gone with that.
func (p *Provider) Close() error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.closed = true
	return p.stop()
}
