package store_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
)

// A layer of which images have said what is not true, or which comes damaged, is had
// from the one that is honest, and then is that one's.
func TestLiars(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		good := newRemote()
		honest := good.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1")
		other := newRemote().layer(t, ocispec.MediaTypeImageLayerZstd, "a", "1")
		evil := newRemote()
		lie := evil.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "evil")
		lie.Annotations = maps.Clone(honest.Annotations)
		broken := lie
		dt := []byte("this is no gzip")
		broken.Digest, broken.Size = digest.FromBytes(dt), int64(len(dt))
		evil.blobs[broken.Digest] = dt
		evil.blobs[other.Digest] = make([]byte, other.Size) // damaged on its way

		var refs []*store.Ref
		for _, desc := range []ocispec.Descriptor{lie, other, broken} {
			ref, err := s.FromLayers(ctx, []ocispec.Descriptor{desc}, evil, store.NewOptions{})
			noError(t, err)
			refs = append(refs, ref)
		}
		if err := refs[0].Extract(ctx); err == nil || !strings.Contains(err.Error(), "the image says") {
			t.Errorf("without an honest one: got %v", err)
		}
		ref, err := s.FromLayers(ctx, []ocispec.Descriptor{honest}, good, store.NewOptions{})
		noError(t, err)
		noError(t, ref.Extract(ctx))
		mounted(t, ref, true, func(dir string) { wantFile(t, dir, "a", "1") })
		layers, _, err := ref.Layers(ctx, store.LayerOptions{})
		noError(t, err)
		if got := layers[0].Descriptor.Digest; got != honest.Digest || layers[0].DiffID.String() != honest.Annotations[labels.LabelUncompressed] {
			t.Errorf("the layer is exported as %s, want %s", got, honest.Digest)
		}
		release(t, append(refs, ref)...)
		noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
		wantNothing(t, s)
	})
}

// lossyRemote is a cache that may lose its layers.
type lossyRemote struct{ *remote }

func (lossyRemote) Gone(digest.Digest) bool { return false }

func (lossyRemote) Lose(context.Context, digest.Digest, error) {}

// A cache that says that its blob is a layer of an image does not have that image exported with
// its blob, whichever is known first.
func TestLiarsInCaches(t *testing.T) {
	for _, first := range []string{"image", "cache"} {
		s := newStore(t, "native")
		good, evil := newRemote(), newRemote()
		honest := good.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1")
		lie := evil.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "evil")
		lie.Annotations = maps.Clone(honest.Annotations)
		lied := func() *store.Ref {
			ref, err := s.FromLayers(t.Context(), []ocispec.Descriptor{lie}, lossyRemote{evil}, store.NewOptions{})
			noError(t, err)
			return ref
		}
		var refs []*store.Ref
		if first == "cache" {
			refs = append(refs, lied())
		}
		image, err := s.FromLayers(t.Context(), []ocispec.Descriptor{honest}, good, store.NewOptions{})
		noError(t, err)
		if first == "image" {
			refs = append(refs, lied())
		}
		layers, _, err := image.Layers(t.Context(), store.LayerOptions{})
		noError(t, err)
		if got := layers[0].Descriptor.Digest; got != honest.Digest {
			t.Errorf("%s first: the layer is exported as %s, want %s", first, got, honest.Digest)
		}
		release(t, append(refs, image)...)
	}
}
