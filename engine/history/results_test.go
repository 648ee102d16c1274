package history_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/internal/check"
)

// images is where images are that builds have written.
type images struct {
	t *testing.T
	content.Store
}

func newImages(t *testing.T) images {
	t.Helper()
	cs, err := contentlocal.NewStore(t.TempDir())
	check.OK(t, err)
	return images{t, cs}
}

func (i images) put(mediaType string, v any) ocispec.Descriptor {
	i.t.Helper()
	dt, ok := v.([]byte)
	if !ok {
		var err error
		dt, err = json.Marshal(v)
		check.OK(i.t, err)
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
	err := content.WriteBlob(i.t.Context(), i, desc.Digest.String(), bytes.NewReader(dt), desc)
	if !errdefs.IsAlreadyExists(err) {
		check.OK(i.t, err)
	}
	return desc
}

// image makes an index of a manifest, and of one of attestations: names has what is kept.
func (i images) image(config string) (desc ocispec.Descriptor, kept, layers []ocispec.Descriptor) {
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("far away"), Size: 1 << 40}
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{layer}}
	manifest.Config = i.put(ocispec.MediaTypeImageConfig, []byte(config))
	said := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{i.put("application/vnd.in-toto+json", []byte("statement"))}}
	said.Config = i.put(ocispec.MediaTypeImageConfig, []byte("{}"))
	m, s := i.put(manifest.MediaType, manifest), i.put(said.MediaType, said)
	desc = i.put(ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{m, s}})
	return desc, []ocispec.Descriptor{desc, m, s, manifest.Config, said.Config, said.Layers[0]}, manifest.Layers
}

// there says which of some blobs a history has.
func there(t *testing.T, s *history.Store, list []ocispec.Descriptor) (n int) {
	t.Helper()
	for _, d := range list {
		if dt, err := content.ReadBlob(t.Context(), s.Blobs(), d); err == nil && digest.FromBytes(dt) == d.Digest {
			n++
		}
	}
	return n
}

// A record has how its results were built, and its images but for their layers. They are
// there as long as a record has them, also when the history is opened again.
func TestResults(t *testing.T) {
	dir, from := t.TempDir(), newImages(t)
	s := open(t, dir, history.DefaultLimits)
	none(t, s)
	desc, kept, layers := from.image("config")
	for _, ref := range []string{"a", "b"} {
		r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: ref})
		check.OK(t, err)
		check.OK(t, r.Provenance("", "kind", []byte(`{"of": "the build"}`)))
		check.OK(t, r.Provenance("linux/arm64", "kind", []byte(`{"of": "a platform"}`)))
		check.OK(t, r.Image(t.Context(), 1, from, desc))
		check.OK(t, r.Image(t.Context(), 1, from, desc)) // once more, after a fault
		check.OK(t, r.End(nil, nil))
	}
	for range 2 {
		rec := list(t, s, &controlapi.BuildHistoryRequest{})["a"]
		check.Equal(t, "image", rec.Result.Results[1].Digest, desc.Digest.String())
		check.Equal(t, "media type", rec.Result.ResultDeprecated.MediaType, ocispec.MediaTypeImageIndex)
		check.Equal(t, "of the build", string(blob(t, s, rec.Result.Attestations[0])), `{"of": "the build"}`)
		said := rec.Results["linux/arm64"].Attestations[0]
		check.Equal(t, "of a platform", string(blob(t, s, said)), `{"of": "a platform"}`)
		check.Equal(t, "kind", said.Annotations["in-toto.io/predicate-type"], "kind")
		check.Equal(t, "kept", there(t, s, kept), len(kept))
		check.Equal(t, "layers", there(t, s, layers), 0)
		s = open(t, dir, history.DefaultLimits)
	}
	check.OK(t, s.Delete("a"))
	check.Equal(t, "kept by another record", there(t, s, kept), len(kept))
	check.OK(t, s.Delete("b"))
	none(t, s)
}

func none(t *testing.T, s *history.Store) {
	t.Helper()
	check.OK(t, s.Blobs().Walk(t.Context(), func(info content.Info) error {
		t.Errorf("the blob %s is left", info.Digest)
		return nil
	}))
}

// The record of a build that goes on keeps what it has, whatever record of the same goes.
func TestResultsOfActiveBuild(t *testing.T) {
	from := newImages(t)
	s := open(t, t.TempDir(), history.Limits{Entries: 10})
	desc, kept, _ := from.image("config")
	var both []*history.Recording
	for _, ref := range []string{"a", "b"} {
		r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: ref})
		check.OK(t, err)
		check.OK(t, r.Image(t.Context(), 0, from, desc))
		both = append(both, r)
	}
	check.OK(t, both[0].End(nil, nil))
	check.OK(t, s.Delete("a"))
	check.OK(t, both[1].End(nil, nil))
	check.Equal(t, "kept", there(t, s, kept), len(kept))

	build(t, s, "b", nil) // takes the place of the record
	check.Equal(t, "kept of the older one", there(t, s, kept), 0)
	check.OK(t, s.Delete("b"))
	none(t, s)
}

// What is too large, or damaged, is not kept. The record names it anyway.
func TestLargeResults(t *testing.T) {
	from := newImages(t)
	s := open(t, t.TempDir(), history.DefaultLimits)
	r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: "a"})
	check.OK(t, err)
	large := from.put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("none"), Size: 1 << 40},
	})
	check.Says(t, r.Image(t.Context(), 0, from, large), "more than")
	negative := from.put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("none"), Size: -1},
	})
	check.Says(t, r.Image(t.Context(), 1, from, negative), "more than")
	half := make([]byte, 40<<20)
	check.OK(t, r.Provenance("", "kind", half))
	check.Says(t, r.Provenance("", "kind", half), "more than")
	check.OK(t, r.End(nil, nil))
	rec := list(t, s, &controlapi.BuildHistoryRequest{})["a"]
	check.Equal(t, "named", len(rec.Result.Results), 2)
	check.Equal(t, "statements", len(rec.Result.Attestations), 1)
	check.Equal(t, "not kept", there(t, s, []ocispec.Descriptor{large, negative}), 0)
}
