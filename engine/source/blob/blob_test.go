package blob_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/blob"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// world has an image in a registry and in a layout, and a layer of it as a blob.
type world struct {
	*sourcetest.Env
	reg   *registrytest.Server
	src   *blob.Source
	dir   string // of the layout
	layer digest.Digest
	bytes string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Env: sourcetest.New(t), reg: registrytest.New(t), dir: t.TempDir()}
	img, err := random.Image(100_000, 1)
	check.OK(t, err)
	w.reg.Put(t, "app:1", img)
	path, err := layout.Write(w.dir, empty.Index)
	check.OK(t, err)
	check.OK(t, path.AppendImage(img))
	layers, err := img.Layers()
	check.OK(t, err)
	h, err := layers[0].Digest()
	check.OK(t, err)
	w.layer = digest.Digest(h.String())
	dt, err := os.ReadFile(filepath.Join(w.dir, "blobs", "sha256", h.Hex))
	check.OK(t, err)
	w.bytes = string(dt)
	reg, err := registry.New(registry.Options{Attempts: 1, Sessions: w.Sessions})
	check.OK(t, err)
	w.src = blob.New(blob.Options{Store: w.Store, Places: blob.Places{Registry: reg, Sessions: w.Sessions}})
	return w
}

func (w *world) build(t *testing.T) context.Context {
	return w.Build(t, local.Options{Layouts: map[string]string{"lent": w.dir}})
}

func op(id string, attrs ...string) *pb.SourceOp {
	o := &pb.SourceOp{Identifier: id, Attrs: map[string]string{}}
	for i := 0; i+1 < len(attrs); i += 2 {
		o.Attrs[attrs[i]] = attrs[i+1]
	}
	return o
}

// A blob is a file, from wherever it is; its key says how it is stored and not where it was.
func TestBlob(t *testing.T) {
	w := newWorld(t)
	from := map[string]*pb.SourceOp{
		"registry": op("docker-image+blob://" + w.reg.Host + "/app@" + w.layer.String()),
		"layout":   op("oci-layout+blob://not/real@"+w.layer.String(), pb.AttrOCILayoutStoreID, "lent"),
		"by name":  op("oci-layout+blob://lent@" + w.layer.String()),
	}
	keys := map[string]bool{}
	for where, o := range from {
		key, ref, err := sourcetest.Solve(w.build(t), t, w.src, o)
		check.OK(t, err)
		keys[key] = true
		f := sourcetest.Files(t, ref)[w.layer.Encoded()]
		check.Equal(t, where+": bytes", f.Text == w.bytes, true)
		check.Equal(t, where+": mode", f.Mode, 0o600)
	}
	check.Equal(t, "keys", len(keys), 1)
	o := from["registry"]
	o.Attrs = map[string]string{pb.AttrHTTPFilename: "a/layer.tgz", pb.AttrHTTPPerm: "0640", pb.AttrHTTPUID: "7", pb.AttrHTTPGID: "8"}
	key, ref, err := sourcetest.Solve(w.build(t), t, w.src, o)
	check.OK(t, err)
	check.Equal(t, "mode", sourcetest.Files(t, ref)["layer.tgz"].Mode, 0o640)
	check.Equal(t, "the same key", keys[key], false)
}

// Nobody is asked for a blob before it is needed.
func TestKeyAsksNobody(t *testing.T) {
	w := newWorld(t)
	w.reg.Requests("")
	in, err := w.src.Parse(op("docker-image+blob://"+w.reg.Host+"/app@"+w.layer.String()), nil)
	check.OK(t, err)
	_, done, err := in.CacheKey(w.build(t), 0)
	check.OK(t, err)
	check.Equal(t, "done", done, true)
	check.Equal(t, "requests", len(w.reg.Requests("")), 0)
	c := &provenance.Capture{}
	check.OK(t, in.(source.Describer).Describe(t.Context(), c))
	check.Equal(t, "noted", c.Sources.ImageBlobs[0].Digest, w.layer)
}

// What is damaged, missing or cannot be meant is an error, and no tree.
func TestBadBlobs(t *testing.T) {
	w := newWorld(t)
	none := digest.FromString("none").String()
	w.reg.Fault("/blobs/"+w.layer.String(), 1, registrytest.Corrupt)
	for _, c := range []struct {
		o    *pb.SourceOp
		says string
	}{
		{op("docker-image+blob://" + w.reg.Host + "/app@" + w.layer.String()), "blob digest mismatch"},
		{op("docker-image+blob://" + w.reg.Host + "/app@" + none), none},
		{op("docker-image+blob://" + w.reg.Host + "/app:1"), "name@digest"},
		{op("oci-layout+blob://lent@" + none), none},
		{op("oci-layout+blob://other@" + w.layer.String()), "other"},
		{op("docker-image+blob://app@"+w.layer.String(), pb.AttrOCILayoutStoreID, "lent"), "in no OCI layout"},
		{op("docker-image+blob://app@"+w.layer.String(), pb.AttrHTTPPerm, "04755"), "octal"},
		{op("docker-image+blob://app@"+w.layer.String(), pb.AttrImageRecordType, "odd"), "odd"},
		{op("docker-image+blob://app@"+w.layer.String(), "some", "thing"), "not known"},
		{op("docker-image+blob://" + strings.Repeat("a", 300) + "@" + w.layer.String()), "255"},
	} {
		_, _, err := sourcetest.Solve(w.build(t), t, w.src, c.o)
		check.Says(t, err, c.says)
	}
	left, err := w.Store.Du(t.Context())
	check.OK(t, err)
	check.Equal(t, "records", len(left), 0)
}
