package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/tenonbuild/tenon/internal/regular"
)

// DefaultSSH is the ID of the agent that a definition means if it names none.
const DefaultSSH = "default"

// maxKey is how many bytes of a key file are read.
const maxKey = 100 * 1024

// SSH is an agent that is lent. Paths are either one agent's socket or the files of
// private keys, which are then served by this process; none is the socket that
// SSH_AUTH_SOCK names. What is lent may sign and list, and nothing else: a build
// cannot add, remove or lock keys.
type SSH struct {
	ID    string // "" is DefaultSSH
	Paths []string
	// Raw lends the socket as it is, whatever protocol it speaks.
	Raw bool
}

// ParseSSH reads the value of an --ssh flag, as docker build takes it:
// default|ID[=SOCKET|KEY[,KEY...]][,raw=true|false]. It touches no file.
func ParseSSH(s string) (SSH, error) {
	id, list, ok := strings.Cut(s, "=")
	if id == "" {
		return SSH{}, fmt.Errorf("ssh %q: the id is missing: write default, or ID=SOCKET, or ID=KEY", s)
	}
	out := SSH{ID: id}
	if !ok {
		return out, nil
	}
	for _, path := range strings.Split(list, ",") {
		if raw, is := strings.CutPrefix(path, "raw="); is {
			var err error
			if out.Raw, err = strconv.ParseBool(raw); err != nil {
				return SSH{}, fmt.Errorf("ssh %q: raw=%s is neither true nor false", s, raw)
			}
			continue
		}
		if path == "" {
			return SSH{}, fmt.Errorf("ssh %q: a path is empty", s)
		}
		out.Paths = append(out.Paths, path)
	}
	if out.Raw && len(out.Paths) != 1 {
		return SSH{}, fmt.Errorf("ssh %q: raw needs exactly one socket", s)
	}
	return out, nil
}

func (a SSH) id() string {
	if a.ID == "" {
		return DefaultSSH
	}
	return a.ID
}

// dialer opens a connection to an agent. Closing it ends what serves it.
type dialer func(context.Context) (net.Conn, error)

func (a SSH) dialer() (dialer, error) {
	paths := a.Paths
	if len(paths) == 0 {
		socket := os.Getenv("SSH_AUTH_SOCK")
		if socket == "" {
			return nil, errors.New("SSH_AUTH_SOCK is not set: start an agent (eval $(ssh-agent); ssh-add), or name a socket or a key file")
		}
		paths = []string{socket}
	}
	keys := agent.NewKeyring()
	for _, path := range paths {
		fi, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if fi.Mode()&os.ModeSocket != 0 {
			if len(paths) > 1 {
				return nil, fmt.Errorf("%s is a socket: it cannot be combined with other paths", path)
			}
			return socketDialer(path, a.Raw), nil
		}
		if a.Raw {
			return nil, fmt.Errorf("%s is no socket, which raw needs", path)
		}
		if err := addKey(keys, path); err != nil {
			return nil, err
		}
	}
	return func(context.Context) (net.Conn, error) { return serve(keys, nil), nil }, nil
}

func addKey(keys agent.Agent, path string) error {
	dt, err := regular.Read(path, maxKey)
	if err != nil {
		return err
	}
	key, err := ssh.ParseRawPrivateKey(dt)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		return fmt.Errorf("the key %s has a passphrase: add it to an agent (ssh-add %s) and lend that", path, path)
	}
	if err != nil {
		return fmt.Errorf("%s is neither a socket nor a private key: %w", path, err)
	}
	if err := keys.Add(agent.AddedKey{PrivateKey: key, Comment: path}); err != nil {
		return fmt.Errorf("key %s: %w", path, err)
	}
	return nil
}

func socketDialer(path string, raw bool) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("SSH agent: %w", err)
		}
		if raw {
			return conn, nil
		}
		return serve(agent.NewClient(conn), conn), nil
	}
}

// serve answers for a on the connection that it returns, until that is closed.
// behind, if not nil, is what a speaks to, and is closed with it.
func serve(a agent.Agent, behind io.Closer) net.Conn {
	ours, theirs := net.Pipe()
	c := &served{Conn: theirs, behind: behind}
	c.server.Go(func() {
		// It ends with an error in any case: io.EOF, if all is well.
		_ = agent.ServeAgent(readOnly{a}, ours)
		_ = ours.Close()
	})
	return c
}

// served is a connection to an agent in this process.
type served struct {
	net.Conn
	behind io.Closer
	server sync.WaitGroup
	once   sync.Once
	err    error // set in once
}

// Close waits for the agent's side to end.
func (c *served) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		if c.behind != nil {
			// Also wakes a server that waits for the real agent.
			c.err = errors.Join(c.err, c.behind.Close())
		}
		c.server.Wait()
	})
	return c.err
}

var errReadOnly = errors.New("the agent is lent to a build: it signs and lists, and nothing else")

// readOnly is an agent that cannot be changed.
type readOnly struct{ agent.Agent }

func (readOnly) Add(agent.AddedKey) error                 { return errReadOnly }
func (readOnly) Remove(ssh.PublicKey) error               { return errReadOnly }
func (readOnly) RemoveAll() error                         { return errReadOnly }
func (readOnly) Lock([]byte) error                        { return errReadOnly }
func (readOnly) Unlock([]byte) error                      { return errReadOnly }
func (readOnly) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }

// SignWithFlags lets clients choose the hash of RSA signatures.
func (r readOnly) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	if x, ok := r.Agent.(agent.ExtendedAgent); ok {
		return x.SignWithFlags(key, data, flags)
	}
	if flags != 0 {
		return nil, errors.New("the agent knows no signature flags")
	}
	return r.Sign(key, data)
}
