package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	provenance "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/check"
)

// record is the record of a build.
func (d *daemon) record(ref string) *controlapi.BuildHistoryRecord {
	d.t.Helper()
	stream, err := d.ControlClient().ListenBuildHistory(d.t.Context(), &controlapi.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	check.OK(d.t, err)
	e, err := stream.Recv()
	check.OK(d.t, err)
	_, err = stream.Recv()
	check.Equal(d.t, "one record", errors.Is(err, io.EOF), true)
	return e.Record
}

// content reads what a record names.
func (d *daemon) content(desc *controlapi.Descriptor) []byte {
	d.t.Helper()
	dt, err := content.ReadBlob(d.t.Context(), proxy.NewContentStore(d.ContentClient()), ocispec.Descriptor{
		MediaType: desc.MediaType, Digest: digest.Digest(desc.Digest), Size: desc.Size,
	})
	check.OK(d.t, err)
	return dt
}

// A record has the images that a build has written and how it was built, whatever of that
// was exported. Clients read it until the record is deleted, and nothing else.
func TestHistoryOfResults(t *testing.T) {
	d := start(t)
	st := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte("text")))
	var tar bytes.Buffer
	_, _, err := d.solve(st, bkclient.SolveOpt{Ref: "build", Exports: append(toDir(t.TempDir()), bkclient.ExportEntry{
		Type: "oci", Output: func(map[string]string) (io.WriteCloser, error) { return nopCloser{&tar}, nil },
	})})
	check.OK(t, err)
	rec := d.record("build")
	check.Equal(t, "outputs", len(rec.Exporters), 2)
	check.Equal(t, "images", len(rec.Result.Results), 1)
	var manifest ocispec.Manifest
	check.OK(t, json.Unmarshal(d.content(rec.Result.Results[1]), &manifest))
	config := &controlapi.Descriptor{Digest: manifest.Config.Digest.String(), Size: manifest.Config.Size}
	check.Equal(t, "config", json.Valid(d.content(config)), true)

	check.Equal(t, "statements", len(rec.Result.Attestations), 1)
	said := rec.Result.Attestations[0]
	check.Equal(t, "kind", said.Annotations["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v1")
	var p provenance.ProvenancePredicateSLSA1
	check.OK(t, json.Unmarshal(d.content(said), &p))
	check.Equal(t, "of this build", p.RunDetails.Metadata.InvocationID, "build")
	check.Equal(t, "steps", len(p.BuildDefinition.InternalParameters.BuildConfig.Definition), 2)

	store := proxy.NewContentStore(d.ContentClient())
	layer := manifest.Layers[0]
	_, err = d.e.Store().Content().Info(d.e.Store().Context(t.Context()), layer.Digest)
	check.OK(t, err)
	_, err = store.Info(t.Context(), layer.Digest)
	check.Equal(t, "a layer is not found", errdefs.IsNotFound(err), true)
	_, err = d.ControlClient().UpdateBuildHistory(t.Context(), &controlapi.UpdateBuildHistoryRequest{Ref: "build", Delete: true})
	check.OK(t, err)
	for _, desc := range []*controlapi.Descriptor{rec.Result.Results[1], config, said} {
		_, err = store.Info(t.Context(), digest.Digest(desc.Digest))
		check.Equal(t, "gone", errdefs.IsNotFound(err), true)
	}
}

// dockerfile has a Dockerfile built by the daemon, with an input of another request.
func dockerfile(ctx context.Context, c gwclient.Client, text string, input *pb.Definition) (*gwclient.Result, error) {
	def, err := llb.Scratch().File(llb.Mkfile("Dockerfile", 0o644, []byte(text))).Marshal(ctx)
	if err != nil {
		return nil, err
	}
	req := gwclient.SolveRequest{Frontend: "dockerfile.v0", FrontendInputs: map[string]*pb.Definition{"dockerfile": def.ToPB()}}
	if input != nil {
		req.FrontendOpt = map[string]string{"context:other": "input:other"}
		req.FrontendInputs["other"] = input
	}
	return c.Solve(ctx, req)
}

// A client that has one build's result built upon by another build is told by which request
// it was made.
func TestProvenanceOfClient(t *testing.T) {
	d := start(t)
	_, err := d.Build(t.Context(), bkclient.SolveOpt{}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		res, err := dockerfile(ctx, c, "FROM scratch\nCOPY <<E /f\ntext\nE\n", nil)
		if err != nil {
			return nil, err
		}
		st, err := res.Ref.ToState()
		check.OK(t, err)
		made, err := st.Marshal(ctx)
		check.OK(t, err)
		_, err = d.Build(ctx, bkclient.SolveOpt{Ref: "upon"}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
			return dockerfile(ctx, c, "FROM scratch\nCOPY --from=other /f /g\n", made.ToPB())
		}, nil)
		return nil, err
	}, nil)
	check.OK(t, err)
	var p provenance.ProvenancePredicateSLSA1
	check.OK(t, json.Unmarshal(d.content(d.record("upon").Result.Attestations[0]), &p))
	in := p.BuildDefinition.ExternalParameters.Request.Inputs["other"]
	check.Equal(t, "input", in != nil && in.Request.Frontend == "dockerfile.v0", true)
}

// What a frontend says that is not UTF-8 is told and recorded all the same.
func TestAnswerThatIsNotText(t *testing.T) {
	d := start(t)
	res, err := d.Build(t.Context(), bkclient.SolveOpt{Ref: "bytes"}, "", func(context.Context, gwclient.Client) (*gwclient.Result, error) {
		res := gwclient.NewResult()
		res.AddMeta("frontend.x", []byte("a\xff"))
		return res, nil
	}, nil)
	check.OK(t, err)
	check.Equal(t, "answer", res.ExporterResponse["frontend.x"], "a\uFFFD")
	check.Equal(t, "record", d.record("bytes").ExporterResponse["frontend.x"], "a\uFFFD")
}

// Who listens to the history does not keep the daemon from ending, as start wants it to.
func TestListenerAtTheEnd(t *testing.T) {
	d := start(t)
	stream, err := d.ControlClient().ListenBuildHistory(context.WithoutCancel(t.Context()), &controlapi.BuildHistoryRequest{})
	check.OK(t, err)
	_, err = stream.Header()
	check.OK(t, err)
}
