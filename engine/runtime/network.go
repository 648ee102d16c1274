package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/network/cniprovider"
)

// Network is what a step gets that asks for no particular network. One that asks
// for the host's, or for none, gets that whatever Mode is.
type Network struct {
	// Mode is "slirp4netns", "cni" or "bridge" (a network of the step's own that reaches
	// out, by that program, by CNI's plugins as CNIConfig says, or by these and a bridge
	// that is made), "none" (only a loopback of its own), "host"
	// (this machine's network, shared: a step reaches what listens on this machine's
	// loopback, and abstract unix sockets), or "auto", which is also what "" stands
	// for: cni where CNIConfig is there, else slirp4netns where it works, else none.
	Mode string
	// CNIConfig is a CNI configuration: a .conflist or .conf file.
	CNIConfig string
	// CNIBinaries is the directory of CNI plugins; "" is /opt/cni/bin.
	CNIBinaries string
	// CNIPool is how many network namespaces of CNI's are kept ready.
	CNIPool int
	// BridgeName and BridgeSubnet are of the bridge; "" is tenon0, 10.11.0.0/16.
	BridgeName, BridgeSubnet string
}

const slirp4netns = "slirp4netns"

// networks make the networks of steps, by what these ask for.
type networks map[pb.NetMode]network.Provider

func (n networks) close() error {
	var errs error
	for _, p := range n {
		errs = errors.Join(errs, p.Close())
	}
	return errs
}

// warm begins to set up a network, where that takes a while.
func (n networks) warm(ctx context.Context, mode pb.NetMode) {
	if w, ok := n[mode].(interface{ Warm(context.Context) error }); ok {
		go func() { _ = w.Warm(ctx) }() // who needs it tries again, and says why not
	}
}

// providers makes the networks of steps. Root is a directory for their state, st that of
// containers, and dns
// what is configured of name servers, which may be nil.
func (n Network) providers(root string, st *state, dns *oci.DNSConfig) (networks, error) {
	files := &resolvConfs{dir: st.memory}
	host, none := keeping{network.NewHostProvider(), files}, keeping{network.NewNoneProvider(), files}
	all := networks{pb.NetMode_HOST: host, pb.NetMode_NONE: none}
	switch n.Settled() {
	case "host":
		all[pb.NetMode_UNSET] = host
	case "none":
		all[pb.NetMode_UNSET] = none
	case "cni":
		if err := n.checkCNI(); err != nil {
			return nil, fmt.Errorf("the network of containers (cni): %w", err)
		}
		all[pb.NetMode_UNSET] = keeping{&lazy{make: func() (network.Provider, error) { return n.cni(root) }}, files}
	case "bridge":
		if _, err := os.Stat(n.binaries()); err != nil {
			return nil, fmt.Errorf("the network of containers (bridge): %w", err)
		}
		all[pb.NetMode_UNSET] = keeping{&lazy{make: func() (network.Provider, error) { return n.bridge(root) }}, files}
	case slirp4netns:
		program, err := exec.LookPath(slirp4netns)
		if err != nil {
			return nil, fmt.Errorf("the network of containers: %w: %s", err, installNetwork)
		}
		all[pb.NetMode_UNSET] = newUserNetwork(program, files, dns)
	case "auto":
		all[pb.NetMode_UNSET] = newAuto(none, files, dns)
	default:
		return nil, fmt.Errorf("the network of containers: mode %q is not known: use auto, slirp4netns, cni, bridge, host or none", n.Mode)
	}
	return all, nil
}

// Settled is Mode, and "auto" only where that is yet to be found out.
func (n Network) Settled() string {
	if n.Mode != "" && n.Mode != "auto" {
		return n.Mode
	}
	if n.CNIConfig != "" {
		if _, err := os.Stat(n.CNIConfig); err == nil {
			return "cni"
		}
	}
	return "auto"
}

// checkCNI says what of a CNI network is not there.
func (n Network) checkCNI() error {
	for _, path := range []string{n.CNIConfig, n.binaries()} {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

func (n Network) binaries() string { return cmp.Or(n.CNIBinaries, "/opt/cni/bin") }

// cni sets up a CNI network: it runs the plugins, once.
func (n Network) cni(root string) (network.Provider, error) {
	p, err := cniprovider.New(cniprovider.Opt{Root: root, ConfigPath: n.CNIConfig, BinaryDir: n.binaries(), PoolSize: n.CNIPool})
	if err != nil {
		return nil, fmt.Errorf("the network of containers (cni): %w", err)
	}
	return p, nil
}

// bridge makes a bridge, which is removed again, and a network of it.
func (n Network) bridge(root string) (network.Provider, error) {
	p, err := cniprovider.NewBridge(cniprovider.Opt{
		Root: root, BinaryDir: n.binaries(), PoolSize: n.CNIPool,
		BridgeName: cmp.Or(n.BridgeName, "tenon0"), BridgeSubnet: cmp.Or(n.BridgeSubnet, "10.11.0.0/16"),
	})
	if err != nil {
		return nil, fmt.Errorf("the network of containers (bridge): %w", err)
	}
	return p, nil
}

// lazy is a provider that is made when it is first needed. The executor asks one at a
// time.
type lazy struct {
	make func() (network.Provider, error)
	network.Provider
}

// New implements network.Provider.
func (l *lazy) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	if l.Provider == nil {
		p, err := l.make()
		if err != nil {
			return nil, err
		}
		l.Provider = p
	}
	return l.Provider.New(ctx, hostname, opt)
}

// Close implements io.Closer.
func (l *lazy) Close() error {
	if l.Provider == nil {
		return nil
	}
	return l.Provider.Close()
}
