package export_test

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/store"
)

// A foreign layer is one like others in what is written, or stays where it is from if that
// is wanted: then it is not pushed.
func TestForeignLayers(t *testing.T) {
	srv := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	reg, err := registry.New(registry.Options{})
	must(t, err)
	from := openStore(t)
	base := grow(t, from, nil, "base", func(dir string) { write(t, dir, "base", "x") })
	layers, provider, err := base.Layers(t.Context(), store.LayerOptions{})
	must(t, err)
	foreign := layers[0].Descriptor
	foreign.MediaType, foreign.URLs = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", []string{"https://example.com/layer"}
	st := openStore(t)
	deps := export.Deps{Store: st, Pusher: export.ViaRegistry(reg)}
	lazy, err := st.FromLayers(t.Context(), []ocispec.Descriptor{foreign}, provider, store.NewOptions{Description: "pulled", CreatedAt: made})
	must(t, err)
	defer func() { must(t, lazy.Release(context.WithoutCancel(t.Context()))) }()
	for _, c := range []struct {
		attrs, mediaType string
		urls             int
		pushed           bool
	}{
		{"prefer-nondist-layers=true", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", 1, false},
		{"prefer-nondist-layers=true,oci-mediatypes=false", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1, false},
		{"prefer-nondist-layers=false", "application/vnd.oci.image.layer.v1.tar+gzip", 0, true},
		{"oci-mediatypes=false", "application/vnd.docker.image.rootfs.diff.tar.gzip", 0, true},
	} {
		mustOutput(t, deps, single(lazy), "type=image,push=true,store=false,name="+host+"/image:b,"+c.attrs)
		ref, err := name.ParseReference(host + "/image:b")
		must(t, err)
		img, err := remote.Image(ref)
		must(t, err)
		m, err := img.Manifest()
		must(t, err)
		if l := m.Layers[0]; string(l.MediaType) != c.mediaType || len(l.URLs) != c.urls {
			t.Errorf("%s: the layer is of type %s, with the URLs %v", c.attrs, l.MediaType, l.URLs)
		}
		l, err := remote.Layer(ref.Context().Digest(foreign.Digest.String()))
		must(t, err)
		rc, err := l.Compressed()
		if err == nil {
			_, err = io.Copy(io.Discard, rc)
		}
		if (err == nil) != c.pushed {
			t.Errorf("%s: reading the layer from the registry: %v", c.attrs, err)
		}
	}
}
