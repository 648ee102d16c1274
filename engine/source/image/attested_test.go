package image_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/check"
)

const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"

// document is a manifest of documents, by their kinds.
func document(t *testing.T, config types.MediaType, documents map[string]string) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), config)
	for kind, text := range documents {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: static.NewLayer([]byte(text), "application/vnd.in-toto+json"), Annotations: map[string]string{"in-toto.io/predicate-type": kind},
		})
		check.OK(t, err)
	}
	return img
}

// attested is an index of an image, and of what is said of it.
func attested(t *testing.T, said v1.Image) (index v1.ImageIndex, img v1.Image) {
	t.Helper()
	img = picture(t, "arm64", layer(t, "a", "1"))
	index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), entry(img, "linux", "arm64", ""),
		mutate.IndexAddendum{Add: said, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{
				"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digestOf(t, img).String(),
			},
		}})
	return index, img
}

func (w *world) chain(ref string, kinds ...string) (*sourceresolver.AttestationChain, error) {
	resp, err := w.src.ResolveMetadata(w.t.Context(), &pb.SourceOp{Identifier: "docker-image://" + ref}, sourceresolver.Opt{
		ImageOpt: &sourceresolver.ResolveImageOpt{
			NoConfig: true, AttestationChain: true, ResolveAttestations: kinds,
			Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"},
		},
	})
	if err != nil {
		return nil, err
	}
	check.Equal(w.t, "configuration", len(resp.Image.Config), 0)
	return resp.Image.AttestationChain, nil
}

// What an image's index says of it is found for its platform, with its signature. Of the
// statements those are read that are wanted.
func TestAttested(t *testing.T) {
	w := newWorld(t)
	said := document(t, types.OCIConfigJSON, map[string]string{"sbom": "what is in it", "provenance": "how it was built"})
	index, img := attested(t, said)
	ref := w.reg.Put(t, "app:1", index)
	chain, err := w.chain(ref, "provenance")
	check.OK(t, err)
	check.Equal(t, "root", chain.Root, digestOf(t, index))
	check.Equal(t, "image", chain.ImageManifest, digestOf(t, img))
	check.Equal(t, "attestations", chain.AttestationManifest, digestOf(t, said))
	check.Equal(t, "signatures", len(chain.SignatureManifests), 0)
	var texts []string
	for d, b := range chain.Blobs {
		check.Equal(t, "digest", b.Descriptor.Digest, d)
		texts = append(texts, string(b.Data))
	}
	all := strings.Join(texts, "\n")
	check.Equal(t, "blobs", len(texts), 3)
	check.Equal(t, "provenance is read", strings.Contains(all, "how it was built"), true)
	check.Equal(t, "sbom is read", strings.Contains(all, "what is in it"), false)

	h, err := said.Digest()
	check.OK(t, err)
	size, err := said.Size()
	check.OK(t, err)
	signature := mutate.Subject(document(t, bundle, map[string]string{"": "signed"}), v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Digest: h, Size: size,
	}).(v1.Image)
	w.reg.Put(t, "app:signature", signature)
	chain, err = w.chain(ref)
	check.OK(t, err)
	check.Equal(t, "signatures", len(chain.SignatureManifests), 1)
	check.Equal(t, "signature", chain.SignatureManifests[0], digestOf(t, signature))
	check.Equal(t, "blobs", len(chain.Blobs), 4)
	check.Equal(t, "the registry is asked for a list first", len(w.reg.Requests("/referrers/")) > 0, true)

	w.reg.Fault("/referrers/", 100, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) { rw.WriteHeader(http.StatusForbidden) })
	w.reg.Fault("/manifests/sha256-", 100, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) { rw.WriteHeader(http.StatusForbidden) })
	_, err = w.chain(ref)
	check.Says(t, err, "list referrers")
}

// An image may say nothing of itself. What is said wrongly, or is too much, is an error.
func TestBadlyAttested(t *testing.T) {
	w := newWorld(t)
	img := picture(t, "arm64", layer(t, "a", "1"))
	chain, err := w.chain(w.reg.Put(t, "app:1", img))
	check.OK(t, err)
	check.Equal(t, "a manifest says something", chain != nil, false)
	index := mutate.AppendManifests(empty.Index, entry(img, "linux", "arm64", ""))
	chain, err = w.chain(w.reg.Put(t, "app:2", index))
	check.OK(t, err)
	check.Equal(t, "attestations", chain.AttestationManifest.String(), "")

	large := document(t, types.OCIConfigJSON, map[string]string{"large": strings.Repeat("x", 9<<20)})
	index, _ = attested(t, large)
	_, err = w.chain(w.reg.Put(t, "app:3", index), "large")
	check.Says(t, err, "too many")
	many := map[string]string{}
	for n := range 10 {
		many["large"+strings.Repeat("!", n)] = strings.Repeat(string(rune('a'+n)), 7<<20)
	}
	kinds := []string{}
	for k := range many {
		kinds = append(kinds, k)
	}
	index, _ = attested(t, document(t, types.OCIConfigJSON, many))
	_, err = w.chain(w.reg.Put(t, "app:4", index), kinds...)
	check.Says(t, err, "more than 32 MiB")
}
