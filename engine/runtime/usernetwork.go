package runtime

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/resolvconf"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tenonbuild/tenon/engine/runtime/usernet"
)

// userNetwork is a network by slirp4netns, with name servers that work in it.
type userNetwork struct {
	*usernet.Provider
	files *resolvConfs
	dns   *oci.DNSConfig // what is configured; may be nil
}

func newUserNetwork(program string, files *resolvConfs, dns *oci.DNSConfig) userNetwork {
	var servers []netip.Addr
	if rc, err := resolvconf.Load(resolvConfPath); err == nil {
		servers = rc.NameServers()
	}
	return userNetwork{usernet.New(usernet.Options{Program: program, Nameservers: servers}), files, dns}
}

// New implements network.Provider.
func (u userNetwork) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	ns, err := u.Provider.New(ctx, hostname, opt)
	if err != nil {
		return nil, err
	}
	if u.dns != nil && len(u.dns.Nameservers) > 0 {
		return keepingNamespace{ns, u.files}, nil
	}
	return userNamespace{ns.(*usernet.Namespace), u}, nil
}

// userNamespace is a namespace whose container asks the name servers that it reaches.
type userNamespace struct {
	*usernet.Namespace
	of userNetwork
}

// Set implements network.Namespace.
func (n userNamespace) Set(spec *specs.Spec) error {
	content, err := n.of.resolvConf(n.DNS())
	if err != nil {
		return err
	}
	return errors.Join(n.Namespace.Set(spec), n.of.files.mount(spec, content))
}

// resolvConf is the content of a container's resolv.conf: this machine's, with what is
// configured, and with name servers that the container reaches.
func (u userNetwork) resolvConf(own netip.Addr) ([]byte, error) {
	rc, err := resolvconf.Load(resolvConfPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	rc.OverrideNameServers(reachable(rc.NameServers(), own))
	if u.dns != nil && len(u.dns.SearchDomains) > 0 {
		rc.OverrideSearch(u.dns.SearchDomains)
	}
	if u.dns != nil && len(u.dns.Options) > 0 {
		rc.OverrideOptions(u.dns.Options)
	}
	return rc.Generate(false)
}

// reachable are the name servers for a container, of this machine's. Own passes on to
// the first of them that has an IPv4 address, also on the loopback.
func reachable(servers []netip.Addr, own netip.Addr) []netip.Addr {
	var out []netip.Addr
	passedOn := len(servers) == 0
	for _, s := range servers {
		if s = s.Unmap(); s.Is4() && !s.IsLoopback() && !s.IsUnspecified() {
			out = append(out, s)
		} else {
			passedOn = true
		}
	}
	if passedOn {
		out = append([]netip.Addr{own}, out...)
	}
	return out
}
