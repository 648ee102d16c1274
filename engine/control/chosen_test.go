package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	sessionexporter "github.com/moby/buildkit/session/exporter"
	"github.com/moby/buildkit/session/exporter/exporterprovider"
	"github.com/moby/buildkit/session/filesync"

	"github.com/tenonbuild/tenon/internal/check"
)

// A session may choose exporters when it sees the result, and refuse what they have said.
func TestChosenExporters(t *testing.T) {
	d := start(t)
	def, err := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte("text"))).Marshal(t.Context())
	check.OK(t, err)
	frontend := func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		return c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	}
	for name, c := range map[string]struct {
		kind    string
		refused error
		want    string
	}{
		"both":    {kind: "oci"},
		"unknown": {kind: "paper", want: "paper"},
		"refused": {kind: "oci", refused: errors.New("not this way"), want: "not this way"},
	} {
		var tar bytes.Buffer
		target := filesync.NewFSSyncTarget()
		told := map[string]string{}
		choose := exporterprovider.New(func(ctx context.Context, _ map[string][]byte, refs []string) ([]*sessionexporter.ExporterRequest, error) {
			check.Equal(t, "references", len(refs), 1)
			f, err := d.GatewayClientForBuild(name).ReadFile(ctx, &gwpb.ReadFileRequest{Ref: refs[0], FilePath: "/f"})
			if err != nil {
				return nil, err
			}
			check.Equal(t, "file", string(f.Data), "text")
			target.Add(filesync.WithFSSync(1, func(map[string]string) (io.WriteCloser, error) { return nopCloser{&tar}, nil }))
			return []*sessionexporter.ExporterRequest{{Type: c.kind}}, nil
		}, exporterprovider.WithFinalizeCallback(func(_ context.Context, response map[string]string) error {
			told = response
			return c.refused
		}))
		_, err := d.Build(t.Context(), bkclient.SolveOpt{
			Ref: name, EnableSessionExporter: true, Session: []session.Attachable{target, choose},
			Exports: []bkclient.ExportEntry{{Type: "image", Attrs: map[string]string{"name": "example.com/a"}}},
		}, "", frontend, nil)
		if c.want != "" {
			check.Says(t, err, c.want)
			continue
		}
		check.OK(t, err)
		check.Equal(t, "an archive", tar.Len() > 1024, true)
		check.Equal(t, "what was told", told["containerimage.digest"] != "", true)
		check.Equal(t, "images in the record", len(d.record(name).Result.Results), 2)
	}
	// One that does not choose has what the request asks for.
	dir := t.TempDir()
	_, err = d.Solve(t.Context(), def, bkclient.SolveOpt{EnableSessionExporter: true, Exports: toDir(dir)}, nil)
	check.OK(t, err)
	d.has(dir, "f", "text")
}
