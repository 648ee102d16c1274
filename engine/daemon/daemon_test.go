package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/control"
	"github.com/tenonbuild/tenon/engine/daemon"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/ownersocket"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// start starts a daemon on a root of its own, and returns its engine and a client. Both end
// with the test.
func start(t *testing.T) (*engine.Engine, *daemon.Client) {
	t.Helper()
	testenv.Root(t)
	e, err := engine.Open(t.Context(), engine.Options{Root: filepath.Join(t.TempDir(), "root")})
	check.OK(t, err)
	questions := engine.Questions(e.Store().Root())
	_, err = daemon.Owner(t.Context(), questions)
	check.Equal(t, "no daemon yet", errors.Is(err, daemon.ErrNone), true)

	h, err := history.Open(t.TempDir(), history.DefaultLimits)
	check.OK(t, err)
	api := control.New(control.Options{Engine: e, History: h, Notice: func(text string) { t.Error(text) }, Version: &apitypes.BuildkitVersion{Version: "v0.0.0"}})
	s := grpc.NewServer(append(api.GRPCOptions(), grpc.Creds(control.Local()))...)
	api.Register(s)
	l, err := ownersocket.Listen(questions, daemon.SocketName, 10)
	check.OK(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	})
	c, err := daemon.Owner(t.Context(), questions)
	check.OK(t, err)
	t.Cleanup(func() {
		check.OK(t, c.Close())
		s.GracefulStop()
		served.Wait()
		check.Equal(t, "active", e.Solver().Stats().Jobs, 0)
		check.OK(t, e.Close())
		_, err := daemon.Owner(context.Background(), questions)
		check.Equal(t, "no daemon any more", errors.Is(err, daemon.ErrNone), true)
	})
	return e, c
}

// outcomes reads a stream, and returns how each vertex has ended, by name.
func outcomes(ch <-chan *client.SolveStatus) map[string]client.Outcome {
	out := map[string]client.Outcome{}
	for st := range ch {
		for _, v := range st.Vertexes {
			out[v.Name] = v.Outcome
		}
	}
	return out
}

type writer struct{ bytes.Buffer }

func (*writer) Close() error { return nil }

// A request has the same results with a daemon as with the engine.
func TestSame(t *testing.T) {
	e, c := start(t)
	dir := t.TempDir()
	check.OK(t, os.WriteFile(dir+"/Dockerfile", []byte("FROM scratch AS base\nCOPY a /b\nFROM scratch\nCOPY --from=base b /c\n"), 0o644))
	check.OK(t, os.WriteFile(dir+"/a", []byte("text"), 0o644))
	for _, with := range []struct {
		name string
		b    interface {
			Build(context.Context, engine.Request) (*engine.Response, error)
		}
		cached client.Outcome
	}{{"engine", e, client.Executed}, {"daemon", c, client.Executed}, {"daemon again", c, client.Cached}} {
		sess, err := local.New(t.Context(), local.Options{Dirs: map[string]string{"context": dir, "dockerfile": dir}})
		check.OK(t, err)
		to, layout := t.TempDir(), filepath.Join(t.TempDir(), "layout")
		var tar writer
		status := make(chan *client.SolveStatus)
		told := make(chan map[string]client.Outcome, 1)
		go func() { told <- outcomes(status) }()
		res, err := with.b.Build(t.Context(), engine.Request{
			Frontend: "dockerfile.v0", Session: sess, Status: status,
			Exports: []export.Request{
				{Type: "local", Dir: to},
				{Type: "tar", Open: func(context.Context, map[string]string) (io.WriteCloser, error) { return &tar, nil }},
				{Type: "oci", Dir: layout, Attrs: map[string]string{"name": "x.example/app:1", "tar": "false"}},
				{Type: "cacheonly"},
				{Type: "image", Attrs: map[string]string{"name": "docker.io/library/app:1"}},
			},
		})
		check.OK(t, err)
		dt, err := os.ReadFile(to + "/c")
		check.OK(t, err)
		check.Equal(t, with.name, string(dt), "text")
		check.Equal(t, with.name+": archive", tar.Len() > 1024, true)
		check.Equal(t, with.name+": exporters", len(res.Exporters), 5)
		id := res.Exporters[4][exptypes.ExporterImageConfigDigestKey]
		check.Equal(t, with.name+": image", id != "", true)
		index, err := local.LayoutIndex(layout)
		check.OK(t, err)
		check.Equal(t, with.name+": images in the layout", len(index.Manifests), 1)
		got := <-told
		if with.name != "daemon" { // its context comes another way, so the copy may run again
			check.Equal(t, with.name, got["[stage-1 1/1] COPY --from=base b /c"], with.cached)
		}
		check.Equal(t, with.name+": every vertex has ended", got["[internal] load build definition from Dockerfile"] != "", true)
		// What a frontend is asked arrives, too.
		res, err = with.b.Build(t.Context(), engine.Request{
			Frontend: "dockerfile.v0", Session: sess, FrontendAttrs: map[string]string{"requestid": "frontend.targets"},
		})
		check.OK(t, err)
		check.Equal(t, with.name+": targets", bytes.Contains(res.Metadata["result.json"], []byte("base")), true)
	}
	img, err := e.Images().List(t.Context())
	check.OK(t, err)
	check.Equal(t, "images", len(img), 1)
}

// An error says which vertex and line it is about, as that of an engine.
func TestErrors(t *testing.T) {
	e, c := start(t)
	sm := llb.NewSourceMap(nil, "file.txt", "", []byte("one\ntwo\n"))
	def, err := llb.Scratch().File(llb.Rm("/none"), sm.Location([]*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}})).Marshal(t.Context())
	check.OK(t, err)
	var digests []string
	for _, build := range []func(context.Context, engine.Request) (*engine.Response, error){e.Build, c.Build} {
		_, err := build(t.Context(), engine.Request{Definition: def.ToPB()})
		check.Says(t, err, "none")
		var ve *solver.VertexError
		check.Equal(t, "has a vertex", errors.As(err, &ve), true)
		digests = append(digests, ve.Digest.String())
		sources := errdefs.Sources(err)
		check.Equal(t, "sources", len(sources), 1)
		check.Equal(t, "line", sources[0].Ranges[0].Start.Line, 2)
	}
	check.Equal(t, "vertex", digests[1], digests[0])

	ctx, cancel := context.WithCancelCause(t.Context())
	own := errors.New("own reason")
	cancel(own)
	_, err = c.Build(ctx, engine.Request{Definition: def.ToPB()})
	check.Equal(t, "the cause", errors.Is(err, own), true)
	for name, req := range map[string]engine.Request{
		"session":  {Definition: def.ToPB(), SessionID: "x"},
		"caller":   {Definition: def.ToPB(), Exports: []export.Request{{Type: "local", Remote: struct{ export.Remote }{}}}},
		"frontend": {Frontend: "none"},
		"output":   {Definition: def.ToPB(), Exports: []export.Request{{Type: "none"}}},
	} {
		status := make(chan *client.SolveStatus)
		req.Status = status
		ended := make(chan struct{})
		go func() { outcomes(status); close(ended) }()
		_, err := c.Build(t.Context(), req)
		check.Says(t, err, name)
		<-ended // the stream, whatever the error
	}
}

// Files of equal names, sizes and times are not taken for each other: neither those of two
// directories, nor those that are on no disk.
func TestSimilarDirectories(t *testing.T) {
	_, c := start(t)
	def, err := llb.Scratch().File(llb.Copy(llb.Local("context"), "/f", "/f")).Marshal(t.Context())
	check.OK(t, err)
	built := func(opt local.Options) string {
		t.Helper()
		sess, err := local.New(t.Context(), opt)
		check.OK(t, err)
		out := t.TempDir()
		_, err = c.Build(t.Context(), engine.Request{Definition: def.ToPB(), Session: sess, Exports: []export.Request{{Type: "local", Dir: out}}})
		check.OK(t, err)
		dt, err := os.ReadFile(out + "/f")
		check.OK(t, err)
		return string(dt)
	}
	for _, text := range []string{"one", "two"} {
		dir := t.TempDir()
		check.OK(t, os.WriteFile(dir+"/f", []byte(text), 0o644))
		check.OK(t, os.Chtimes(dir+"/f", time.Unix(1, 0), time.Unix(1, 0)))
		check.Equal(t, "on a disk", built(local.Options{Dirs: map[string]string{"context": dir}}), text)
		tree, err := fsutil.NewFS(dir)
		check.OK(t, err)
		check.Equal(t, "on none", built(local.Options{Trees: map[string]fsutil.FS{"context": tree}}), text)
	}
}

// NoCache runs again what is in the cache. Prune removes records.
func TestNoCacheAndPrune(t *testing.T) {
	_, c := start(t)
	def, err := llb.Scratch().File(llb.Mkfile("/f", 0o644, nil), llb.WithCustomName("make")).Marshal(t.Context())
	check.OK(t, err)
	for i, want := range []client.Outcome{client.Executed, client.Cached, client.Executed} {
		status := make(chan *client.SolveStatus)
		told := make(chan map[string]client.Outcome, 1)
		go func() { told <- outcomes(status) }()
		_, err := c.Build(t.Context(), engine.Request{Definition: def.ToPB(), NoCache: i == 2, Status: status})
		check.OK(t, err)
		check.Equal(t, "outcome", (<-told)["make"], want)
	}
	check.Equal(t, "the definition is the caller's", len(def.ToPB().Metadata), len(def.Metadata))
	n := 0
	check.OK(t, c.Prune(t.Context(), store.PruneOptions{All: true}, func(u store.UsageInfo) { n++ }))
	check.Equal(t, "removed", n > 0, true)
	check.Says(t, c.Prune(t.Context(), store.PruneOptions{DryRun: true}, nil), "dry-run")
}
