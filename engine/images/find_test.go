package images_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/images"
)

// TestFind: an image is found by all that it is called, and by nothing else.
func TestFind(t *testing.T) {
	x, _ := newImages(t)
	l := newLayout()
	a := l.manifest(nil)
	b := l.manifest(func(_ *ocispec.Manifest, config *ocispec.Image) { config.Author = "another" })
	same := l.manifest(func(m *ocispec.Manifest, _ *ocispec.Image) { m.Annotations = map[string]string{"k": "v"} }) // a's configuration
	index := l.json(ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{b}})
	hexName := index.Digest.Encoded()[:6]
	_, err := x.LoadArchive(t.Context(), bytes.NewReader(l.tar(t, named(a, "app"), named(a, "example.com/app:2"), named(index, "all:1"), named(a, hexName), same)))
	if err != nil {
		t.Fatal(err)
	}
	all, err := x.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := func(d ocispec.Descriptor) string {
		i := slices.IndexFunc(all, func(i *images.Image) bool { return i.Target.Digest == d.Digest })
		return all[i].ID().String()
	}
	for ref, want := range map[string]ocispec.Descriptor{
		"app": a, "app:latest": a, "docker.io/library/app": a, "index.docker.io/library/app:latest": a, "example.com/app:2": a,
		a.Digest.String(): a, a.Digest.Encoded(): a, a.Digest.String()[:20]: a, a.Digest.Encoded()[:12]: a, "app@" + a.Digest.String(): a,
		same.Digest.String(): same, same.Digest.Encoded()[:12]: same,
		id(a): a, id(a)[7:19]: a, // which is same's, too, which has no name
		"all:1": index, index.Digest.String(): index, b.Digest.Encoded()[:12]: index, id(index): index,
		hexName: a, // a name goes before the beginning of a digest
	} {
		got, err := images.FindIn(all, ref)
		if err != nil || got.Target.Digest != want.Digest {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"", "app:3", "other", "example.com/app", "sha256:", "sha256:" + strings.Repeat("0", 64), "other@" + a.Digest.String(), "UPPER", "a b", "\x1b"} {
		if got, err := images.FindIn(all, ref); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("%q: %+v, %v", ref, got, err)
		}
	}
	// With a name of its own there are two of this configuration.
	if err := x.Tag(t.Context(), same.Digest.String(), "named:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Find(t.Context(), id(a)); err == nil || !strings.Contains(err.Error(), "2 images") {
		t.Errorf("two of them: %v", err)
	}
}
