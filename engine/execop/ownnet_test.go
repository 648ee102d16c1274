package execop_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
)

// A step that fails because it means this machine's loopback is told so, where that
// can be known.
func TestRefusedLoopback(t *testing.T) {
	m := newMachine(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	noError(t, err)
	defer ln.Close()
	open := ln.Addr().(*net.TCPAddr).Port
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	noError(t, err)
	unused := closed.Addr().(*net.TCPAddr).Port
	closed.Close()
	host := func(op *pb.ExecOp) { op.Network = pb.NetMode_HOST }
	none := func(op *pb.ExecOp) { op.Network = pb.NetMode_NONE }
	any := func(*pb.ExecOp) {}
	at := fmt.Sprintf("port %d is open on this machine", open)
	for _, c := range []struct {
		says   string
		change func(*pb.ExecOp)
		hint   string // "" if there is none
	}{
		{"dial tcp 127.0.0.1:PORT: connect: connection refused", any, at},
		{"curl: (7) Failed to connect to localhost port PORT after 0 ms: Couldn't connect to server", any, at},
		{"npm ERR! errno ECONNREFUSED\nconnect ECONNREFUSED ::1:PORT", any, at},
		{"Could not connect to localhost:PORT (127.0.0.1). - connect (111: Connection refused)", any, at},
		{"Connecting to localhost:PORT (127.0.0.1:PORT)\nwget: can't connect to remote host (127.0.0.1): Connection refused", any, at},
		{"HTTPConnectionPool(host='localhost', port=PORT): [Errno 111] Connection refused", any, at},
		{"can't connect to remote host (127.0.0.1): Connection refused", any, "127.0.0.1 is the step itself"},
		{"dial tcp 127.0.0.1:UNUSED: connect: connection refused", any, ""},
		{"dial tcp 192.0.2.1:PORT: connect: connection refused", any, ""},
		{"listening on 127.0.0.1:PORT", any, ""},
		{"dial tcp 127.0.0.1:PORT: connect: connection refused", host, ""},
		{"dial tcp 127.0.0.1:PORT: connect: connection refused", none, ""},
		{"dial tcp 127.0.0.1:99999: connect: connection refused", any, ""},
	} {
		says := strings.NewReplacer("PORT", fmt.Sprint(open), "UNUSED", fmt.Sprint(unused)).Replace(c.says)
		_, err := m.exec(sh("cat >&2 <<'E'\n"+says+"\nE\nexit 1", c.change), m.base)
		if err == nil || (c.hint == "") == strings.Contains(err.Error(), "network of its own") || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s: the error is %v", says, err)
		}
		if c.hint != "" && !strings.Contains(err.Error(), "--allow network.host") {
			t.Errorf("%s: no way out: %v", says, err)
		}
	}
}
