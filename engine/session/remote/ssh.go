package remote

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/moby/buildkit/session/sshforward"
	"google.golang.org/grpc/metadata"

	"github.com/tenonbuild/tenon/engine/session"
)

// SSH implements session.Session.
func (s *Session) SSH(ctx context.Context, id string) (net.Conn, error) {
	client := sshforward.NewSSHClient(s.caller.Conn())
	check := s.caller.Context(ctx)
	if _, err := client.CheckAgent(check, &sshforward.CheckAgentRequest{ID: id}); err != nil {
		if check.Err() != nil {
			return nil, context.Cause(check)
		}
		// Clients have no code for it.
		return nil, fmt.Errorf("%w: %w", session.ErrNotFound, err)
	}
	// The connection may be used longer than this call.
	ctx, cancel := context.WithCancel(s.caller.Context(context.WithoutCancel(ctx)))
	stream, err := client.ForwardAgent(metadata.AppendToOutgoingContext(ctx, sshforward.KeySSHID, id))
	if err != nil {
		cancel()
		return nil, told(err)
	}
	return &conn{stream: stream, cancel: cancel}, nil
}

// conn is a connection that a caller forwards. It is read by one and written by one at a
// time.
type conn struct {
	stream sshforward.SSH_ForwardAgentClient
	cancel func()
	rest   []byte // received and not yet read
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		m, err := c.stream.Recv()
		if err != nil {
			return 0, err
		}
		c.rest = m.Data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// maxMessage is how many bytes are sent at a time.
const maxMessage = 32 << 10

// Write implements net.Conn.
func (c *conn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxMessage)]
		if err := c.stream.Send(&sshforward.BytesMessage{Data: part}); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

// CloseWrite tells the other side that no more comes.
func (c *conn) CloseWrite() error { return c.stream.CloseSend() }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.cancel()
	return nil
}

// LocalAddr implements net.Conn.
func (*conn) LocalAddr() net.Addr { return addr{} }

// RemoteAddr implements net.Conn.
func (*conn) RemoteAddr() net.Addr { return addr{} }

// SetDeadline implements net.Conn: there are none.
func (*conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn: there are none.
func (*conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn: there are none.
func (*conn) SetWriteDeadline(time.Time) error { return nil }

type addr struct{}

func (addr) Network() string { return "session" }
func (addr) String() string  { return "session" }
