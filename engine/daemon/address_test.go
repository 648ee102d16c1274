package daemon_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenonbuild/tenon/engine/daemon"
	"github.com/tenonbuild/tenon/internal/check"
)

// A mistake in an address is told before anything is done, with what to do.
func TestBadAddresses(t *testing.T) {
	dir, err := os.MkdirTemp("", "addr") // short enough for a socket's path
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, os.RemoveAll(dir)) })
	plain, left := filepath.Join(dir, "plain"), filepath.Join(dir, "left")
	check.OK(t, os.WriteFile(plain, nil, 0o600))
	l, err := net.Listen("unix", left)
	check.OK(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	check.OK(t, l.Close())
	ca := daemon.TLS{CA: "ca.pem"}
	for _, c := range []struct {
		addr string
		tls  daemon.TLS
		says string
	}{
		{"foo:///x", daemon.TLS{}, `daemon at foo:///x: there is no scheme "foo": a daemon is at unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST,`},
		{"https://host", daemon.TLS{}, `there is no scheme "https"`},
		{"x", daemon.TLS{}, "begins with a scheme: a daemon is at unix:///PATH"},
		{"/run/x.sock", daemon.TLS{}, "is unix:///run/x.sock meant?"},
		{"host:1234", daemon.TLS{}, "is tcp://host:1234 meant?"},
		{"unix://", daemon.TLS{}, "the path of a socket begins with /"},
		{"unix://a.sock", daemon.TLS{}, "the path of a socket begins with /"},
		{"unix://" + dir + "/none", daemon.TLS{}, "no daemon listens there: start tenond"},
		{"unix://" + plain, daemon.TLS{}, "it is no socket"},
		{"unix://" + left, daemon.TLS{}, "the daemon that listened there has ended"},
		{"unix://" + left, ca, "a unix socket has no certificates"},
		{"tcp://host", daemon.TLS{}, "there is no port: an address is tcp://HOST:PORT"},
		{"tcp://", daemon.TLS{}, "there is no port"},
		{"tcp://host:0x", daemon.TLS{}, "invalid port"},
		{"tcp://host:1", daemon.TLS{CA: "ca.pem", Cert: "c.pem"}, "give --tlscert and --tlskey"},
		{"tcp://host:1", daemon.TLS{Cert: "c.pem", Key: "k.pem"}, "give --tlscacert"},
		{"tcp://host:1", daemon.TLS{CA: plain + ".pem"}, "plain.pem: no such file"},
		{"ssh://", daemon.TLS{}, "no host"},
		{"docker-container://", daemon.TLS{}, "container name"},
	} {
		_, err := daemon.Dial(t.Context(), c.addr, c.tls)
		if err == nil {
			err = errors.New("nothing")
		}
		check.Says(t, err, c.says)
	}
}
