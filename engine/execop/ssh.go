package execop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session"
	"golang.org/x/sync/errgroup"
)

const (
	defaultAgent = "default" // where a definition names none
	maxAgentUses = 64        // connections of one run at a time; more wait
)

// sshMount is the socket of an SSH agent; nil if it is optional and not given.
func (o *op) sshMount(ctx context.Context, s slot) (executor.Mountable, error) {
	opt := s.mount.SSHOpt
	id := opt.ID
	if id == "" {
		id = defaultAgent
	}
	dial := func(ctx context.Context) (conn net.Conn, err error) {
		err = o.ask(ctx, func(s session.Session) error {
			conn, err = s.SSH(ctx, id)
			return err
		})
		return conn, err
	}
	conn, err := dial(ctx) // to see that there is one
	if errors.Is(err, session.ErrNotFound) {
		if opt.Optional {
			return nil, nil
		}
		return nil, &MissingSSHError{ID: id, Place: s.dest}
	}
	if err != nil {
		return nil, fmt.Errorf("SSH agent %q: %w", id, err)
	}
	if err := conn.Close(); err != nil {
		return nil, fmt.Errorf("SSH agent %q: %w", id, err)
	}
	return agentSocket{opt: opt, dial: dial}, nil
}

// agentSocket is a socket whose connections lead to an SSH agent.
type agentSocket struct {
	opt  *pb.SSHOpt
	dial func(context.Context) (net.Conn, error)
}

// Mount implements executor.Mountable.
func (a agentSocket) Mount(ctx context.Context, _ bool) (executor.MountableRef, error) {
	return mountFunc(func() ([]mount.Mount, func() error, error) { return a.mount(ctx) }), nil
}

// mount listens until it is released. The folder is the system's temporary one,
// since the path of a socket must be short.
func (a agentSocket) mount(ctx context.Context) (_ []mount.Mount, release func() error, err error) {
	dir, err := os.MkdirTemp("", "tenon-ssh-")
	if err != nil {
		return nil, nil, fmt.Errorf("a place for the socket of an SSH agent: %w", err)
	}
	sock := filepath.Join(dir, "agent")
	l, err := a.listen(sock)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the socket of an SSH agent: %w", err), os.RemoveAll(dir))
	}
	// The connections end with the mount, not with the context of its making.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		a.serve(ctx, l)
		return nil
	})
	release = func() error {
		stop()
		err := errors.Join(l.Close(), os.RemoveAll(dir))
		return errors.Join(err, g.Wait())
	}
	return []mount.Mount{{Type: "bind", Source: sock, Options: []string{"rbind"}}}, release, nil
}

func (a agentSocket) listen(sock string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", sock)
	if err != nil {
		return nil, err
	}
	err = os.Chown(sock, int(a.opt.Uid), int(a.opt.Gid))
	if err == nil {
		err = os.Chmod(sock, os.FileMode(a.opt.Mode&0o777))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serve joins each connection with one of the agent's, until ctx ends and the
// listener is closed. It returns when the last connection is done.
func (a agentSocket) serve(ctx context.Context, l net.Listener) {
	var g errgroup.Group
	g.SetLimit(maxAgentUses)
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		g.Go(func() error {
			// An agent that does not answer is the process's to complain about: its
			// connection just ends.
			defer conn.Close()
			agent, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer agent.Close()
			return join(ctx, conn, agent)
		})
	}
	_ = g.Wait() // told to the process, above
}

// join copies both ways until either side ends, or ctx does.
func join(ctx context.Context, a, b net.Conn) error {
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	half := func(dst, src net.Conn) error {
		if _, err := io.Copy(dst, src); err != nil {
			return err
		}
		if w, ok := dst.(interface{ CloseWrite() error }); ok {
			return w.CloseWrite()
		}
		return io.EOF // no half is left open: end both
	}
	g.Go(func() error { return half(a, b) })
	g.Go(func() error { return half(b, a) })
	return g.Wait()
}
