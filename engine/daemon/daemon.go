// Package daemon builds in another process, which may be on another machine: a tenond, or a
// buildkitd, by BuildKit's protocol.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"

	bkclient "github.com/moby/buildkit/client"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer" // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"         // kube-pod://
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer" // podman-container://
	_ "github.com/moby/buildkit/client/connhelper/ssh"             // ssh://

	"github.com/tenonbuild/tenon/internal/ownersocket"
)

// SocketName is the name of the socket at which the daemon that has a root serves whoever
// owns it, in engine.Questions of the root.
const SocketName = "control"

// ErrNone says that the process that has a root is no daemon, or has just ended.
var ErrNone = errors.New("no daemon answers")

// Client speaks with a daemon. Its methods may be called concurrently.
type Client struct{ bk *bkclient.Client }

// TLS are the files of certificates for tcp://.
type TLS struct {
	// Cert and Key are the client's. CA is the authority that the daemon's is from, and
	// ServerName whom it is for; by default the host of the address.
	Cert, Key, CA, ServerName string
}

// Dial returns a client for an address: unix://, tcp://, ssh://, docker-container:// and
// what else buildctl has. It connects when it is used, but says at once where nobody answers
// at a unix socket. The caller closes it.
func Dial(ctx context.Context, addr string, t TLS) (*Client, error) {
	err := checkAddress(addr, t)
	if err == nil {
		err = reachable(ctx, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("daemon at %s: %w", addr, err)
	}
	var opts []bkclient.ClientOpt
	if t.CA != "" || t.ServerName != "" {
		opts = append(opts, bkclient.WithServerConfig(t.ServerName, t.CA))
	}
	if t.Cert != "" || t.Key != "" {
		opts = append(opts, bkclient.WithCredentials(t.Cert, t.Key))
	}
	c, err := bkclient.New(ctx, addr, opts...)
	if err != nil {
		return nil, fmt.Errorf("daemon at %s: %w", addr, err)
	}
	return &Client{c}, nil
}

// Owner returns a client for the daemon that has a root, of which questions is the
// directory for questions. It is ErrNone if there is none that answers.
func Owner(ctx context.Context, questions string) (*Client, error) {
	conn, err := DialOwner(ctx, questions)
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	c, err := bkclient.New(ctx, "unix:///"+SocketName, bkclient.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return DialOwner(ctx, questions)
	}))
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// DialOwner connects to the daemon that Owner is for.
func DialOwner(ctx context.Context, questions string) (net.Conn, error) {
	conn, err := ownersocket.Dial(ctx, questions, SocketName)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	return conn, nil
}

// Workers are what the daemon builds with.
func (c *Client) Workers(ctx context.Context) ([]*bkclient.WorkerInfo, error) {
	all, err := c.bk.ListWorkers(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return all, err
}

// Close closes the connections.
func (c *Client) Close() error { return c.bk.Close() }
