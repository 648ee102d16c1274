package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/network/proxyprovider"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// proxies make the networks of steps that reach others only by a proxy for HTTP and HTTPS,
// which is BuildKit's. The proxy itself reaches what a step's network would.
type proxies struct {
	root  string
	out   map[pb.NetMode]network.Provider
	files *resolvConfs

	mu    sync.Mutex
	inner network.ProxyProvider // nil until it is needed: it makes keys
}

var _ network.ProxyProvider = (*proxies)(nil)

// proxies of networks that all was made of.
func (n Network) proxies(root string, st *state, all networks) *proxies {
	p := &proxies{root: root, files: &resolvConfs{dir: st.memory}, out: map[pb.NetMode]network.Provider{}}
	for mode, provider := range all {
		if k, ok := provider.(keeping); ok {
			p.out[mode] = k.Provider
		}
	}
	switch n.Settled() {
	case "none":
		delete(p.out, pb.NetMode_UNSET)
	case slirp4netns, "auto":
		p.out[pb.NetMode_UNSET] = outward{network.NewHostProvider()}
	}
	return p
}

// NewProxy implements network.ProxyProvider.
func (p *proxies) NewProxy(ctx context.Context, config *network.ProxyConfig) (network.ProxyNamespace, error) {
	if config != nil && p.out[config.EgressMode] == nil {
		return nil, errors.New("steps have no network here, and so there is nothing that a proxy could reach")
	}
	inner, err := p.provider()
	if err != nil {
		return nil, err
	}
	ns, err := inner.NewProxy(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("the proxy of the step: %w", err)
	}
	return proxyNamespace{ns, p.files}, nil
}

func (p *proxies) provider() (_ network.ProxyProvider, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inner == nil {
		p.inner, err = proxyprovider.New(proxyprovider.Opt{Root: p.root, EgressProviders: p.out})
	}
	return p.inner, err
}

// Close implements io.Closer.
func (p *proxies) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inner == nil {
		return nil
	}
	return p.inner.Close()
}

// proxyNamespace keeps the resolv.conf that the container began with: see keeping.
type proxyNamespace struct {
	network.ProxyNamespace
	files *resolvConfs
}

// Set implements network.Namespace.
func (p proxyNamespace) Set(spec *specs.Spec) error {
	return errors.Join(p.ProxyNamespace.Set(spec), p.files.keep(spec))
}

// outward reaches what steps reach that have a network of their own: not this machine's
// loopback.
type outward struct{ network.Provider }

// New implements network.Provider.
func (o outward) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	ns, err := o.Provider.New(ctx, hostname, opt)
	return outwardNamespace{ns}, err
}

type outwardNamespace struct{ network.Namespace }

var _ network.Dialer = outwardNamespace{}

// errLoopback says what a step with a network of its own does not reach.
var errLoopback = errors.New("this machine's loopback is not reached from a step: it has a network of its own")

// DialContext implements network.Dialer. It looks at what a name leads to, not at the name.
func (outwardNamespace) DialContext(ctx context.Context, networkName, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if ip := to.Addr().Unmap(); ip.IsLoopback() || ip.IsUnspecified() {
			return errLoopback
		}
		return nil
	}}
	return d.DialContext(ctx, networkName, address)
}
