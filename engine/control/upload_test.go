package control_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/internal/check"
)

// What a client uploads is a file of its build, read once, and for nobody else to name.
func TestUpload(t *testing.T) {
	d := start(t)
	up := uploadprovider.New()
	opt := bkclient.SolveOpt{Session: []session.Attachable{up}}
	text := strings.Repeat("text", 1<<20) // several messages
	st := llb.HTTP(up.Add(io.NopCloser(strings.NewReader(text))), llb.Filename("f"))
	out := t.TempDir()
	opt.Exports = toDir(out)
	both := llb.Scratch().File(llb.Copy(st, "f", "a")).File(llb.Copy(st, "f", "b"))
	_, _, err := d.solve(both, opt)
	check.OK(t, err)
	d.has(out, "a", text)
	d.has(out, "b", text)

	_, _, err = d.solve(st, bkclient.SolveOpt{Session: []session.Attachable{up}})
	check.Says(t, err, "no http response from session")
	_, _, err = d.solve(st, bkclient.SolveOpt{})
	check.Says(t, err, "Upload")

	url := up.Add(io.NopCloser(strings.NewReader("secret")))
	srv := httptest.NewServer(http.RedirectHandler(url, http.StatusFound))
	t.Cleanup(srv.Close)
	_, _, err = d.solve(llb.HTTP(srv.URL+"/f"), bkclient.SolveOpt{Session: []session.Attachable{up}})
	check.Says(t, err, "redirects to what the client uploads")
}

// A file of a server that a build has looked at is the one that it builds with, also if it
// has changed and the store was pruned. After the build it is not held.
func TestFileIsHeldByItsBuild(t *testing.T) {
	d := start(t)
	var text atomic.Value
	text.Store("one")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, text.Load().(string)) // the client may have gone
	}))
	t.Cleanup(srv.Close)
	out := t.TempDir()
	_, err := d.Build(t.Context(), bkclient.SolveOpt{Exports: toDir(out)}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		if _, err := c.ResolveSourceMetadata(ctx, &pb.SourceOp{Identifier: srv.URL + "/f"}, sourceresolver.Opt{}); err != nil {
			return nil, err
		}
		if err := d.Prune(ctx, nil); err != nil {
			return nil, err
		}
		text.Store("two")
		def, err := llb.HTTP(srv.URL + "/f").Marshal(ctx)
		if err != nil {
			return nil, err
		}
		return c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	}, nil)
	check.OK(t, err)
	d.has(out, "f", "one")
	check.OK(t, d.Prune(t.Context(), nil, bkclient.PruneAll))
	left, err := d.DiskUsage(t.Context())
	check.OK(t, err)
	check.Equal(t, "left", len(left), 0)
}
