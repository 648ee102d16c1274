package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

func TestMain(m *testing.M) {
	// What the file system of temporary directories cannot do is of no interest.
	if err := log.SetLevel("error"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func newImages(t *testing.T) (*images.Images, *store.Store) {
	t.Helper()
	testenv.Root(t)
	st, err := store.Open(t.Context(), store.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return images.New(st), st
}

// entry is a file of an archive; a link if it has a target.
type entry struct{ name, data, link string }

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.data)), Mode: 0o644, Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layout is an OCI layout in the making.
type layout struct {
	entries []entry
	index   ocispec.Index
}

func newLayout() *layout {
	return &layout{entries: []entry{{name: "oci-layout", data: `{"imageLayoutVersion":"1.0.0"}`}}}
}

func (l *layout) blob(mediaType, data string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(data), Size: int64(len(data))}
	l.entries = append(l.entries, entry{name: "blobs/sha256/" + d.Digest.Encoded(), data: data})
	return d
}

func (l *layout) json(mediaType string, v any) ocispec.Descriptor {
	dt, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return l.blob(mediaType, string(dt))
}

// manifest adds an image of one layer, that change may change.
func (l *layout) manifest(change func(m *ocispec.Manifest, config *ocispec.Image)) ocispec.Descriptor {
	layer := l.blob(ocispec.MediaTypeImageLayer, "a layer")
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{layer}}
	m.SchemaVersion = 2
	if change != nil {
		change(&m, &config)
	}
	if m.Config.Digest == "" {
		m.Config = l.json(ocispec.MediaTypeImageConfig, config)
	}
	return l.json(ocispec.MediaTypeImageManifest, m)
}

// tar ends the layout with an index of some images.
func (l *layout) tar(t *testing.T, list ...ocispec.Descriptor) []byte {
	l.index.SchemaVersion, l.index.Manifests = 2, list
	dt, err := json.Marshal(l.index)
	if err != nil {
		t.Fatal(err)
	}
	return archive(t, append(l.entries, entry{name: "index.json", data: string(dt)})...)
}

func named(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = map[string]string{"io.containerd.image.name": name}
	return d
}

// left are the blobs and images of a store.
func left(t *testing.T, st *store.Store) (out []string) {
	t.Helper()
	ctx := st.Context(t.Context())
	list, err := st.Images().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		out = append(out, i.Name)
	}
	err = st.Content().Walk(ctx, func(i content.Info) error {
		out = append(out, i.Digest.String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLoadGood(t *testing.T) {
	x, st := newImages(t)
	l := newLayout()
	m := l.manifest(nil)
	nested := l.json(ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		m, {MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("left out"), Size: 8, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}},
	}})
	junk := entry{name: "../../etc/passwd", data: "root::0:0"}
	l.entries = append(l.entries, junk)
	got, err := x.LoadArchive(t.Context(), bytes.NewReader(l.tar(t, named(m, "app"), named(nested, "docker.io/library/all:1"), m)))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Name != "docker.io/library/app:latest" || got[2].Name != "" || got[1].ID != got[0].ID {
		t.Errorf("got %+v", got)
	}
	if all := left(t, st); len(all) != 2+4 { // the third is one of those with a name
		t.Errorf("there is %q", all)
	}
	all, err := x.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%d images, %v", len(all), err)
	}
}

// TestLoadHostile: an archive that is not what it says is an error that says what is
// wrong, and nothing of it stays.
func TestLoadHostile(t *testing.T) {
	good := func(t *testing.T) []byte { l := newLayout(); return l.tar(t, named(l.manifest(nil), "app")) }
	changed := func(change func(m *ocispec.Manifest, config *ocispec.Image)) func(t *testing.T) []byte {
		return func(t *testing.T) []byte { l := newLayout(); return l.tar(t, named(l.manifest(change), "app")) }
	}
	described := func(change func(l *layout, d *ocispec.Descriptor)) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			l := newLayout()
			d := named(l.manifest(nil), "app")
			change(l, &d)
			return l.tar(t, d)
		}
	}
	for name, c := range map[string]struct {
		make func(t *testing.T) []byte
		want string
	}{
		"nothing":  {func(*testing.T) []byte { return nil }, "unrecognized image format"},
		"no tar":   {func(*testing.T) []byte { return []byte(strings.Repeat("no tar ", 200)) }, "archive:"},
		"cut":      {func(t *testing.T) []byte { g := good(t); return g[:len(g)/2-100] }, "archive:"},
		"cut gzip": {func(t *testing.T) []byte { g := gz(t, good(t)); return g[:len(g)-20] }, "archive:"},
		"no index": {func(t *testing.T) []byte { return archive(t, newLayout().entries...) }, "missing index.json"},
		"a version": {func(t *testing.T) []byte {
			return archive(t, entry{name: "oci-layout", data: `{"imageLayoutVersion":"9"}`})
		}, "unsupported OCI version"},
		"empty index":  {func(t *testing.T) []byte { return newLayout().tar(t) }, "has 0 images"},
		"many":         {func(t *testing.T) []byte { return newLayout().tar(t, make([]ocispec.Descriptor, 2000)...) }, "has 2000 images"},
		"not there":    {described(func(_ *layout, d *ocispec.Descriptor) { d.Digest = digest.FromString("x") }), "for any platform"},
		"no digest":    {described(func(_ *layout, d *ocispec.Descriptor) { d.Digest = "../../x" }), "digest"},
		"another size": {described(func(_ *layout, d *ocispec.Descriptor) { d.Size = 7 }), "and should have 7"},
		"below zero":   {described(func(_ *layout, d *ocispec.Descriptor) { d.Size = -1 }), "and should have -1"},
		"another type": {described(func(_ *layout, d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageIndex }), "and is said to be"},
		"a layer":      {described(func(_ *layout, d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageLayer }), "which is no image's"},
		"a name":       {described(func(_ *layout, d *ocispec.Descriptor) { *d = named(*d, "Not A\x1b[31m Name") }), "image name"},
		"both": {described(func(l *layout, d *ocispec.Descriptor) {
			*d = l.blob(ocispec.MediaTypeImageManifest, `{"manifests":[],"layers":[]}`)
		}), "at the same time"},
		"no JSON": {described(func(l *layout, d *ocispec.Descriptor) { *d = l.blob(ocispec.MediaTypeImageManifest, "{") }), "unexpected end"},
		"a large one": {described(func(l *layout, d *ocispec.Descriptor) {
			*d = l.blob(ocispec.MediaTypeImageManifest, strings.Repeat(" ", 9<<20))
		}), "too many"},
		"deep":         {described(deep), "indexes in indexes"},
		"no diff IDs":  {changed(func(_ *ocispec.Manifest, config *ocispec.Image) { config.RootFS.DiffIDs = nil }), "is for 0"},
		"no layer":     {changed(func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers[0].Digest = digest.FromString("none") }), "for any platform"},
		"a layer of 1": {changed(func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers[0].Size = 1 }), "and should have 1"},
		"layers":       {changed(func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers = make([]ocispec.Descriptor, 5000) }), "more than"},
		"docker's": {func(t *testing.T) []byte {
			return archive(t, entry{name: "manifest.json", data: `[{"Config":"c","Layers":["l"]}]`})
		}, "not found"},
		"docker's loop": {func(t *testing.T) []byte {
			return archive(t, entry{name: "manifest.json", data: `[{"Config":"c","Layers":["l"]}]`}, entry{name: "l", link: "m"}, entry{name: "m", link: "l"})
		}, "no target for symlink"},
	} {
		t.Run(name, func(t *testing.T) {
			x, st := newImages(t)
			got, err := x.LoadArchive(t.Context(), bytes.NewReader(c.make(t)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v: want an error of %q", got, err, c.want)
			}
			if err != nil && (len(err.Error()) > 1000 || strings.Contains(err.Error(), "\x1b")) {
				t.Errorf("the error repeats too much: %.2000q", err)
			}
			if all := left(t, st); len(all) != 0 {
				t.Errorf("left: %q", all)
			}
		})
	}
}

func deep(l *layout, d *ocispec.Descriptor) {
	for range 10 {
		*d = l.json(ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{*d}})
	}
}

func gz(t *testing.T, dt []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(dt); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive that never ends is given up with the context.
func TestLoadEndless(t *testing.T) {
	x, st := newImages(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	endless := func(p []byte) (int, error) {
		if n += len(p); n > 1<<20 {
			cancel(fmt.Errorf("given up"))
		}
		return len(p), nil
	}
	head := archive(t, entry{name: "x", data: strings.Repeat("x", 1<<16)})[:512]
	copy(head[124:136], "77777777777\x00")
	_, err := x.LoadArchive(ctx, io.MultiReader(bytes.NewReader(sum(head)), reader(endless)))
	if err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("got %v", err)
	}
	if all := left(t, st); len(all) != 0 {
		t.Errorf("left: %q", all)
	}
}

type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// sum writes the checksum of a tar's header.
func sum(head []byte) []byte {
	copy(head[148:156], "        ")
	n := 0
	for _, b := range head {
		n += int(b)
	}
	copy(head[148:156], fmt.Sprintf("%06o\x00 ", n))
	return head
}

// Of a layout in a directory regular files are read, and nothing is followed.
func TestLoadLayout(t *testing.T) {
	x, _ := newImages(t)
	dir := t.TempDir()
	l := newLayout()
	tr := tar.NewReader(bytes.NewReader(l.tar(t, named(l.manifest(nil), "app"))))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		dt, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, dt, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		unix.Mkfifo(filepath.Join(dir, "blobs/sha256/fifo"), 0o644),
		os.Symlink("/dev/zero", filepath.Join(dir, "blobs/sha256/zero")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := x.LoadLayout(ctx, dir); err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "index.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := x.LoadLayout(ctx, dir); err == nil || !strings.Contains(err.Error(), "missing index.json") {
		t.Errorf("an index that is a pipe: %v", err)
	}
	if _, err := x.LoadLayout(ctx, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no OCI layout") {
		t.Errorf("no layout: %v", err)
	}
}
