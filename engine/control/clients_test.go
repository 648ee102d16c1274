package control_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tenonbuild/tenon/internal/check"
)

// another is a client that is another user's.
func (d *daemon) another() *bkclient.Client {
	d.t.Helper()
	sock := strings.TrimPrefix(d.addr, "unix://")
	check.OK(d.t, os.Chmod(sock, 0o777))
	check.OK(d.t, os.Chmod(filepath.Dir(sock), 0o755))
	c, err := bkclient.New(d.t.Context(), d.addr, bkclient.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		type dialed struct {
			conn net.Conn
			err  error
		}
		done := make(chan dialed)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with this
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
				done <- dialed{err: e}
				return
			}
			conn, err := net.Dial("unix", sock)
			done <- dialed{conn, err}
		}()
		got := <-done
		return got.conn, got.err
	}))
	check.OK(d.t, err)
	d.t.Cleanup(func() { check.OK(d.t, c.Close()) })
	return c
}

// A session lends nothing to builds of another client's, whatever these know of it: not as
// theirs, not where a definition, a question or a policy names it.
func TestSessionOfAnotherClient(t *testing.T) {
	d := start(t)
	other := d.another()
	dir := t.TempDir()
	write(t, dir, "secret", "text")
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	s, err := session.NewSession(t.Context(), "")
	check.OK(t, err)
	s.Allow(filesync.NewFSSyncProvider(filesync.StaticDirSource{"context": fs}))
	var runs sync.WaitGroup
	runs.Go(func() {
		if err := s.Run(t.Context(), d.Dialer()); err != nil {
			t.Error(err)
		}
	})
	_, err = d.e.Sessions().Wait(t.Context(), s.ID())
	check.OK(t, err)
	marshal := func(st llb.State) *llb.Definition {
		def, err := st.Marshal(t.Context())
		check.OK(t, err)
		return def
	}
	nothing := marshal(llb.Scratch().File(llb.Mkfile("/f", 0o644, nil)))
	of := marshal(llb.Local("context", llb.SessionID(s.ID())))
	image := marshal(llb.Image("x"))
	for name, req := range map[string]*controlapi.SolveRequest{
		"its own": {Session: s.ID(), Definition: nothing.ToPB()},
		"LLB":     {Definition: of.ToPB()},
		"policy":  {SourcePolicySession: s.ID(), Definition: image.ToPB()},
	} {
		req.Ref = name
		_, err := other.ControlClient().Solve(t.Context(), req)
		check.Says(t, err, "is another client's")
		check.Equal(t, name, status.Code(err), codes.PermissionDenied)
	}
	_, err = other.Build(t.Context(), bkclient.SolveOpt{}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		return c.Solve(ctx, gwclient.SolveRequest{Definition: of.ToPB()})
	}, nil)
	check.Says(t, err, "is another client's")

	_, err = d.ControlClient().Solve(t.Context(), &controlapi.SolveRequest{Ref: "mine", Definition: of.ToPB()})
	check.OK(t, err)
	check.OK(t, s.Close())
	runs.Wait()
}

// A build that its client drives is driven by nobody else, who may know its name from the
// records of builds.
func TestBuildOfAnotherClient(t *testing.T) {
	d := start(t)
	other := d.another()
	_, err := d.Build(t.Context(), bkclient.SolveOpt{Ref: "mine"}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		stolen := other.GatewayClientForBuild("mine")
		_, err := stolen.Ping(t.Context(), &gwpb.PingRequest{})
		check.Equal(t, "a call", status.Code(err), codes.PermissionDenied)
		stream, err := stolen.ExecProcess(t.Context())
		check.OK(t, err)
		_, err = stream.Recv()
		check.Equal(t, "a stream", status.Code(err), codes.PermissionDenied)
		return gwclient.NewResult(), nil
	}, nil)
	check.OK(t, err)
}
