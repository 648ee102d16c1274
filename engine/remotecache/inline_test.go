package remotecache

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/check"
)

// blobs are blobs by their digests.
type blobs map[digest.Digest][]byte

func (b blobs) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if dt, ok := b[desc.Digest]; ok {
		return memory(dt).ReaderAt(ctx, desc)
	}
	return nil, errdefs.ErrNotFound
}

func (b blobs) add(t *testing.T, mediaType string, v any) ocispec.Descriptor {
	dt, err := json.Marshal(v)
	check.OK(t, err)
	desc := describe(mediaType, dt)
	b[desc.Digest] = dt
	return desc
}

// What an index with inline caches has read is bounded as a whole.
func TestInlineLarge(t *testing.T) {
	b := blobs{}
	var index ocispec.Index
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: dg(name), Size: maxConfig}
		index.Manifests = append(index.Manifests, b.add(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{Config: config}))
	}
	_, err := ReadOCI(context.Background(), b, b.add(t, ocispec.MediaTypeImageIndex, index), nil)
	check.Says(t, err, "have more than 33554432 bytes")
}
