package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// schemes are those that addresses may have.
var schemes = []string{"unix", "tcp", "ssh", "docker-container", "podman-container", "kube-pod"}

const forms = "a daemon is at unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST, docker-container://NAME, podman-container://NAME or kube-pod://NAME"

// checkAddress says what of an address, and of certificates for it, is a mistake.
func checkAddress(addr string, t TLS) error {
	scheme, rest, ok := strings.Cut(addr, "://")
	if !ok {
		return noScheme(addr)
	}
	if !slices.Contains(schemes, scheme) {
		return fmt.Errorf("there is no scheme %q: %s", scheme, forms)
	}
	if t.Cert != "" != (t.Key != "") {
		return errors.New("a certificate and its key go together: give --tlscert and --tlskey")
	}
	if t != (TLS{}) && t.CA == "" {
		return errors.New("certificates need the one of the authority that the daemon's is from: give --tlscacert")
	}
	switch scheme {
	case "unix":
		if !strings.HasPrefix(rest, "/") {
			return errors.New("the path of a socket begins with /, as in unix:///run/tenon/tenond.sock")
		}
		if t != (TLS{}) {
			return errors.New("a unix socket has no certificates: --tlscacert, --tlscert, --tlskey and --tlsservername are for tcp://")
		}
	case "tcp":
		u, err := url.Parse(addr)
		if err != nil {
			return err
		}
		if u.Port() == "" {
			return errors.New("there is no port: an address is tcp://HOST:PORT")
		}
	}
	return nil
}

func noScheme(addr string) error {
	if strings.HasPrefix(addr, "/") {
		return fmt.Errorf("an address begins with a scheme: is unix://%s meant?", addr)
	}
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return fmt.Errorf("an address begins with a scheme: is tcp://%s meant?", addr)
	}
	return fmt.Errorf("an address begins with a scheme: %s", forms)
}

// reachable says why nobody can be reached at a unix socket. Other addresses are asked when
// they are used.
func reachable(ctx context.Context, addr string) error {
	path, ok := strings.CutPrefix(addr, "unix://")
	if !ok {
		return nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return conn.Close()
	}
	return explain(path, err)
}

// explain adds what to do to why a socket could not be connected to.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no daemon listens there: start tenond with --addr unix://%s, or name another", err, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: only who owns the socket, or is of its group, may use it (tenond --group)", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		if fi, e := os.Stat(path); e == nil && fi.Mode()&fs.ModeSocket == 0 {
			return fmt.Errorf("%w: it is no socket", err)
		}
		return fmt.Errorf("%w: the daemon that listened there has ended", err)
	}
	return err
}

// dialing is what gRPC puts around the error of a connection, which it quotes.
var dialing = regexp.MustCompile(`desc = ("(?:transport: Error while dialing: |error reading server preface: )(?:[^"\\]|\\.)*")`)

// dialed is why a connection could not be made, as far as a text has that in gRPC's words. It
// has it for each call.
func dialed(text string) string {
	m := dialing.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	why, err := strconv.Unquote(m[1])
	if err != nil {
		return text
	}
	_, why, _ = strings.Cut(strings.TrimPrefix(why, "transport: "), ": ")
	return strings.TrimSpace(why)
}
