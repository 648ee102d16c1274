package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzRecords: what is on the disk is read or refused, and whatever is read can be
// indexed, held, walked and written again.
func FuzzRecords(f *testing.F) {
	b := blob{Descriptor: ocispec.Descriptor{Digest: digest.FromString("x"), Annotations: map[string]string{"a": "b"}}}
	for _, in := range []facts{
		{Kind: kindCommitted, Snapshot: "s", CreatedAt: time.Unix(1, 0)},
		{Kind: kindLayer, DiffID: digest.FromString("y"), Blobs: []blob{b}, Parents: []string{"b"}},
		{Kind: kindMerge, Parents: []string{"a", "b"}},
		{Kind: kindDiff, Parents: []string{"", "a"}},
		{Kind: kindCacheMount, CacheID: "c", Snapshot: "s"},
	} {
		dt, err := encodeFacts(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dt, dt)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		all := map[string]facts{}
		for id, dt := range map[string][]byte{"a": first, "b": second} {
			got, err := decodeFacts(dt)
			if err != nil {
				continue
			}
			if _, err := encodeFacts(got); err != nil {
				t.Errorf("%q is read, and cannot be written: %v", dt, err)
			}
			all[id] = got
		}
		x := newIndex()
		bad := x.load(all)
		if len(bad)+len(x.records) != len(all) {
			t.Errorf("of %d records %d are there, and %d are bad", len(all), len(x.records), len(bad))
		}
		for _, r := range x.records {
			if r.layers <= 100 {
				pieces(r)
			}
			x.hold(r)
			x.unhold(r, true)
		}
		for _, r := range x.records {
			if r.holds != 0 {
				t.Errorf("%s has %d holds", r.id, r.holds)
			}
		}
	})
}

// FuzzRootFiles: a version file and a lock file may hold anything.
func FuzzRootFiles(f *testing.F) {
	f.Add([]byte(`{"tenon":1,"snapshotter":"native"}`))
	f.Add([]byte(`{"pid":1,"command":"tenon build","since":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"tenon":99}`))
	f.Add([]byte(``))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, dt []byte) {
		if m, err := readMark("/root", dt); err == nil && (m.Tenon < 1 || m.Tenon > rootVersion) {
			t.Errorf("layout %d is taken", m.Tenon)
		}
		name := filepath.Join(dir, lockFile)
		if err := os.WriteFile(name, dt, 0o600); err != nil {
			t.Fatal(err)
		}
		if ownerOf(name) == "" {
			t.Error("nobody has it")
		}
	})
}

// FuzzDescriptors: a layer's descriptor comes from an image.
func FuzzDescriptors(f *testing.F) {
	f.Add(ocispec.MediaTypeImageLayerGzip, digest.FromString("x").String(), digest.FromString("y").String(), int64(1))
	f.Add(ocispec.MediaTypeImageLayer, "sha256:x", "", int64(-1))
	f.Fuzz(func(t *testing.T, mediaType, dgst, diffID string, size int64) {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(dgst), Size: size}
		if diffID != "" {
			desc.Annotations = map[string]string{"containerd.io/uncompressed": diffID}
		}
		got, err := checkLayer(desc)
		if err == nil && (got.Validate() != nil || desc.Digest.Validate() != nil || size < 0) {
			t.Errorf("%+v is taken", desc)
		}
	})
}
