// Package ownersocket makes unix sockets for the owner of a directory, and for root: they
// are in that directory, whatever the length of its path, and nobody else is answered.
package ownersocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Listener is a socket in a directory. Close takes it away.
type Listener struct {
	*net.UnixListener
	dir   *os.File
	name  string
	slots chan struct{}
	once  sync.Once
}

// Listen makes a socket, in a directory that is made if need be. One of that name is
// replaced: the caller is the only one who uses the name. No more connections than most are
// open at a time: others are closed at once.
func Listen(dir, name string, most int) (_ *Listener, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, done, err := short(dir, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	// That of a process that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its path is good until we return only
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	opened, err := os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Listener{UnixListener: l, dir: opened, name: name, slots: make(chan struct{}, most)}, nil
}

// Close implements net.Listener. It may be repeated.
func (l *Listener) Close() (err error) {
	l.once.Do(func() {
		if err = unix.Unlinkat(int(l.dir.Fd()), l.name, 0); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		err = errors.Join(err, l.UnixListener.Close(), l.dir.Close())
	})
	return err
}

// Accept implements net.Listener. Connections are of the user that this process is, or of
// root.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if !trusted(conn) {
			_ = conn.Close() // it gets no answer
			continue
		}
		select {
		case l.slots <- struct{}{}:
			return &counted{UnixConn: conn, free: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			_ = conn.Close()
		}
	}
}

// counted is a connection that has a slot until it is closed.
type counted struct {
	*net.UnixConn
	free func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.free()
	return c.UnixConn.Close()
}

// trusted says whether who is at the other end is this user or root.
func trusted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
	})
	return err == nil && ok
}

// Dial connects to a socket in a directory.
func Dial(ctx context.Context, dir, name string) (net.Conn, error) {
	path, done, err := short(dir, name)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	return conn, errors.Join(err, done())
}

// short returns a short path of a socket in a directory: those of sockets have 107 bytes at
// most. It is good until done is called.
func short(dir, name string) (path string, done func() error, _ error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", nil, fmt.Errorf("socket: %w", err)
	}
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(f.Fd())), name), f.Close, nil
}
