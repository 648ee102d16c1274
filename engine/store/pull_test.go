package store_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/util/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// remote is a registry of sorts, which counts what is fetched.
type remote struct {
	mu     sync.Mutex
	blobs  map[digest.Digest][]byte
	opened map[digest.Digest]int
}

func newRemote() *remote {
	return &remote{blobs: map[digest.Digest][]byte{}, opened: map[digest.Digest]int{}}
}

func (r *remote) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[desc.Digest]++
	dt, ok := r.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("no %s here: %w", desc.Digest, errdefs.ErrNotFound)
	}
	return readerAt{bytes.NewReader(dt)}, nil
}

func (r *remote) fetched() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.opened {
		n += c
	}
	return n
}

type readerAt struct{ *bytes.Reader }

func (readerAt) Close() error { return nil }

// layer adds a layer with one file.
func (r *remote) layer(t *testing.T, mediaType, name, text string) ocispec.Descriptor {
	t.Helper()
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	noError(t, tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text)), ModTime: old}))
	_, err := tw.Write([]byte(text))
	noError(t, err)
	noError(t, tw.Close())
	var packed bytes.Buffer
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		zw := gzip.NewWriter(&packed)
		_, err = zw.Write(plain.Bytes())
		noError(t, errors.Join(err, zw.Close()))
	case strings.HasSuffix(mediaType, "zstd"):
		zw, err := zstd.NewWriter(&packed)
		noError(t, err)
		_, err = zw.Write(plain.Bytes())
		noError(t, errors.Join(err, zw.Close()))
	default:
		packed = *bytes.NewBuffer(plain.Bytes())
	}
	desc := ocispec.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(packed.Bytes()), Size: int64(packed.Len()),
		Annotations: map[string]string{
			labels.LabelUncompressed:                           digest.FromBytes(plain.Bytes()).String(),
			labels.LabelDistributionSource + ".localhost:5000": "some/repo",
		},
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[desc.Digest] = packed.Bytes()
	return desc
}

func TestFromLayers(t *testing.T) {
	kinds := []string{ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayer, images.MediaTypeDockerSchema2LayerGzip}
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		r := newRemote()
		var descs []ocispec.Descriptor
		for i, kind := range kinds {
			descs = append(descs, r.layer(t, kind, fmt.Sprint("f", i), kind))
		}
		ref, err := s.FromLayers(context.Background(), descs, r, store.NewOptions{Description: "pulled"})
		noError(t, err)
		defer release(t, ref)
		layers, provider, err := ref.Layers(context.Background(), store.LayerOptions{})
		noError(t, err)
		if n := r.fetched(); n != 0 || len(layers) != len(kinds) {
			t.Fatalf("lazy layers: %d of %d were fetched", n, len(layers))
		}
		for i, l := range layers {
			if l.Descriptor.Digest != descs[i].Digest || l.Descriptor.MediaType != kinds[i] {
				t.Errorf("layer %d: got %+v", i, l.Descriptor)
			}
			_, err := content.ReadBlob(context.Background(), provider, l.Descriptor)
			noError(t, err)
		}
		mountConcurrently(t, ref)
		if n := r.fetched(); n != 2*len(kinds) { // once by the reads above
			t.Errorf("layers were fetched %d times, want %d", n-len(kinds), len(kinds))
		}
		mounted(t, ref, true, func(dir string) {
			for i, kind := range kinds {
				wantFile(t, dir, fmt.Sprint("f", i), kind)
			}
		})
		info, err := s.Content().Info(context.Background(), descs[0].Digest)
		noError(t, err)
		if info.Labels[labels.LabelUncompressed] == "" || info.Labels[labels.LabelDistributionSource+".localhost:5000"] != "some/repo" {
			t.Errorf("labels of a blob: %v", info.Labels)
		}
		again, err := s.FromLayers(context.Background(), descs[:2], r, store.NewOptions{})
		noError(t, err)
		below, err := s.FromLayers(context.Background(), descs, r, store.NewOptions{})
		noError(t, err)
		if below.ID() != ref.ID() || again.ID() == ref.ID() {
			t.Error("equal chains are not one record, or others are")
		}
		release(t, again, below)
	})
}

func mountConcurrently(t *testing.T, ref *store.Ref) {
	t.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := ref.Extract(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestConvertPulledLayer(t *testing.T) {
	s := newStore(t, "")
	r := newRemote()
	desc := r.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1")
	ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{desc}, r, store.NewOptions{})
	noError(t, err)
	defer release(t, ref)
	layers, tars := layersOf(t, ref, store.LayerOptions{Compression: compression.New(compression.Zstd).SetForce(true)})
	if layers[0].DiffID.String() != desc.Annotations[labels.LabelUncompressed] || layers[0].Descriptor.MediaType != ocispec.MediaTypeImageLayerZstd {
		t.Errorf("got %+v", layers[0])
	}
	if got := digest.FromBytes(tars[0]); got != layers[0].DiffID {
		t.Errorf("the layer's content has become %s", got)
	}
}

// TestBadLayers: an error names the layer, and nothing is left behind.
func TestBadLayers(t *testing.T) {
	gz := ocispec.MediaTypeImageLayerGzip
	tests := []struct {
		name  string
		spoil func(r *remote, desc *ocispec.Descriptor)
		want  string
	}{
		{"missing", func(r *remote, desc *ocispec.Descriptor) { delete(r.blobs, desc.Digest) }, "cannot be fetched"},
		{"other bytes", func(r *remote, desc *ocispec.Descriptor) {
			dt := bytes.Clone(r.blobs[desc.Digest])
			dt[len(dt)-1] ^= 1
			r.blobs[desc.Digest] = dt
		}, "unexpected commit digest"},
		{"cut off", func(r *remote, desc *ocispec.Descriptor) {
			r.blobs[desc.Digest] = r.blobs[desc.Digest][:10]
		}, "cannot be fetched"},
		{"too long", func(_ *remote, desc *ocispec.Descriptor) { desc.Size-- }, "cannot be fetched"},
		{"wrong diff ID", func(_ *remote, desc *ocispec.Descriptor) {
			desc.Annotations[labels.LabelUncompressed] = digest.FromString("other").String()
		}, "the image is damaged"},
		{"no archive", func(r *remote, desc *ocispec.Descriptor) {
			dt := []byte("this is no gzip")
			desc.Digest, desc.Size = digest.FromBytes(dt), int64(len(dt))
			r.blobs[desc.Digest] = dt
		}, "cannot be unpacked"},
		{"no diff ID", func(_ *remote, desc *ocispec.Descriptor) { desc.Annotations = nil }, "rootfs.diff_ids"},
		{"unknown type", func(_ *remote, desc *ocispec.Descriptor) { desc.MediaType = "text/plain" }, "text/plain"},
		{"encrypted", func(_ *remote, desc *ocispec.Descriptor) { desc.MediaType += "+encrypted" }, "cannot be unpacked"},
		{"bad digest", func(_ *remote, desc *ocispec.Descriptor) { desc.Digest = "sha256:../../x" }, "digest"},
	}
	testenv.Root(t)
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			s := newStore(t, "")
			r := newRemote()
			bad := r.layer(t, gz, "b", "2")
			test.spoil(r, &bad)
			ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{r.layer(t, gz, "a", "1"), bad}, r, store.NewOptions{})
			if err == nil {
				err = ref.Extract(context.Background())
				release(t, ref)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), bad.Digest.String()) {
				t.Fatalf("got error %v, want one with %q and %s", err, test.want, bad.Digest)
			}
			statuses, err := s.Content().ListStatuses(context.Background())
			noError(t, err)
			if len(statuses) != 0 {
				t.Errorf("downloads are left behind: %v", statuses)
			}
			noError(t, s.Prune(context.Background(), store.PruneOptions{All: true}, nil))
			wantNothing(t, s)
		})
	}
}

// wantNothing fails if there is a record or a blob left.
func wantNothing(t *testing.T, s *store.Store) {
	t.Helper()
	list, err := s.Du(context.Background())
	noError(t, err)
	noError(t, s.Content().Walk(context.Background(), func(info content.Info) error {
		t.Errorf("blob %s is left", info.Digest)
		return nil
	}))
	if len(list) != 0 {
		t.Errorf("records are left: %+v", list)
	}
}

// TestLazyAfterReopen: a tree that was never fetched is there again once somebody
// says where from.
func TestLazyAfterReopen(t *testing.T) {
	testenv.Root(t)
	opt := store.Options{Root: t.TempDir()}
	r := newRemote()
	descs := []ocispec.Descriptor{r.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1"), r.layer(t, ocispec.MediaTypeImageLayerGzip, "b", "2")}
	s := openStore(t, opt)
	ref, err := s.FromLayers(context.Background(), descs, r, store.NewOptions{})
	noError(t, err)
	res, err := s.Results().Save(store.NewResult(ref))
	noError(t, err)
	release(t, ref)
	if s.Results().Exists(res.ID) {
		t.Error("nobody can fetch it, and it exists")
	}
	noError(t, s.Close())

	s = openStore(t, opt)
	defer func() { noError(t, s.Close()) }()
	if _, err := s.Results().Load(context.Background(), res); !errors.Is(err, solver.ErrNotFound) {
		t.Errorf("loaded what nobody can fetch: %v", err)
	}
	ref, err = s.FromLayers(context.Background(), descs, r, store.NewOptions{})
	noError(t, err)
	defer release(t, ref)
	loaded, err := s.Results().Load(context.Background(), res)
	noError(t, err)
	tree, err := store.RefOf(loaded)
	noError(t, err)
	mounted(t, tree, true, func(dir string) { wantFile(t, dir, "b", "2") })
	noError(t, loaded.Release(context.Background()))
	remote, err := s.Results().LoadRemote(context.Background(), res)
	noError(t, err)
	if len(remote.Descriptors) != 2 {
		t.Errorf("got %+v", remote)
	}
}

// A layer that was known in another form, which is gone, is the one that can be had.
func TestFromLayersOtherForm(t *testing.T) {
	testenv.Root(t)
	ctx := context.Background()
	opt := store.Options{Root: t.TempDir()}
	from := func(mediaType string, look func(*store.Ref, ocispec.Descriptor)) {
		s := openStore(t, opt)
		r := newRemote()
		desc := r.layer(t, mediaType, "a", "1")
		ref, err := s.FromLayers(ctx, []ocispec.Descriptor{desc}, r, store.NewOptions{})
		noError(t, err)
		look(ref, desc)
		release(t, ref)
		noError(t, s.Close())
	}
	from(ocispec.MediaTypeImageLayerGzip, func(*store.Ref, ocispec.Descriptor) {})
	from(ocispec.MediaTypeImageLayerZstd, func(ref *store.Ref, desc ocispec.Descriptor) {
		layers, provider, err := ref.Layers(ctx, store.LayerOptions{})
		noError(t, err)
		if layers[0].Descriptor.Digest != desc.Digest {
			t.Errorf("got %+v, want what was pulled now", layers[0].Descriptor)
		}
		_, err = content.ReadBlob(ctx, provider, layers[0].Descriptor)
		noError(t, err)
	})
}

// hooked is a blob that fails, or does not go on, as hooks have it.
type hooked struct {
	content.ReaderAt
	read  func() error
	close func()
}

func (h hooked) ReadAt(p []byte, off int64) (int, error) {
	if err := h.read(); err != nil {
		return 0, err
	}
	return h.ReaderAt.ReadAt(p, off)
}

func (h hooked) Close() error {
	h.close()
	return h.ReaderAt.Close()
}

// lender is a provider.
type lender func(context.Context, ocispec.Descriptor) (content.ReaderAt, error)

func (l lender) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	return l(ctx, desc)
}

// Two trees have the same blob on different bases. That the one cannot fetch it, and
// takes back what it has of it, is nothing to the other.
func TestSameBlobInTwoTrees(t *testing.T) {
	s := newStore(t, "")
	ctx := context.Background()
	r := newRemote()
	blob := r.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1")
	base := r.layer(t, ocispec.MediaTypeImageLayerGzip, "b", "1")
	failing, going, failed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once, onceGoing sync.Once
	fails := lender(func(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
		ra, err := r.ReaderAt(ctx, desc)
		return hooked{ra, func() error {
			once.Do(func() { close(failing) })
			return errors.New("broken off")
		}, func() { <-going }}, err // the writer is closed, and nothing taken back yet
	})
	works := lender(func(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
		ra, err := r.ReaderAt(ctx, desc)
		if desc.Digest == base.Digest {
			return ra, err
		}
		return hooked{ra, func() error {
			onceGoing.Do(func() { close(going) })
			<-failed
			return nil
		}, func() {}}, err
	})
	one, err := s.FromLayers(ctx, []ocispec.Descriptor{blob}, fails, store.NewOptions{})
	noError(t, err)
	other, err := s.FromLayers(ctx, []ocispec.Descriptor{base, blob}, works, store.NewOptions{})
	noError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := one.Extract(ctx); err == nil || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("got %v", err)
		}
		close(failed)
	})
	wg.Go(func() {
		<-failing
		if err := other.Extract(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	release(t, one, other)
}

// A layer that says when and how it was made was made then, and so.
func TestLayersTellOfThemselves(t *testing.T) {
	s := newStore(t, "")
	r := newRemote()
	var descs []ocispec.Descriptor
	for _, name := range []string{"a", "b", "c"} {
		d := r.layer(t, ocispec.MediaTypeImageLayerGzip, name, "1")
		d.Annotations[store.AnnotationDescription] = "made " + name
		d.Annotations[store.AnnotationCreatedAt] = "2001-02-03T04:05:06Z"
		descs = append(descs, d)
	}
	delete(descs[1].Annotations, store.AnnotationDescription)
	descs[1].Annotations[store.AnnotationCreatedAt] = "yesterday"
	descs[2].Annotations[store.AnnotationDescription] = strings.Repeat("x", 5<<10)
	ref, err := s.FromLayers(context.Background(), descs, r, store.NewOptions{Description: "all", CreatedAt: old})
	noError(t, err)
	defer release(t, ref)
	layers, _ := layersOf(t, ref, store.LayerOptions{})
	said := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for i, want := range []struct {
		text string
		at   time.Time
	}{{"made a", said}, {"all", old}, {"all", said}} {
		if l := layers[i]; l.Description != want.text || !l.CreatedAt.Equal(want.at) {
			t.Errorf("layer %d is %q, of %s", i, l.Description, l.CreatedAt)
		}
	}
}
