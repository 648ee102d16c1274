package runtime

import (
	"context"
	"fmt"
	"os/exec"
	"sync"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/util/network"
)

// installNetwork says how to get a network for containers.
const installNetwork = "install it as root (apt-get install slirp4netns, dnf install slirp4netns, or apk add slirp4netns), or configure a CNI network"

// auto is the network that a step gets where nobody has chosen one: it reaches out if
// that can be had, and else has only a loopback.
type auto struct {
	out  userNetwork // its Provider is nil if it cannot be had
	none network.Provider

	mu   sync.Mutex // guards what follows
	why  error      // out cannot be had
	tell bool       // a step did without, which nobody has been told yet
	told bool
}

func newAuto(root string, dns *oci.DNSConfig) *auto {
	a := &auto{none: network.NewNoneProvider()}
	program, err := exec.LookPath(slirp4netns)
	if err != nil {
		a.why = fmt.Errorf("slirp4netns, which would give them one, is not there: %s", installNetwork)
		return a
	}
	a.out = newUserNetwork(program, root, dns)
	return a
}

// New implements network.Provider.
func (a *auto) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	if a.usable() {
		ns, err := a.out.New(ctx, hostname, opt)
		if err == nil || ctx.Err() != nil {
			return ns, err
		}
		a.without(err)
	} else {
		a.without(nil)
	}
	return a.none.New(ctx, hostname, opt)
}

// Warm begins with what takes a while.
func (a *auto) Warm(ctx context.Context) error {
	if !a.usable() {
		return nil
	}
	return a.out.Warm(ctx)
}

func (a *auto) usable() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.why == nil
}

// without notes that a step does without a network, and why unless that is known.
func (a *auto) without(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tell = !a.told
	if a.why == nil {
		a.why = why
	}
}

// notice is what is to be said, once, of a network that does not reach out.
func (a *auto) notice() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.tell {
		return ""
	}
	a.tell, a.told = false, true
	return fmt.Sprintf("steps have no network but a loopback of their own: %v", a.why)
}

// Close implements io.Closer.
func (a *auto) Close() error {
	if a.out.Provider == nil {
		return nil
	}
	return a.out.Close()
}
