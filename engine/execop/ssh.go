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
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
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
	dial := func(ctx context.Context) (net.Conn, error) {
		return session.Ask(ctx, o.Sessions, func(ctx context.Context, s session.Session) (net.Conn, error) {
			return s.SSH(ctx, id)
		})
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
	return agentSocket{dir: agentsDir(o.Store), opt: opt, dial: dial}, nil
}

// agentSocket is a socket, below dir, whose connections lead to an SSH agent.
type agentSocket struct {
	dir  string
	opt  *pb.SSHOpt
	dial func(context.Context) (net.Conn, error)
}

// Mount implements executor.Mountable.
func (a agentSocket) Mount(ctx context.Context, _ bool) (executor.MountableRef, error) {
	return mountFunc(func() ([]mount.Mount, func() error, error) { return a.mount(ctx) }), nil
}

// mount listens until it is released.
func (a agentSocket) mount(ctx context.Context) (_ []mount.Mount, release func() error, err error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("a place for sockets of SSH agents: %w", err)
	}
	dir, err := os.MkdirTemp(a.dir, "agent-")
	if err != nil {
		return nil, nil, fmt.Errorf("a place for the socket of an SSH agent: %w", err)
	}
	l, err := a.listen(dir)
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
	return []mount.Mount{{Type: "bind", Source: filepath.Join(dir, socketName), Options: []string{"rbind"}}}, release, nil
}

// socketName is that of a socket in its folder.
const socketName = "agent"

// listen makes the socket in dir. A socket's path is 107 bytes at most (unix(7)), so
// the kernel gets one by way of the open folder; it is removed with that.
func (a agentSocket) listen(dir string) (_ net.Listener, err error) {
	fd, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fd.Close()) }()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd.Fd(), socketName)})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by a path that will be somebody else's
	sock := filepath.Join(dir, socketName)
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

func agentsDir(s *store.Store) string { return s.Path("agents") }

// sweepAgents removes the sockets that a process left which was killed.
func sweepAgents(s *store.Store) error { return os.RemoveAll(agentsDir(s)) }
