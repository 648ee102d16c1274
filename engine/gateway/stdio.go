package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// exitWait is how long a frontend's process may go on when it has returned its result.
const exitWait = 10 * time.Second

// errHungUp is why a frontend is killed that has closed its connection.
var errHungUp = errors.New("frontend grpc server closed unexpectedly")

// run runs a frontend until it ends, and returns what it has returned.
func run(ctx context.Context, c Client, img *image) (_ *gwclient.Result, err error) {
	b := New(c)
	defer func() { err = errors.Join(err, b.Close(ctx)) }()
	req, err := img.process(c.BuildOpts())
	if err != nil {
		return nil, err
	}
	ctr, err := img.container(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := ctr.Release(context.WithoutCancel(ctx)); !errors.Is(e, context.Canceled) { // killed, below
			err = errors.Join(err, e)
		}
	}()
	conn, err := pipes(&req)
	if err != nil {
		return nil, err
	}
	said := &tail{max: 4 << 10}
	req.Stderr = said

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var served sync.WaitGroup
	served.Go(func() {
		b.serve(conn)
		stop(errHungUp)
	})
	defer served.Wait()
	defer conn.Close()
	proc, err := ctr.Start(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("the frontend %s: %w", img.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- proc.Wait() }()
	err = b.wait(ctx, ended)
	select {
	case <-b.returned:
		if b.err != nil {
			return nil, b.err // says more than how the process ended
		}
	default:
		if err == nil {
			err = errors.New("it has ended and has returned nothing")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the frontend %s: %w%s", img.name, err, said)
	}
	return b.result, nil
}

// wait returns when the process has ended, or need not be waited for.
func (b *Bridge) wait(ctx context.Context, ended <-chan error) error {
	select {
	case err := <-ended:
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	case <-b.returned:
	}
	select {
	case err := <-ended:
		if errors.Is(context.Cause(ctx), errHungUp) {
			return nil // it had nothing more to say
		}
		return err
	case <-time.After(exitWait):
		return nil
	}
}

// pipes makes the standard input and output of a process, and the other ends of them.
func pipes(req *gwclient.StartRequest) (net.Conn, error) {
	in, toIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromOut, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), toIn.Close())
	}
	req.Stdin, req.Stdout = in, out
	return &stdio{File: fromOut, to: toIn, theirs: []*os.File{in, out}}, nil
}

// stdio is a connection to a process: it reads from the output and writes to the input.
type stdio struct {
	*os.File
	to     *os.File
	theirs []*os.File // the process's ends, as far as this process has them
	once   sync.Once
}

var _ net.Conn = (*stdio)(nil)

func (s *stdio) Write(dt []byte) (int, error) { return s.to.Write(dt) }

func (s *stdio) Close() (err error) {
	s.once.Do(func() {
		err = errors.Join(s.File.Close(), s.to.Close())
		for _, f := range s.theirs {
			_ = f.Close() // the executor may have
		}
	})
	return err
}

func (s *stdio) LocalAddr() net.Addr                { return stdioAddr{} }
func (s *stdio) RemoteAddr() net.Addr               { return stdioAddr{} }
func (s *stdio) SetWriteDeadline(t time.Time) error { return s.to.SetWriteDeadline(t) }
func (s *stdio) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

type stdioAddr struct{}

func (stdioAddr) Network() string { return "pipe" }
func (stdioAddr) String() string  { return "localhost" }

// serve serves the API on a connection until it ends.
func (b *Bridge) serve(conn net.Conn) {
	s := grpc.NewServer(append(Recovering(nil),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize))...)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	gwpb.RegisterLLBBridgeServer(s, b)
	quiet := &http.Server{ErrorLog: log.New(io.Discard, "", 0)} // how the process ended says more
	(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: s, BaseConfig: quiet})
	s.Stop()
}

// tail keeps the end of what is written.
type tail struct {
	max int
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) Write(dt []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, dt[max(0, len(dt)-t.max):]...)
	t.buf = t.buf[max(0, len(t.buf)-t.max):]
	return len(dt), nil
}

func (*tail) Close() error { return nil }

// String is what was said last, as the end of a message.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.buf)); text != "" {
		return ": it said last: " + text
	}
	return ""
}
