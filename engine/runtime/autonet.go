package runtime

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/util/network"
)

// installNetwork says how to get a network for containers.
const installNetwork = "install it as root (apt-get install slirp4netns, dnf install slirp4netns, or apk add slirp4netns), or configure a CNI network"

// auto is the network that a step gets where nobody has chosen one: it reaches out if
// that can be had, and else has only a loopback. Each step tries anew.
type auto struct {
	out     userNetwork // its Provider is nil if it cannot be had
	missing error       // why
	none    network.Provider
}

func newAuto(none network.Provider, files *resolvConfs, dns *oci.DNSConfig) *auto {
	a := &auto{none: none}
	program, err := exec.LookPath(slirp4netns)
	if err != nil {
		a.missing = fmt.Errorf("slirp4netns, which would give them one, is not there: %s", installNetwork)
		return a
	}
	a.out = newUserNetwork(program, files, dns)
	return a
}

// New implements network.Provider.
func (a *auto) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	why := a.missing
	if why == nil {
		ns, err := a.out.New(ctx, hostname, opt)
		if err == nil || ctx.Err() != nil {
			return ns, err
		}
		why = err
	}
	notice(ctx, fmt.Sprintf("steps have no network but a loopback of their own: %v", why))
	return a.none.New(ctx, hostname, opt)
}

// Warm begins with what takes a while.
func (a *auto) Warm(ctx context.Context) error {
	if a.missing != nil {
		return nil
	}
	return a.out.Warm(ctx)
}

// Close implements io.Closer.
func (a *auto) Close() error {
	if a.out.Provider == nil {
		return nil
	}
	return a.out.Close()
}
