package runtime

import (
	"errors"
	"fmt"
	"os"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/network/cniprovider"
)

// Network is what a step gets that asks for no particular network. One that asks
// for the host's, or for none, gets that whatever Mode is.
type Network struct {
	// Mode is "cni", "host" (this machine's network, shared), "none", or "auto",
	// which is also what "" stands for: cni where CNIConfig is there, host otherwise.
	Mode string
	// CNIConfig is a CNI configuration: a .conflist or .conf file.
	CNIConfig string
	// CNIBinaries is the directory of CNI plugins.
	CNIBinaries string
	// CNIPool is how many network namespaces are kept ready.
	CNIPool int
}

// networks make the networks of steps, by what these ask for.
type networks map[pb.NetMode]network.Provider

func (n networks) close() error {
	var errs error
	for _, p := range n {
		errs = errors.Join(errs, p.Close())
	}
	return errs
}

// providers makes the networks of steps. Root is a directory for their state.
func (n Network) providers(root string) (networks, error) {
	host, none := network.NewHostProvider(), network.NewNoneProvider()
	all := networks{pb.NetMode_HOST: host, pb.NetMode_NONE: none}
	switch n.mode() {
	case "host":
		all[pb.NetMode_UNSET] = host
	case "none":
		all[pb.NetMode_UNSET] = none
	case "cni":
		p, err := cniprovider.New(cniprovider.Opt{Root: root, ConfigPath: n.CNIConfig, BinaryDir: n.CNIBinaries, PoolSize: n.CNIPool})
		if err != nil {
			return nil, fmt.Errorf("the network of containers (cni): %w", err)
		}
		all[pb.NetMode_UNSET] = p
	default:
		return nil, fmt.Errorf("the network of containers: mode %q is not known: use auto, cni, host or none", n.Mode)
	}
	return all, nil
}

// mode resolves "auto".
func (n Network) mode() string {
	if n.Mode != "" && n.Mode != "auto" {
		return n.Mode
	}
	if n.CNIConfig != "" {
		if _, err := os.Stat(n.CNIConfig); err == nil {
			return "cni"
		}
	}
	return "host"
}
