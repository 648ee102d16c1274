package usernet

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// subnet is the network of containers, a /24, with slirp4netns's places in it.
type subnet struct{ netip.Prefix }

const (
	uplinkPlace = 2 // slirp4netns
	dnsPlace    = 3 // where it passes on questions to this machine's name server
	routerPlace = 100
)

// at is the address at a place: the last of its bytes.
func (s subnet) at(place byte) netip.Addr {
	b := s.Addr().As4()
	b[3] = place
	return netip.AddrFrom4(b)
}

// places are those that containers may have.
func (subnet) places() []byte {
	var free []byte
	for p := byte(dnsPlace + 1); p < 255; p++ {
		if p != routerPlace {
			free = append(free, p)
		}
	}
	return free
}

// candidates are subnets to choose from; the first is slirp4netns's own.
var candidates = []string{
	"10.0.2.0/24", "10.213.117.0/24", "172.30.213.0/24", "192.168.213.0/24", "100.118.213.0/24", "198.18.213.0/24",
}

// pick chooses the first candidate that nothing in taken overlaps, since a container
// would not reach that. Where each is taken, it is the first.
func pick(taken []netip.Prefix) subnet {
	for _, c := range candidates {
		p, free := netip.MustParsePrefix(c), true
		for _, t := range taken {
			free = free && !p.Overlaps(t)
		}
		if free {
			return subnet{p}
		}
	}
	return subnet{netip.MustParsePrefix(candidates[0])}
}

// used are the networks that this machine reaches otherwise than by a default route,
// and its name servers.
func used(nameservers []netip.Addr) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, a := range nameservers {
		if a.Is4() {
			all = append(all, netip.PrefixFrom(a, 32))
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		// Shorter ones are a default route in pieces, as VPNs have it.
		if p, ok := prefix(r.Dst); ok && p.Bits() >= 8 {
			all = append(all, p)
		}
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits != 32 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a.Unmap(), ones).Masked(), true
}

// ipNet is an address as netlink has it.
func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}
