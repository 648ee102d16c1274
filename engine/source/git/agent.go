package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/session"
)

// agentSocket is a socket at which ssh finds an agent of the session.
type agentSocket struct {
	path   string   // for ssh
	folder *os.File // that it is in, if there is a way to it by no other path; or nil
	l      net.Listener
	cancel context.CancelFunc
	served sync.WaitGroup // all that serves it
}

// maxSocket is the longest path of a socket: see unix(7).
const maxSocket = 107

// lendAgent makes a socket for an agent of the session. It is to be closed.
func (c *client) lendAgent(ctx context.Context, id string) (*agentSocket, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		return session.Ask(ctx, c.source.opt.Sessions, func(ctx context.Context, s session.Session) (net.Conn, error) {
			return s.SSH(ctx, id)
		})
	}
	probe, err := dial(ctx)
	if errors.Is(err, session.ErrNotFound) {
		return nil, fmt.Errorf("it is fetched over ssh, and no SSH agent %q is lent: build with --ssh %s: %w", id, id, err)
	}
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, fmt.Errorf("SSH agent %q: %w", id, err)
	}
	dir, err := c.temp() // which is removed with what is in it, also after us
	if err != nil {
		return nil, fmt.Errorf("SSH agent %q: %w", id, err)
	}
	a := &agentSocket{path: filepath.Join(dir, "agent")}
	if len(a.path) > maxSocket {
		if a.folder, err = os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return nil, fmt.Errorf("SSH agent %q: %w", id, err)
		}
		a.path = fmt.Sprintf("/proc/%d/fd/%d/agent", os.Getpid(), a.folder.Fd())
	}
	if a.l, err = net.Listen("unix", a.path); err != nil {
		return nil, errors.Join(fmt.Errorf("SSH agent %q: %w", id, err), a.leave())
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.served.Go(func() {
		for {
			conn, err := a.l.Accept()
			if err != nil {
				return // closed
			}
			a.served.Go(func() { pipe(ctx, conn, dial) })
		}
	})
	return a, nil
}

// close ends all connections.
func (a *agentSocket) close() {
	a.cancel()
	_ = a.l.Close()
	a.served.Wait()
	_ = a.leave()
}

func (a *agentSocket) leave() error {
	if a.folder == nil {
		return nil
	}
	return a.folder.Close()
}

// pipe connects conn with an agent until either ends. An agent that does not answer
// is one that has no keys: ssh then says what it cannot do.
func pipe(ctx context.Context, conn net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer conn.Close()
	agent, err := dial(ctx)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close()
		_ = agent.Close()
	})
	defer stop()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, agent)
		_ = conn.Close()
	})
	_, _ = io.Copy(agent, conn)
	_ = agent.Close()
	back.Wait()
}
