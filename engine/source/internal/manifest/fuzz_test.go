package manifest_test

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/source/internal/manifest"
)

// Whatever a registry sends, Load returns an image that fits together, or an error.
func FuzzLoad(f *testing.F) {
	sum := digest.FromString("layer").String()
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + sum + `"]}}`
	man := `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest.FromString(config).String() +
		`","size":1},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + sum + `","size":5}]}`
	index := `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest.FromString(man).String() +
		`","size":2,"platform":{"os":"linux","architecture":"amd64"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest.FromString(man).String() + `","size":3}]}`
	f.Add(man, config, "", "application/vnd.oci.image.manifest.v1+json", false)
	f.Add(index, config, man, "application/vnd.oci.image.index.v1+json", false)
	f.Add(index, config, index, "", true)
	f.Add(`{"schemaVersion":1,"fsLayers":[]}`, "", "", "", false)
	f.Add(`{"config":null,"layers":null}`, "{}", "", "", true)
	f.Fuzz(func(t *testing.T, root, config, other, mediaType string, any bool) {
		known := map[digest.Digest]string{}
		for _, s := range []string{root, config, other} {
			known[digest.FromString(s)] = s
		}
		read := func(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
			if s, ok := known[desc.Digest]; ok {
				return []byte(s), nil
			}
			if any { // so that fuzzed digests lead somewhere
				return []byte(other), nil
			}
			return nil, errdefs.ErrNotFound
		}
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(root)}
		img, err := manifest.Load(context.Background(), read, desc, ocispec.Platform{OS: "linux", Architecture: "amd64"})
		if err != nil {
			return
		}
		if len(img.ConfigBytes()) == 0 || img.Blobs[img.Manifest.Digest] == nil {
			t.Fatal("an image without its parts")
		}
		for _, l := range img.Layers {
			if err := l.Digest.Validate(); err != nil {
				t.Fatal(err)
			}
			if err := digest.Digest(l.Annotations["containerd.io/uncompressed"]).Validate(); err != nil {
				t.Fatal(err)
			}
		}
		if keys, err := img.Keys(img.Layers); err != nil || len(keys) != 2 {
			t.Fatal(keys, err)
		}
	})
}
