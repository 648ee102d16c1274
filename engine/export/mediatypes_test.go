package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/solver/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/internal/check"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// written is the manifest of what an exporter writes into a layout.
func written(t *testing.T, deps export.Deps, version int, output string, src *export.Source) ocispec.Manifest {
	t.Helper()
	out, err := export.ParseOutput(output)
	check.OK(t, err)
	req, err := out.Request(io.Discard)
	check.OK(t, err)
	req.Compatibility = version
	ex, err := export.New(export.Builtin(deps), req)
	check.OK(t, err)
	resp, err := ex.Export(t.Context(), src, nil)
	check.OK(t, err)
	var desc ocispec.Descriptor
	var m ocispec.Manifest
	at := deps.Store.Context(t.Context())
	img, err := deps.Store.Images().Get(at, "docker.io/library/x:latest")
	if err == nil {
		desc = img.Target
	} else {
		var idx ocispec.Index
		dt, err := os.ReadFile(filepath.Join(req.Dir, "index.json"))
		check.OK(t, err)
		check.OK(t, json.Unmarshal(dt, &idx))
		desc = idx.Manifests[0]
		dt, err = os.ReadFile(filepath.Join(req.Dir, "blobs/sha256", desc.Digest.Encoded()))
		check.OK(t, err)
		check.OK(t, json.Unmarshal(dt, &m))
	}
	check.Equal(t, "digest", resp["containerimage.digest"], desc.Digest.String())
	m.MediaType = desc.MediaType
	return m
}

// Which types an image has depends on the compatibility version, where the output does not
// say it.
func TestMediaTypesOfVersions(t *testing.T) {
	for _, test := range []struct {
		version int
		output  string
		said    bool // there is something to say of it
		want    string
	}{
		{0, "type=image,name=x", false, ociManifest},
		{30, "type=image,name=x", false, ociManifest},
		{20, "type=image,name=x", false, dockerManifest},
		{10, "type=image,name=x", false, dockerManifest},
		{20, "type=image,name=x,oci-mediatypes=true", false, ociManifest},
		{30, "type=image,name=x,oci-mediatypes=false", false, dockerManifest},
		{20, "type=image,name=x,annotation.a=b", false, dockerManifest},
		{20, "type=image,name=x", true, ocispec.MediaTypeImageIndex},
		{10, "type=oci,tar=false,dest=DIR", false, ociManifest},
	} {
		st := openStore(t)
		ref, _ := twoLayers(t, st)
		src := single(ref)
		if test.said {
			src = attested(t, st, ref)
		}
		output := string(bytes.ReplaceAll([]byte(test.output), []byte("DIR"), []byte(t.TempDir())))
		m := written(t, export.Deps{Store: st}, test.version, output, src)
		if m.MediaType != test.want {
			t.Errorf("%s of version %d: %s, want %s", test.output, test.version, m.MediaType, test.want)
		}
	}
}

// Of a version that compressed otherwise, that is refused before anything is built.
func TestZstdOfOldVersion(t *testing.T) {
	for version, refused := range map[int]bool{0: false, 10: true, 20: false, 30: false} {
		_, err := export.New(export.Builtin(export.Deps{Store: openStore(t)}), export.Request{
			Type: "image", Compatibility: version, Attrs: map[string]string{"compression": "zstd"},
		})
		var unsupported *errdefs.UnsupportedCompatibilityFeatureError
		if errors.As(err, &unsupported) != refused || !refused && err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
