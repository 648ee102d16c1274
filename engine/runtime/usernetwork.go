package runtime

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/resolvconf"

	"github.com/tenonbuild/tenon/engine/runtime/usernet"
)

const resolvConfPath = "/etc/resolv.conf"

// userNetwork is a network by slirp4netns, with name servers that work in it.
type userNetwork struct {
	*usernet.Provider
	root string         // where BuildKit's executor keeps resolv.conf
	dns  *oci.DNSConfig // what is configured; may be nil
}

func newUserNetwork(program, root string, dns *oci.DNSConfig) userNetwork {
	var servers []netip.Addr
	if rc, err := resolvconf.Load(resolvConfPath); err == nil {
		servers = rc.NameServers()
	}
	return userNetwork{usernet.New(usernet.Options{Program: program, Nameservers: servers}), root, dns}
}

// New implements network.Provider. What comes next of a run is its resolv.conf: this
// puts in place what it finds then.
func (u userNetwork) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	ns, err := u.Provider.New(ctx, hostname, opt)
	if err != nil || (u.dns != nil && len(u.dns.Nameservers) > 0) {
		return ns, err
	}
	if err := u.writeResolvConf(ctx, ns.(*usernet.Namespace).DNS()); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// writeResolvConf writes the resolv.conf of containers. BuildKit's executor makes it
// when it is first asked, and when this machine's has changed, without name servers on
// the loopback: afterwards it takes what is there.
func (u userNetwork) writeResolvConf(ctx context.Context, own netip.Addr) error {
	root, err := os.OpenRoot(u.root)
	if err != nil {
		return err
	}
	defer root.Close()
	name, err := oci.GetResolvConf(ctx, root, nil, u.dns, pb.NetMode_UNSET)
	if err != nil {
		return err
	}
	rc, err := resolvconf.Load(resolvConfPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	rc.OverrideNameServers(reachable(rc.NameServers(), own))
	if u.dns != nil && len(u.dns.SearchDomains) > 0 {
		rc.OverrideSearch(u.dns.SearchDomains)
	}
	if u.dns != nil && len(u.dns.Options) > 0 {
		rc.OverrideOptions(u.dns.Options)
	}
	dt, err := rc.Generate(false)
	if err != nil {
		return err
	}
	if err := root.WriteFile(name+".tmp", dt, 0o644); err != nil {
		return err
	}
	return root.Rename(name+".tmp", name)
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
