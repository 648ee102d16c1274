package execop

import (
	"bufio"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// ownLoopback says what a step that means this machine's loopback has to know.
const ownLoopback = "the step has a network of its own, in which 127.0.0.1 is the step itself, not this machine: if this machine is meant, use --network=host with --allow network.host"

// ownNetwork is whether the step's loopback is another than this machine's.
func (o *op) ownNetwork() bool {
	if o.exec.Network != pb.NetMode_UNSET {
		return false
	}
	x, ok := o.Executor.(interface{ OwnNetwork() bool })
	return ok && x.OwnNetwork()
}

// loopbackProxy finds a variable that has programs use a proxy on the loopback, where
// that is not this machine's.
func (o *op) loopbackProxy(env []string) (name string, ok bool) {
	if !o.ownNetwork() {
		return "", false
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy":
			if isLoopback(proxyHost(value)) {
				return name, true
			}
		}
	}
	return "", false
}

// proxyHost is the host of a proxy: a URL, or HOST:PORT.
func proxyHost(value string) string {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// What programs say of a connection to the loopback: its address or name, and the port
// where they tell it. "127.0.0.1:80", "localhost port 80", "host='localhost', port=80".
var (
	refused      = regexp.MustCompile(`(?i)refused|couldn't connect|could not connect|failed to connect|can't connect`)
	loopbackPort = regexp.MustCompile(`(?i)(?:\b127\.\d+\.\d+\.\d+|\blocalhost|::1)(?:\]?:|'?,? port[ =:]+)(\d{1,5})\b`)
	loopbackName = regexp.MustCompile(`(?i)\b127\.\d+\.\d+\.\d+\b|\blocalhost\b|\[::1\]`)
)

// refusedHint is for a step that ends with a connection to its loopback refused, where
// something listens on this machine at that port, or the port is not told.
func (o *op) refusedHint(tail []byte) string {
	if !o.ownNetwork() {
		return ""
	}
	lines := strings.Split(string(tail), "\n")
	for i, line := range lines {
		if !refused.MatchString(line) {
			continue
		}
		near := strings.Join(lines[max(0, i-1):i+1], "\n") // wget tells the address before
		if m := loopbackPort.FindStringSubmatch(near); m != nil {
			if port, err := strconv.ParseUint(m[1], 10, 16); err == nil && listening(uint16(port)) {
				return fmt.Sprintf("port %d is open on this machine's loopback, and %s", port, ownLoopback)
			}
			continue
		}
		if loopbackName.MatchString(line) {
			return ownLoopback
		}
	}
	return ""
}

// listening is whether something listens on a TCP port of this machine.
func listening(port uint16) bool {
	const state = "0A" // TCP_LISTEN
	want := fmt.Sprintf(":%04X", port)
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/thread-self/net/" + name)
		if err != nil {
			continue
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 3 && strings.HasSuffix(fields[1], want) && fields[3] == state {
				return true
			}
		}
	}
	return false
}
