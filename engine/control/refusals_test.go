package control_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/control"
	"github.com/tenonbuild/tenon/internal/check"
)

// What a client asks for and does not take as one message is an error that says so.
func TestTooLargeAnswer(t *testing.T) {
	d := start(t)
	dir := t.TempDir()
	write(t, dir, "large", strings.Repeat("0123456789abcdef", 1<<20+1))
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	_, err = d.Build(t.Context(), bkclient.SolveOpt{LocalMounts: map[string]fsutil.FS{"dir": fs}}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		def, err := llb.Local("dir").Marshal(ctx)
		if err != nil {
			return nil, err
		}
		res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
		if err != nil {
			return nil, err
		}
		part, err := res.Ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "large", Range: &gwclient.FileRange{Length: 1 << 20}})
		if err != nil {
			return nil, err
		}
		check.Equal(t, "part", len(part), 1<<20)
		_, err = res.Ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "large"})
		return nil, err
	}, nil)
	check.Says(t, err, "the answer has 16777237 bytes, and clients take 16777216 as one message")
}

// What is wrong with a request is said without gRPC's own words, also where a stream ends by it.
func TestRefusalsAreReadable(t *testing.T) {
	d := start(t)
	_, err := d.DiskUsage(t.Context(), bkclient.WithFilter([]string{"foo=bar"}))
	pruned := d.Prune(t.Context(), nil, bkclient.WithFilter([]string{"foo=bar"}))
	for _, err := range []error{err, pruned} {
		if err == nil || !strings.Contains(err.Error(), `filter "foo=bar": there is no key`) || strings.Contains(err.Error(), "desc = rpc error") {
			t.Errorf("got %v", err)
		}
	}
}

// A filter that asks for what no record has matches none, and is no mistake, as with buildkitd.
func TestUnknownFilter(t *testing.T) {
	d := start(t)
	_, _, err := d.solve(llb.Scratch().File(llb.Mkfile("/f", 0o644, nil)), bkclient.SolveOpt{})
	check.OK(t, err)
	for filter, some := range map[string]bool{"foo==bar": false, "foo": false, "foo!=bar": true} {
		list, err := d.DiskUsage(t.Context(), bkclient.WithFilter([]string{filter}))
		check.OK(t, err)
		check.Equal(t, filter, len(list) > 0, some)
	}
	check.OK(t, d.Prune(t.Context(), nil, bkclient.PruneAll, bkclient.WithFilter([]string{"foo==bar"})))
	list, err := d.DiskUsage(t.Context())
	check.OK(t, err)
	check.Equal(t, "something is left", len(list) > 0, true)
	check.OK(t, d.Prune(t.Context(), nil, bkclient.PruneAll, bkclient.WithFilter([]string{"foo!=bar"})))
}

// A build that nobody asks about ends at once, also if it is refused. Who asks afterwards is told
// what happened.
func TestNobodyAsks(t *testing.T) {
	t.Cleanup(control.SetStatusWait(time.Hour)) // no test would wait so long
	d := start(t)
	def, err := llb.Scratch().File(llb.Mkfile("/f", 0o644, nil), llb.WithCustomName("the file")).Marshal(t.Context())
	check.OK(t, err)
	for _, req := range []*controlapi.SolveRequest{
		{Ref: "built", Definition: def.ToPB()},
		{Ref: "damaged", Definition: &pb.Definition{Def: [][]byte{{1}}}},
		{Ref: "nobody's", Frontend: "none"},
		{Ref: "not recorded", Frontend: "none", Internal: true},
	} {
		_, err := d.ControlClient().Solve(t.Context(), req)
		check.Equal(t, req.Ref+" fails", err != nil, req.Ref != "built")
	}
	for ref, says := range map[string]string{"built": "the file", "damaged": "", "nobody's": ""} {
		st, err := d.ControlClient().Status(t.Context(), &controlapi.StatusRequest{Ref: ref})
		check.OK(t, err)
		name := ""
		for {
			m, err := st.Recv()
			if err == io.EOF {
				break
			}
			check.OK(t, err)
			for _, v := range m.Vertexes {
				name = v.Name
			}
		}
		check.Equal(t, ref, name, says)
	}
}
