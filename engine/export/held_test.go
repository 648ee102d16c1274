package export_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/store"
)

// An image with a name outlives the records that it was made of; one without does
// not.
func TestImageIsHeld(t *testing.T) {
	st := openStore(t)
	ctx := st.Context(t.Context())
	deps := export.Deps{Store: st}
	src := multi(map[string]*store.Ref{"linux/amd64": nil, "linux/arm64": nil})
	var digests []string
	func() {
		ref := plant(t, st, nil, "x", func(dir string) { write(t, dir, "f", "x") })
		defer func() { must(t, ref.Release(ctx)) }()
		src.Platforms[0].Ref = ref
		for _, o := range []string{"type=image,name=kept", "type=image,annotation.a=other"} {
			resp, _ := mustOutput(t, deps, src, o)
			digests = append(digests, resp[exptypes.ExporterImageDigestKey])
		}
	}()
	must(t, st.Prune(ctx, store.PruneOptions{All: true}, nil))
	img, err := st.Images().Get(ctx, "docker.io/library/kept:latest")
	must(t, err)
	if img.Target.Digest.String() != digests[0] {
		t.Errorf("kept is %s, not %s", img.Target.Digest, digests[0])
	}
	n := 0
	must(t, images.Walk(ctx, images.Handlers(images.ChildrenHandler(st.Content()), images.HandlerFunc(
		func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			n++
			ra, err := st.Content().ReaderAt(ctx, d)
			if err != nil {
				return nil, err
			}
			return nil, ra.Close()
		})), img.Target))
	if n != 6 { // an index, two manifests, two configs, a layer
		t.Errorf("the image has %d blobs", n)
	}
	must(t, st.Content().Walk(ctx, func(i content.Info) error {
		if i.Digest.String() == digests[1] {
			t.Error("an image without a name is kept")
		}
		return nil
	}))
}

// counting counts how often blobs are read.
type counting struct {
	content.Provider
	reads atomic.Int64
}

func (c *counting) ReaderAt(ctx context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	c.reads.Add(1)
	return c.Provider.ReaderAt(ctx, d)
}

// Layers of a lazy base are read where they are needed only: not for what stays
// without a name, once for an image in the store. They keep their digest and times,
// also where those of others are rewritten.
func TestLazyBase(t *testing.T) {
	from := openStore(t)
	base := grow(t, from, nil, "base", func(dir string) { write(t, dir, "base", "x") })
	layers, provider, err := base.Layers(t.Context(), store.LayerOptions{})
	must(t, err)
	st := openStore(t)
	deps := export.Deps{Store: st}
	count := &counting{Provider: provider}
	lazy, err := st.FromLayers(t.Context(), []ocispec.Descriptor{layers[0].Descriptor}, count, store.NewOptions{Description: "pulled", CreatedAt: made})
	must(t, err)
	defer func() { must(t, lazy.Release(context.WithoutCancel(t.Context()))) }()
	src := single(lazy)
	config, err := json.Marshal(ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{layers[0].DiffID}}})
	must(t, err)
	src.Metadata = map[string][]byte{"source.date.epoch": []byte("1000"), exptypes.ExporterImageBaseConfigKey: config}
	mustOutput(t, deps, src, "type=image,rewrite-timestamp=true")
	if n := count.reads.Load(); n != 0 {
		t.Errorf("read %d times for nothing", n)
	}
	resp, _ := mustOutput(t, deps, src, "type=image,name=x,rewrite-timestamp=true")
	mustOutput(t, deps, src, "type=image,name=y")
	if n := count.reads.Load(); n != 1 {
		t.Errorf("read %d times", n)
	}
	ctx := st.Context(t.Context())
	img, err := st.Images().Get(ctx, "docker.io/library/x:latest")
	must(t, err)
	m, err := images.Manifest(ctx, st.Content(), img.Target, nil)
	must(t, err)
	if img.Target.Digest.String() != resp[exptypes.ExporterImageDigestKey] || m.Layers[0].Digest != layers[0].Descriptor.Digest {
		t.Errorf("%+v, want the layer %s", m, layers[0].Descriptor.Digest)
	}
	if _, err := st.Content().Info(ctx, m.Layers[0].Digest); err != nil {
		t.Error(err)
	}
}

// What is pushed is what was built, by tag and by digest.
func TestPush(t *testing.T) {
	srv := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	reg, err := registry.New(registry.Options{})
	must(t, err)
	st := openStore(t)
	ref, _ := twoLayers(t, st)
	deps := export.Deps{Store: st, Pusher: export.ViaRegistry(reg)}
	resp, _ := mustOutput(t, deps, built(ref), `type=registry,"name=`+host+`/a/b:c,`+host+`/dd"`)
	for _, n := range []string{"/a/b:c", "/dd:latest", "/a/b@" + resp[exptypes.ExporterImageDigestKey]} {
		r, err := name.ParseReference(host + n)
		must(t, err)
		img, err := remote.Image(r)
		must(t, err)
		must(t, validate.Image(img))
		if d, err := img.Digest(); err != nil || d.String() != resp[exptypes.ExporterImageDigestKey] {
			t.Errorf("%s: %s, %v", n, d, err)
		}
	}
	two := multi(map[string]*store.Ref{"linux/amd64": ref, "linux/arm64": nil})
	resp, _ = mustOutput(t, deps, two, `type=image,push=true,store=true,push-by-digest=true,name=`+host+`/idx`)
	r, err := name.NewDigest(host + "/idx@" + resp[exptypes.ExporterImageDigestKey])
	must(t, err)
	idx, err := remote.Index(r)
	must(t, err)
	must(t, validate.Index(idx))
	if tags, err := remote.List(r.Repository); err == nil && len(tags) > 0 {
		t.Errorf("pushed by digest, there are tags %v", tags)
	}
	if _, err := st.Images().Get(st.Context(t.Context()), host+"/idx@"+resp[exptypes.ExporterImageDigestKey]); err != nil {
		t.Error(err)
	}
	srv.Close()
	if _, _, err := output(t, deps, two, `type=registry,store=false,name=`+host+`/idx`); err == nil || !strings.Contains(err.Error(), host) {
		t.Errorf("a registry that is gone: %v", err)
	}
	if _, _, err := output(t, deps, two, `type=registry,name=*`); err == nil || !strings.Contains(err.Error(), "has no name") {
		t.Errorf("without a name: %v", err)
	}
}

// An index is one for other readers, and old media types are where they are asked for.
func TestIndexAndMediaTypes(t *testing.T) {
	st := openStore(t)
	ref, _ := twoLayers(t, st)
	deps := export.Deps{Store: st}
	for attrs, want := range map[string][3]types.MediaType{
		"":                      {types.OCIImageIndex, types.OCIManifestSchema1, types.OCILayer},
		",oci-mediatypes=false": {types.DockerManifestList, types.DockerManifestSchema2, types.DockerLayer},
	} {
		dir := t.TempDir()
		two := multi(map[string]*store.Ref{"linux/amd64": ref, "linux/arm64": nil})
		mustOutput(t, deps, two, "type=oci,tar=false,dest="+dir+attrs)
		p, err := layout.FromPath(dir)
		must(t, err)
		top, err := p.ImageIndex()
		must(t, err)
		must(t, validate.Index(top))
		im, err := top.IndexManifest()
		must(t, err)
		idx, err := top.ImageIndex(im.Manifests[0].Digest)
		must(t, err)
		inner, err := idx.IndexManifest()
		must(t, err)
		img, err := idx.Image(inner.Manifests[0].Digest)
		must(t, err)
		m, err := img.Manifest()
		must(t, err)
		if got := [3]types.MediaType{inner.MediaType, m.MediaType, m.Layers[0].MediaType}; got != want {
			t.Errorf("%q: %v, want %v", attrs, got, want)
		}
		if pl := inner.Manifests[1].Platform; pl == nil || pl.Architecture != "arm64" {
			t.Errorf("%q: platform %v", attrs, pl)
		}
	}
	// Results that nobody can tell apart.
	bad := multi(map[string]*store.Ref{"linux/amd64": ref, "linux/arm64": nil})
	bad.Platforms[1].ID = "linux/amd64"
	if _, _, err := output(t, deps, bad, "type=oci"); err == nil || !strings.Contains(err.Error(), "two results for platform linux/amd64") {
		t.Errorf("%v", err)
	}
	bad.Platforms[1].ID = ""
	if _, _, err := output(t, deps, bad, "type=local,dest="+t.TempDir()); err == nil || !strings.Contains(err.Error(), "refs.platforms") {
		t.Errorf("%v", err)
	}
}

// Exports of the same result at once do not get into each other's way.
func TestConcurrently(t *testing.T) {
	st := openStore(t)
	ref, _ := twoLayers(t, st)
	deps := export.Deps{Store: st}
	dir := t.TempDir()
	var wg sync.WaitGroup
	errs := make(chan error, 32)
	for _, o := range []string{"type=image,name=a", "type=image,name=a", "type=oci,name=a", "type=docker,name=b", "-",
		"type=oci,tar=false,name=a,dest=" + dir, "type=oci,tar=false,name=b,dest=" + dir, "type=local,dest=" + t.TempDir(),
		"type=image,name=c,compression=zstd,force-compression=true", "type=oci,compression=zstd,force-compression=true"} {
		wg.Go(func() {
			_, _, err := output(t, deps, built(ref), o)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	p, err := layout.FromPath(dir)
	must(t, err)
	idx, err := p.ImageIndex()
	must(t, err)
	im, err := idx.IndexManifest()
	must(t, err)
	if len(im.Manifests) != 2 {
		t.Errorf("the layout has %+v", im.Manifests)
	}
}

// Many may name things in one layout at a time.
func TestNameInLayout(t *testing.T) {
	dir := t.TempDir()
	var all errgroup.Group
	for n := range 20 {
		all.Go(func() error {
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(n)), Size: 1}
			return errors.Join(
				export.NameInLayout(t.Context(), dir, 0o022, desc, nil, fmt.Sprint("tag", n)),
				export.NameInLayout(t.Context(), dir, 0o022, desc, nil, "shared"),
			)
		})
	}
	must(t, all.Wait())
	dt, err := os.ReadFile(filepath.Join(dir, "index.json"))
	must(t, err)
	var idx ocispec.Index
	must(t, json.Unmarshal(dt, &idx))
	if len(idx.Manifests) != 21 {
		t.Errorf("there are %d entries", len(idx.Manifests))
	}
}

// stopping is a file whose first write stops the build.
type stopping struct {
	io.WriteCloser
	stop func()
}

func (s stopping) Write(p []byte) (int, error) {
	s.stop()
	return s.WriteCloser.Write(p)
}

func (s stopping) Discard() error { return s.WriteCloser.(export.Discarder).Discard() }

// A build that is stopped while it writes leaves no half archive.
func TestStoppedInTheMiddle(t *testing.T) {
	st := openStore(t)
	ref, _ := twoLayers(t, st)
	dir := t.TempDir()
	why := errors.New("enough")
	for _, typ := range []string{"oci", "docker", "tar"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		ex, err := export.New(export.Builtin(export.Deps{Store: st}), export.Request{Type: typ,
			Open: func(ctx context.Context, _ map[string]string) (io.WriteCloser, error) {
				w, err := export.File(filepath.Join(dir, typ), 0)(ctx, nil)
				return stopping{w, func() { cancel(why) }}, err
			}})
		must(t, err)
		if _, err := ex.Export(ctx, built(ref), nil); !errors.Is(err, why) {
			t.Errorf("%s: %v", typ, err)
		}
		cancel(nil)
	}
	es, err := os.ReadDir(dir)
	must(t, err)
	if len(es) > 0 {
		t.Errorf("left behind: %v", es)
	}
}

// lying gives bytes of the right number that are not the blob's, once.
type lying struct {
	content.Provider
	lies atomic.Int64
}

func (l *lying) ReaderAt(ctx context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := l.Provider.ReaderAt(ctx, d)
	if err != nil || l.lies.Add(-1) < 0 {
		return ra, err
	}
	return damaged{ra}, nil
}

type damaged struct{ content.ReaderAt }

func (d damaged) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.ReaderAt.ReadAt(p, off)
	clear(p[:n])
	return n, err
}

// What came damaged once, and is refused, is not in the way of the next attempt.
func TestLayerDamagedOnce(t *testing.T) {
	from := openStore(t)
	base := grow(t, from, nil, "base", func(dir string) { write(t, dir, "base", "x") })
	layers, provider, err := base.Layers(t.Context(), store.LayerOptions{})
	must(t, err)
	st := openStore(t)
	l := &lying{Provider: provider}
	l.lies.Store(1)
	ref, err := st.FromLayers(t.Context(), []ocispec.Descriptor{layers[0].Descriptor}, l, store.NewOptions{})
	must(t, err)
	defer func() { must(t, ref.Release(context.WithoutCancel(t.Context()))) }()
	deps := export.Deps{Store: st}
	if _, _, err := output(t, deps, built(ref), "type=image,name=x"); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("damaged: got %v", err)
	}
	mustOutput(t, deps, built(ref), "type=image,name=x")
}
