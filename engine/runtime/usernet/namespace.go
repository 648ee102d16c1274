package usernet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/network/netpool"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
)

const eth = "eth0" // in a container: its end

// Namespace is that of one container at a time.
type Namespace struct {
	router *router
	pool   *netpool.Pool[*Namespace]
	place  byte
	// outside is the name of the router's end.
	outside string
	ns      *os.File
	// used is whether a container had it that may have changed it for the next.
	used bool
}

var _ network.Namespace = (*Namespace)(nil)

// newNamespace makes a namespace beside the router. It waits until there is a place.
func (r *router) newNamespace(ctx context.Context) (_ *Namespace, err error) {
	s := &Namespace{router: r, outside: fmt.Sprint("step", r.steps.Add(1))}
	select {
	case s.place = <-r.free:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() {
		if err != nil {
			r.free <- s.place
		}
	}()
	if s.ns, err = makeNamespace(s.configure); err != nil {
		return nil, fmt.Errorf("making the network of a container: %w", err)
	}
	if err := s.attach(); err != nil {
		return nil, errors.Join(fmt.Errorf("making the network of a container: %w", err), s.ns.Close())
	}
	return s, nil
}

// configure makes the container's end, in the namespace of this thread. What leaves
// goes to the router.
func (s *Namespace) configure() error {
	if err := sysctl("ipv6/conf/default/disable_ipv6", "1"); err != nil { // ::1 stays
		return err
	}
	links, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer links.Close()
	lo, err := links.LinkByName("lo")
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = eth, mtu
	end := &netlink.Veth{LinkAttrs: attrs, PeerName: s.outside, PeerNamespace: netlink.NsFd(s.router.ns.Fd())}
	gateway := s.router.subnet.at(routerPlace)
	return errors.Join(
		links.LinkSetUp(lo),
		named("link", links.LinkAdd(end)),
		named("address", links.AddrAdd(end, &netlink.Addr{IPNet: ipNet(s.router.subnet.at(s.place), 32)})),
		links.LinkSetUp(end),
		named("route to the router", links.RouteAdd(&netlink.Route{LinkIndex: end.Index, Dst: ipNet(gateway, 32), Scope: netlink.SCOPE_LINK})),
		named("default route", links.RouteAdd(&netlink.Route{LinkIndex: end.Index, Dst: ipNet(netip.IPv4Unspecified(), 0), Gw: gateway.AsSlice()})),
	)
}

// attach makes the router's end work.
func (s *Namespace) attach() error {
	links := s.router.links
	end, err := links.LinkByName(s.outside)
	if err != nil {
		return err
	}
	return errors.Join(
		links.LinkSetUp(end),
		named("route to the container", links.RouteReplace(&netlink.Route{
			LinkIndex: end.Attrs().Index, Dst: ipNet(s.router.subnet.at(s.place), 32), Scope: netlink.SCOPE_LINK,
		})),
	)
}

// DNS is where the container can ask for names: this machine's first name server that
// has an IPv4 address answers.
func (s *Namespace) DNS() netip.Addr { return s.router.subnet.at(dnsPlace) }

// Set implements network.Namespace.
func (s *Namespace) Set(spec *specs.Spec) error {
	if p := spec.Process; p != nil && p.Capabilities != nil {
		for _, c := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN"} {
			s.used = s.used || slices.Contains(p.Capabilities.Bounding, c)
		}
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.ns.Fd())
	for i, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			spec.Linux.Namespaces[i].Path = path
			return nil
		}
	}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: path})
	return nil
}

// Sample implements network.Namespace; there are no figures.
func (s *Namespace) Sample() (*resourcestypes.NetworkSample, error) { return nil, nil }

// Close implements network.Namespace: the next container has the namespace, unless
// this one may have changed it.
func (s *Namespace) Close() error {
	if s.used {
		return s.pool.Discard(s)
	}
	s.pool.Put(s)
	return nil
}

// release gives up the namespace, and its place. The kernel takes the links away when
// it gets to it, so the next at this place has another name, and replaces the route.
func (s *Namespace) release() error {
	s.router.free <- s.place
	return s.ns.Close()
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
