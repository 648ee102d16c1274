package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"github.com/tenonbuild/tenon/engine/control"
)

// listener listens at one address. Who connects is known by its credentials.
type listener struct {
	net.Listener
	credentials credentials.TransportCredentials
}

// listen opens all addresses.
func listen(cfg *configuration) (all []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	var given inherited
	defer func() { err = errors.Join(err, given.close()) }()
	for _, addr := range cfg.GRPC.Address {
		some, err := listenAt(cfg, addr, &given)
		all = append(all, some...)
		if err != nil {
			return all, fmt.Errorf("listening at %s: %w", addr, err)
		}
	}
	return all, nil
}

const addressForms = "an address looks like unix://PATH, tcp://HOST:PORT or fd://"

func listenAt(cfg *configuration, addr string, given *inherited) ([]listener, error) {
	network, where, ok := strings.Cut(addr, "://")
	if !ok {
		return nil, errors.New(addressForms)
	}
	switch network {
	case "unix":
		if where == "" {
			return nil, errors.New("there is no path: " + addressForms)
		}
		l, err := listenUnix(where, cfg.GRPC.UID, cfg.GRPC.GID)
		if err != nil {
			return nil, err
		}
		return []listener{{l, control.Local()}}, nil
	case "tcp":
		creds, err := tcpCredentials(cfg, where)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", where)
		if err != nil {
			return nil, err
		}
		return []listener{{l, creds}}, nil
	case "fd":
		return given.take(cfg, where)
	}
	return nil, fmt.Errorf("%s is not known: %s", network, addressForms)
}

// tcpCredentials are those of a tcp address. Where clients need no certificate it has to be
// one that only this machine reaches.
func tcpCredentials(cfg *configuration, where string) (credentials.TransportCredentials, error) {
	if cfg.GRPC.TLS.CA == "" {
		if err := loopbackOnly(where); err != nil {
			return nil, err
		}
	}
	creds, err := cfg.GRPC.TLS.credentials()
	if err != nil || creds != nil {
		return creds, err
	}
	return control.Local(), nil
}

// loopbackOnly refuses an address that others than this machine's users reach.
func loopbackOnly(where string) error {
	host, _, err := net.SplitHostPort(where)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("whoever reaches it could run anything here: give --tlscert, --tlskey and --tlscacert, or a loopback address")
}

// listenUnix makes a socket that its owner and group may use. One that a process has left
// which died is replaced.
func listenUnix(path string, uid, gid *int) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case fi.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there, and no socket", path)
	default:
		if conn, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(fmt.Errorf("another process listens at %s", path), conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := ownSocket(path)
	if err != nil {
		return nil, err
	}
	if uid != nil || gid != nil {
		err = os.Chown(path, or(uid, os.Geteuid()), or(gid, os.Getegid()))
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// ownSocket makes a socket that only this user may use, from its first moment: who connects
// while it is open to more is let in, and this process has no umask.
func ownSocket(path string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }) // the path gets the mode that the socket has
		return errors.Join(err, failed)
	}}
	return c.Listen(context.Background(), "unix", path)
}

func or(v *int, other int) int {
	if v != nil {
		return *v
	}
	return other
}

func groupID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
