package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/control"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/tracing"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// daemon is a server on a socket, and a client of it.
type daemon struct {
	*bkclient.Client
	t    *testing.T
	e    *engine.Engine
	addr string
	api  *control.Server
}

// start starts a daemon that ends with the test. Then no session is left.
func start(t *testing.T) *daemon { return startWith(t, nil) }

// startWith is start with traces.
func startWith(t *testing.T, traces *tracing.Sender) *daemon {
	t.Helper()
	testenv.Root(t)
	dir, err := os.MkdirTemp("", "control") // short enough for a socket's path
	check.OK(t, err)
	e, err := engine.Open(t.Context(), engine.Options{Root: filepath.Join(dir, "root"), Entitlements: []string{}})
	check.OK(t, err)
	h, err := history.Open(filepath.Join(dir, "history"), history.DefaultLimits)
	check.OK(t, err)
	api := control.New(control.Options{Engine: e, History: h, Traces: traces, Notice: func(text string) { t.Error(text) }, Version: &apitypes.BuildkitVersion{Version: "v0.0.0"}})
	s := grpc.NewServer(append(api.GRPCOptions(), grpc.Creds(control.Local()))...)
	api.Register(s)
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	check.OK(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	})
	c, err := bkclient.New(t.Context(), "unix://"+filepath.Join(dir, "sock"))
	check.OK(t, err)
	t.Cleanup(func() {
		api.End()
		s.GracefulStop()
		check.OK(t, c.Close())
		served.Wait()
		check.Equal(t, "active", e.Solver().Stats().Jobs, 0)
		check.OK(t, e.Close())
		check.OK(t, os.RemoveAll(dir))
	})
	return &daemon{c, t, e, "unix://" + l.Addr().String(), api}
}

// seen is what was told of a build.
type seen struct {
	cached, done map[string]bool // by name of the vertex
}

// solve solves a state, and says what was seen of it.
func (d *daemon) solve(st llb.State, opt bkclient.SolveOpt) (*bkclient.SolveResponse, seen, error) {
	d.t.Helper()
	def, err := st.Marshal(d.t.Context())
	check.OK(d.t, err)
	s := seen{cached: map[string]bool{}, done: map[string]bool{}}
	ch := make(chan *bkclient.SolveStatus)
	var read sync.WaitGroup
	read.Go(func() {
		for st := range ch {
			for _, v := range st.Vertexes {
				s.done[v.Name] = s.done[v.Name] || v.Completed != nil
				s.cached[v.Name] = s.cached[v.Name] || v.Cached
			}
		}
	})
	res, err := d.Solve(d.t.Context(), def, opt, ch)
	read.Wait()
	return res, s, err
}

func toDir(dir string) []bkclient.ExportEntry {
	return []bkclient.ExportEntry{{Type: "local", OutputDir: dir}}
}

func (d *daemon) has(dir, name, want string) {
	d.t.Helper()
	dt, err := os.ReadFile(filepath.Join(dir, name))
	check.OK(d.t, err)
	check.Equal(d.t, name, string(dt), want)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	check.OK(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
	check.OK(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

// A daemon that stops cancels builds, whose clients and records say why. Those that come are
// refused in the same words.
func TestCancel(t *testing.T) {
	d := start(t)
	why := "the daemon is stopping"
	_, err := d.Build(t.Context(), bkclient.SolveOpt{}, "", func(ctx context.Context, c gwclient.Client) (_ *gwclient.Result, err error) {
		for d.api.Cancel(); err == nil; {
			_, err = c.Solve(ctx, gwclient.SolveRequest{})
		}
		return nil, err
	}, nil)
	if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), why) {
		t.Errorf("the build under way fails with %v", err)
	}
	_, _, err = d.solve(llb.Scratch(), bkclient.SolveOpt{})
	if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "rpc error") {
		t.Errorf("the next one fails with %v", err)
	}
	events, err := d.ControlClient().ListenBuildHistory(t.Context(), &controlapi.BuildHistoryRequest{EarlyExit: true})
	check.OK(t, err)
	e, err := events.Recv()
	check.OK(t, err)
	if !strings.Contains(e.Record.Error.GetMessage(), why) {
		t.Errorf("the record has the error %v", e.Record.Error)
	}
}

// What a client asks for is built, shown and sent; the next time it is in the cache. The
// daemon tells what it is, what it keeps, and removes that.
func TestSolve(t *testing.T) {
	d := start(t)
	st := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte("text")), llb.WithCustomName("make"))
	for n := range 2 {
		out := t.TempDir()
		_, s, err := d.solve(st, bkclient.SolveOpt{Exports: toDir(out)})
		check.OK(t, err)
		d.has(out, "f", "text")
		check.Equal(t, "shown", s.done["make"], true)
		check.Equal(t, "cached", s.cached["make"], n == 1)
	}
	var tar bytes.Buffer
	_, _, err := d.solve(st, bkclient.SolveOpt{Exports: []bkclient.ExportEntry{{
		Type: "oci", Output: func(map[string]string) (io.WriteCloser, error) { return nopCloser{&tar}, nil },
	}}})
	check.OK(t, err)
	check.Equal(t, "an archive", tar.Len() > 1024, true)

	// The empty tree is built, too: no frontend is waited for.
	empty := t.TempDir()
	_, _, err = d.solve(llb.Scratch(), bkclient.SolveOpt{Exports: toDir(empty)})
	check.OK(t, err)
	list, err := os.ReadDir(empty)
	check.OK(t, err)
	check.Equal(t, "files", len(list), 0)

	info, err := d.Info(t.Context())
	check.OK(t, err)
	check.Equal(t, "version", info.BuildkitVersion.Version, "v0.0.0")
	workers, err := d.ListWorkers(t.Context())
	check.OK(t, err)
	check.Equal(t, "workers", len(workers), 1)
	none, err := d.ListWorkers(t.Context(), bkclient.WithFilter([]string{"id==other"}))
	check.OK(t, err)
	check.Equal(t, "workers of another name", len(none), 0)

	usage, err := d.DiskUsage(t.Context())
	check.OK(t, err)
	check.Equal(t, "records", len(usage) > 0, true)
	check.OK(t, d.Prune(t.Context(), nil, bkclient.PruneAll))
	usage, err = d.DiskUsage(t.Context())
	check.OK(t, err)
	check.Equal(t, "records after prune", len(usage), 0)
	_, err = d.DiskUsage(t.Context(), bkclient.WithFilter([]string{"type=="}))
	check.Says(t, err, "filter")
}

type nopCloser struct{ *bytes.Buffer }

func (nopCloser) Close() error { return nil }

// Builds are recorded, unless they are internal, with a log that can be read.
func TestHistory(t *testing.T) {
	d := start(t)
	st := llb.Scratch().File(llb.Mkfile("/f", 0o644, nil), llb.WithCustomName("make"))
	for ref, internal := range map[string]bool{"seen": false, "unseen": true} {
		_, _, err := d.solve(st, bkclient.SolveOpt{
			Ref: ref, Internal: internal,
			FrontendAttrs: map[string]string{"cache-imports": `[{"Type":"s3","Attrs":{"secret_access_key":"k"}}]`, "target": "app"},
		})
		check.OK(t, err)
	}
	records := func() (all []*controlapi.BuildHistoryRecord) {
		stream, err := d.ControlClient().ListenBuildHistory(t.Context(), &controlapi.BuildHistoryRequest{EarlyExit: true})
		check.OK(t, err)
		for {
			e, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return all
			}
			check.OK(t, err)
			all = append(all, e.Record)
		}
	}
	all := records()
	check.Equal(t, "records", len(all), 1)
	check.Equal(t, "record", all[0].Ref, "seen")
	check.Equal(t, "attributes", fmt.Sprint(all[0].FrontendAttrs), "map[target:app]")
	log, err := content.ReadBlob(t.Context(), proxy.NewContentStore(d.ContentClient()), ocispec.Descriptor{
		Digest: digest.Digest(all[0].Logs.Digest), Size: all[0].Logs.Size,
	})
	check.OK(t, err)
	check.Equal(t, "log has the step", bytes.Contains(log, []byte("make")), true)
	check.Says(t, proxy.NewContentStore(d.ContentClient()).Delete(t.Context(), digest.Digest(all[0].Logs.Digest)), "only to be read")

	again, err := d.ControlClient().Status(t.Context(), &controlapi.StatusRequest{Ref: "seen"})
	check.OK(t, err)
	steps := 0
	for {
		st, err := again.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		check.OK(t, err)
		steps += len(st.Vertexes)
	}
	check.Equal(t, "the status of a build that has ended has steps", steps > 0, true)

	_, err = d.ControlClient().UpdateBuildHistory(t.Context(), &controlapi.UpdateBuildHistoryRequest{Ref: "unseen", Pinned: true})
	check.Equal(t, "code", status.Code(err), codes.NotFound)
	_, err = d.ControlClient().UpdateBuildHistory(t.Context(), &controlapi.UpdateBuildHistoryRequest{Ref: "seen", Delete: true})
	check.OK(t, err)
	check.Equal(t, "records after that", len(records()), 0)
}

// A client's directory is sent, filtered, and only as far as it has changed. It may lead
// out of nothing.
func TestLocalDirectory(t *testing.T) {
	d := start(t)
	dir := t.TempDir()
	write(t, dir, "a", "1")
	write(t, dir, "sub/b", "2")
	write(t, dir, "no", "3")
	check.OK(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	in, err := fsutil.NewFS(dir)
	check.OK(t, err)
	build := func(want map[string]string) seen {
		t.Helper()
		out := t.TempDir()
		src := llb.Local("context", llb.ExcludePatterns([]string{"no"}))
		_, s, err := d.solve(llb.Scratch().File(llb.Copy(src, "/", "/"), llb.WithCustomName("copy")), bkclient.SolveOpt{
			LocalMounts: map[string]fsutil.FS{"context": in}, Exports: toDir(out), SharedKey: "key",
		})
		check.OK(t, err)
		for name, text := range want {
			d.has(out, name, text)
		}
		if _, err := os.Lstat(filepath.Join(out, "no")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what was excluded: %v", err)
		}
		to, err := os.Readlink(filepath.Join(out, "link"))
		check.OK(t, err)
		check.Equal(t, "link", to, "/etc/passwd")
		return s
	}
	build(map[string]string{"a": "1", "sub/b": "2"})
	s := build(map[string]string{"a": "1", "sub/b": "2"})
	check.Equal(t, "cached", s.cached["copy"], true)
	write(t, dir, "a", "other")
	check.OK(t, os.RemoveAll(filepath.Join(dir, "sub")))
	s = build(map[string]string{"a": "other"})
	check.Equal(t, "cached after a change", s.cached["copy"], false)

	_, _, err = d.solve(llb.Local("none"), bkclient.SolveOpt{})
	check.Says(t, err, "none")
}

// A client that is its own frontend reads from what was solved, and returns it.
func TestGateway(t *testing.T) {
	d := start(t)
	out := t.TempDir()
	st := llb.Scratch().File(llb.Mkdir("/d", 0o755)).File(llb.Mkfile("/d/f", 0o644, []byte("text")))
	_, err := d.Build(t.Context(), bkclient.SolveOpt{Exports: toDir(out)}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		def, err := st.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
		if err != nil {
			return nil, err
		}
		ref, err := res.SingleRef()
		if err != nil {
			return nil, err
		}
		dt, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "/d/f", Range: &gwclient.FileRange{Offset: 1, Length: 2}})
		if err != nil {
			return nil, err
		}
		check.Equal(t, "read", string(dt), "ex")
		list, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: "d"})
		if err != nil {
			return nil, err
		}
		check.Equal(t, "entries", len(list), 1)
		stat, err := ref.StatFile(ctx, gwclient.StatRequest{Path: "d/f"})
		if err != nil {
			return nil, err
		}
		check.Equal(t, "size", stat.Size, 4)
		if _, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "/none"}); err == nil {
			t.Error("a file that is not there was read")
		}
		again, err := ref.ToState()
		if err != nil {
			return nil, err
		}
		if def, err = again.File(llb.Mkfile("/more", 0o644, []byte("more"))).Marshal(ctx); err != nil {
			return nil, err
		}
		return c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	}, nil)
	check.OK(t, err)
	d.has(out, "d/f", "text")
	d.has(out, "more", "more")

	_, err = d.Build(t.Context(), bkclient.SolveOpt{}, "", func(context.Context, gwclient.Client) (*gwclient.Result, error) {
		return nil, errors.New("the frontend's own error")
	}, nil)
	check.Says(t, err, "the frontend's own error")
	_, err = d.GatewayClientForBuild("").Ping(t.Context(), &gwpb.PingRequest{})
	check.Says(t, err, "no buildid")
}

// An error says which vertex, op and line of the source it is about.
func TestErrorDetails(t *testing.T) {
	d := start(t)
	sm := llb.NewSourceMap(nil, "file.txt", "", []byte("one\ntwo\n"))
	st := llb.Scratch().File(llb.Rm("/none"), sm.Location([]*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}}))
	_, _, err := d.solve(st, bkclient.SolveOpt{})
	var vertex *errdefs.VertexError
	if !errors.As(err, &vertex) || !strings.HasPrefix(vertex.Digest, "sha256:") {
		t.Errorf("no vertex: %v", err)
	}
	var solve *errdefs.SolveError
	if !errors.As(err, &solve) || solve.Op.GetFile() == nil {
		t.Errorf("no op: %v", err)
	}
	sources := errdefs.Sources(err)
	check.Equal(t, "sources", len(sources), 1)
	check.Equal(t, "line", sources[0].Ranges[0].Start.Line, 2)
}

// One session serves builds one after the other and at the same time, and one that nobody
// knows is waited for, but not for ever.
func TestSharedSession(t *testing.T) {
	d := start(t)
	s, err := session.NewSession(t.Context(), "")
	check.OK(t, err)
	var runs sync.WaitGroup
	runs.Go(func() {
		if err := s.Run(t.Context(), d.Dialer()); err != nil {
			t.Error(err)
		}
	})
	var builds sync.WaitGroup
	for n := range 4 {
		builds.Go(func() {
			st := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte{byte(n % 2)}))
			if _, _, err := d.solve(st, bkclient.SolveOpt{SharedSession: s, SessionPreInitialized: true}); err != nil {
				t.Error(err)
			}
		})
	}
	builds.Wait()
	check.OK(t, s.Close())
	runs.Wait()
}

// What a request cannot be is refused, for that request alone.
func TestBadRequests(t *testing.T) {
	d := start(t)
	for _, c := range []struct {
		req  *controlapi.SolveRequest
		code codes.Code
		says string
	}{
		{&controlapi.SolveRequest{}, codes.InvalidArgument, "Ref"},
		{&controlapi.SolveRequest{Ref: "a", Frontend: "none"}, codes.Unknown, "none"},
		{&controlapi.SolveRequest{Ref: "a", Frontend: "dockerfile.v0", Entitlements: []string{"network.host"}}, codes.Unknown, "network.host is not allowed"},
		{&controlapi.SolveRequest{Ref: "a", Exporters: []*controlapi.Exporter{{Type: "none"}}}, codes.Unknown, "none"},
		{&controlapi.SolveRequest{Ref: "a", Exporters: []*controlapi.Exporter{nil}}, codes.Unknown, "output"},
		{&controlapi.SolveRequest{Ref: "a", Frontend: "dockerfile.v0", CompatibilityVersion: 15}, codes.Unknown, "unsupported compatibility-version 15"},
		{&controlapi.SolveRequest{Ref: "a", Frontend: "dockerfile.v0", CompatibilityVersion: 10, Exporters: []*controlapi.Exporter{{Type: "image", Attrs: map[string]string{"compression": "zstd"}}}}, codes.Unknown, "unsupported compatibility-version 10 feature image exporter compression=zstd"},
		{&controlapi.SolveRequest{Ref: "a", SourcePolicy: &spb.Policy{Rules: []*spb.Rule{nil}}}, codes.Unknown, "in policy"},
	} {
		_, err := d.ControlClient().Solve(t.Context(), c.req)
		check.Says(t, err, c.says)
		check.Equal(t, c.says, status.Code(err), c.code)
	}
	st, err := d.ControlClient().Status(t.Context(), &controlapi.StatusRequest{Ref: "nobody's"})
	check.OK(t, err)
	_, err = st.Recv()
	check.Equal(t, "status of no build", status.Code(err), codes.NotFound)
}

// Who asks for the status of a build that is refused before it begins is told that there is
// no more to come, and does not wait for it to begin.
func TestStatusOfRefused(t *testing.T) {
	d := start(t)
	st, err := d.ControlClient().Status(t.Context(), &controlapi.StatusRequest{Ref: "a"})
	check.OK(t, err)
	_, err = st.Header()
	check.OK(t, err)
	_, err = d.ControlClient().Solve(t.Context(), &controlapi.SolveRequest{Ref: "a", Exporters: []*controlapi.Exporter{{Type: "none"}}})
	check.Says(t, err, "none")
	_, err = st.Recv()
	check.Equal(t, "the end", err, io.EOF)
}

// The text of an error has the words that programs know from BuildKit.
func TestErrorWords(t *testing.T) {
	d := start(t)
	nothing := llb.Scratch().File(llb.Mkfile("/a", 0o644, nil))
	for want, st := range map[string]llb.State{
		`failed to solve: failed to compute cache key: failed to calculate checksum of ref `: nothing.File(llb.Copy(nothing, "/none", "/")),
		`: "/none": not found in `:                        nothing.File(llb.Copy(nothing, "/none", "/")),
		"failed to solve: secret s: not found: ":          nothing.Run(llb.Args([]string{"x"}), llb.AddSecret("/s", llb.SecretID("s"))).Root(),
		`failed to solve: no SSH key "k" forwarded from `: nothing.Run(llb.Args([]string{"x"}), llb.AddSSHSocket(llb.SSHID("k"))).Root(),
	} {
		_, _, err := d.solve(st, bkclient.SolveOpt{})
		check.Says(t, err, want)
	}
}

// What a frontend is asked for is evaluated where that is asked for, too; a Dockerfile may
// tell the linter what to do; one that needs no context needs none to be lent.
func TestFrontendInGateway(t *testing.T) {
	d := start(t)
	for file, want := range map[string]string{
		"# check=skip=all\nFROM scratch\nMAINTAINER a\n":         "",
		"FROM scratch AS s\nFROM scratch\nCOPY --from=s /a /b\n": `"/a": not found`,
	} {
		_, err := d.Build(t.Context(), bkclient.SolveOpt{}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
			def, err := llb.Scratch().File(llb.Mkfile("Dockerfile", 0o644, []byte(file))).Marshal(ctx)
			if err != nil {
				return nil, err
			}
			return c.Solve(ctx, gwclient.SolveRequest{
				Frontend: "dockerfile.v0", Evaluate: want != "",
				FrontendInputs: map[string]*pb.Definition{"dockerfile": def.ToPB()},
			})
		}, nil)
		if want == "" {
			check.OK(t, err)
		} else {
			check.Says(t, err, want)
		}
	}
}

// A cache that cannot be read, or that may fail to be written, is told of and passed over;
// one that must be written is an error. A result that is not for the platform that was asked
// for is warned of.
func TestPassedOver(t *testing.T) {
	d := start(t)
	st := llb.Scratch().File(llb.Mkfile("/f", 0o644, nil)).File(llb.Mkfile("/g", 0o644, nil))
	cache := func(ignore string) []bkclient.CacheOptionsEntry {
		return []bkclient.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": "127.0.0.1:1/c", "ignore-error": ignore}}}
	}
	_, s, err := d.solve(st, bkclient.SolveOpt{CacheImports: cache(""), CacheExports: cache("true")})
	check.OK(t, err)
	for _, name := range []string{"importing cache manifest from 127.0.0.1:1/c", "exporting cache to 127.0.0.1:1/c"} {
		check.Equal(t, name, s.done[name], true)
	}
	_, _, err = d.solve(st, bkclient.SolveOpt{CacheExports: cache("false")})
	check.Says(t, err, "exporting cache to 127.0.0.1:1/c: resolve 127.0.0.1:1/c:latest")

	warned := make(chan []*bkclient.VertexWarning, 1)
	ch := make(chan *bkclient.SolveStatus)
	go func() {
		var all []*bkclient.VertexWarning
		for st := range ch {
			all = append(all, st.Warnings...)
		}
		warned <- all
	}()
	def, err := st.Marshal(t.Context())
	check.OK(t, err)
	_, err = d.Build(t.Context(), bkclient.SolveOpt{FrontendAttrs: map[string]string{"platform": "linux/arm64"}}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
		if err == nil {
			res.AddMeta("refs.platforms", []byte(`{"Platforms":[{"ID":"linux/amd64","Platform":{"os":"linux","architecture":"amd64"}}]}`))
		}
		return res, err
	}, ch)
	check.OK(t, err)
	all := <-warned
	check.Equal(t, "warnings", len(all), 1)
	check.Equal(t, "warning", string(all[0].Short), "Requested platform \"linux/arm64\" does not match result platform \"linux/amd64\"")
}

// What is warned of for all platforms is told, however soon the build of one of them fails.
func TestWarningsOfPlatforms(t *testing.T) {
	d := start(t)
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "FROM --platform=$BULIDPLATFORM scratch\nCOPY Dockerfile .\n")
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	for range 5 {
		warnings := 0
		status := make(chan *bkclient.SolveStatus)
		var read sync.WaitGroup
		read.Go(func() {
			for st := range status {
				warnings += len(st.Warnings)
			}
		})
		_, err := d.Solve(t.Context(), nil, bkclient.SolveOpt{
			Frontend:      "dockerfile.v0",
			FrontendAttrs: map[string]string{"platform": "linux/amd64,linux/arm64,linux/s390x"},
			LocalMounts:   map[string]fsutil.FS{"dockerfile": fs, "context": fs},
		}, status)
		read.Wait()
		check.Says(t, err, "empty platform value")
		check.Equal(t, "warnings", warnings, 1)
	}
}
