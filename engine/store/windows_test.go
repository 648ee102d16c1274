package store_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/moby/buildkit/util/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
)

// windowsLayer is a layer for Windows of some files, and a link to the first.
func windowsLayer(t *testing.T, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h *tar.Header) {
		h.ModTime, h.Mode = old, 0o644
		check.OK(t, w.WriteHeader(h))
	}
	add(&tar.Header{Name: "Hives/Software_Delta", Typeflag: tar.TypeReg})
	add(&tar.Header{Name: "Files", Typeflag: tar.TypeDir})
	for _, name := range names {
		add(&tar.Header{Name: "Files/" + name, Typeflag: tar.TypeReg})
	}
	add(&tar.Header{Name: "Files/link", Typeflag: tar.TypeLink, Linkname: "Files/" + names[0]})
	check.OK(t, w.Close())
	return buf.Bytes()
}

// The tree of an image for Windows is below Files of its layers, and so is what is made on
// it. The same tree on another base is laid out as ever.
func TestWindowsLayers(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		r := newRemote()
		dt := windowsLayer(t, "a", "gone")
		desc := ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(dt), Size: int64(len(dt)),
			Annotations: map[string]string{labels.LabelUncompressed: digest.FromBytes(dt).String()},
		}
		r.blobs[desc.Digest] = dt
		base, err := s.FromLayers(ctx, []ocispec.Descriptor{desc}, r, store.NewOptions{Windows: true})
		check.OK(t, err)
		made := write(t, s, base, store.NewOptions{}, func(dir string) {
			check.OK(t, os.Remove(filepath.Join(dir, "gone")))
			check.OK(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "again")))
			check.OK(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
			check.OK(t, os.WriteFile(filepath.Join(dir, "d/b"), []byte("b"), 0o644))
		})
		plain := write(t, s, nil, store.NewOptions{}, file(t, "c", "1"))
		merged, err := s.Merge(ctx, []*store.Ref{base, plain}, store.NewOptions{})
		check.OK(t, err)
		defer release(t, base, made, plain, merged)

		layers, tars := layersOf(t, made, store.LayerOptions{Compression: compression.New(compression.Uncompressed)})
		check.Equal(t, "base", layers[0].Descriptor.Digest, desc.Digest)
		got := names(t, tars[1])
		for _, want := range []string{"Hives", "Files", "Files/.wh.gone", "Files/d", "Files/d/b", "Files/again"} {
			if !slices.ContainsFunc(got, func(n string) bool { return filepath.Clean(n) == want }) {
				t.Errorf("%v has no %s", got, want)
			}
		}
		for _, h := range headers(t, tars[1]) {
			sd, err := base64.StdEncoding.DecodeString(h.PAXRecords["MSWINDOWS.rawsd"])
			if h.Name == "Files/d/b" && (err != nil || len(sd) != 124 || h.PAXRecords["MSWINDOWS.fileattr"] != "32") {
				t.Errorf("%s: %v", h.Name, h.PAXRecords)
			}
		}
		again, tarsAgain := layersOf(t, made, store.LayerOptions{Compression: compression.New(compression.Uncompressed)})
		if again[1].DiffID != layers[1].DiffID || !bytes.Equal(tars[1], tarsAgain[1]) {
			t.Error("the same tree has another layer")
		}

		_, tars = layersOf(t, plain, store.LayerOptions{})
		check.Equal(t, "without Windows", slices.Contains(names(t, tars[0]), "c"), true)
		_, tars = layersOf(t, merged, store.LayerOptions{})
		check.Equal(t, "merged", slices.Contains(names(t, tars[1]), "Files/c"), true)

		// Another machine unpacks what was made here.
		to := newStore(t, "")
		from, descs := pushed(t, made, store.LayerOptions{})
		back, err := to.FromLayers(ctx, descs, from, store.NewOptions{Windows: true, CreatedAt: time.Unix(1, 0)})
		check.OK(t, err)
		defer release(t, back)
		mounted(t, back, true, func(dir string) {
			for name, want := range map[string]bool{"a": true, "link": true, "again": true, "d/b": true, "gone": false, "Files": false, "Hives": false} {
				_, err := os.Lstat(filepath.Join(dir, name))
				check.Equal(t, name, err == nil, want)
			}
		})
	})
}
