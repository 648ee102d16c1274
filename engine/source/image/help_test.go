package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/image"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// world is a store and a registry, and the source between them.
type world struct {
	t    *testing.T
	root string
	st   *store.Store
	reg  *registrytest.Server
	src  *image.Source
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.Root(t)
	w := &world{t: t, root: t.TempDir(), reg: registrytest.New(t)}
	w.open()
	t.Cleanup(func() { check.OK(t, w.st.Close()) })
	return w
}

// open opens the store, as another process would.
func (w *world) open() {
	w.t.Helper()
	if w.st != nil {
		check.OK(w.t, w.st.Close())
	}
	var err error
	w.st, err = store.Open(context.Background(), store.Options{Root: w.root, Snapshotter: "native"})
	check.OK(w.t, err)
	r, err := registry.New(registry.Options{Attempts: 1})
	check.OK(w.t, err)
	w.src = image.New(image.Options{Store: w.st, Registry: r})
}

// parse makes an instance of a reference, with attributes in pairs.
func (w *world) parse(ref string, platform *pb.Platform, attrs ...string) (source.Instance, error) {
	op := &pb.SourceOp{Identifier: "docker-image://" + ref, Attrs: map[string]string{}}
	for i := 0; i+1 < len(attrs); i += 2 {
		op.Attrs[attrs[i]] = attrs[i+1]
	}
	return w.src.Parse(op, platform)
}

// keys resolves a reference to its keys.
func (w *world) keys(ref string, platform *pb.Platform, attrs ...string) (keys []string, err error) {
	w.t.Helper()
	i, err := w.parse(ref, platform, attrs...)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		k, done, err := i.CacheKey(w.t.Context(), n)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
		if done {
			return keys, nil
		}
	}
}

func (w *world) mustKeys(ref string, platform *pb.Platform, attrs ...string) []string {
	w.t.Helper()
	k, err := w.keys(ref, platform, attrs...)
	check.OK(w.t, err)
	return k
}

// snapshot makes a reference's tree, which is released with the test.
func (w *world) snapshot(ref string, attrs ...string) *store.Ref {
	w.t.Helper()
	i, err := w.parse(ref, nil, attrs...)
	check.OK(w.t, err)
	tree, err := i.Snapshot(w.t.Context())
	check.OK(w.t, err)
	return tree
}

// read mounts a tree and reads files of it; those that are not there are "-".
func (w *world) read(tree *store.Ref, names ...string) (string, error) {
	w.t.Helper()
	m, err := tree.Mount(w.t.Context(), true)
	if err != nil {
		return "", err
	}
	mounts, release, err := m.Mount()
	check.OK(w.t, err)
	defer func() { check.OK(w.t, release()) }()
	var got []string
	check.OK(w.t, mount.WithTempMount(context.Background(), mounts, func(dir string) error {
		for _, n := range names {
			dt, err := os.ReadFile(filepath.Join(dir, n))
			if os.IsNotExist(err) {
				dt = []byte("-")
			} else if err != nil {
				return err
			}
			got = append(got, string(dt))
		}
		return nil
	}))
	return strings.Join(got, " "), nil
}

// layer is a layer of files, in pairs of name and content.
func layer(t testing.TB, files ...string) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for i := 0; i+1 < len(files); i += 2 {
		check.OK(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := tw.Write([]byte(files[i+1]))
		check.OK(t, err)
	}
	check.OK(t, tw.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	check.OK(t, err)
	return l
}

// picture is an image of layers for a platform such as amd64.
func picture(t testing.TB, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	check.OK(t, err)
	return configured(t, img, func(c *v1.ConfigFile) { c.OS, c.Architecture = "linux", arch })
}

// configured changes an image's configuration.
func configured(t testing.TB, img v1.Image, change func(c *v1.ConfigFile)) v1.Image {
	t.Helper()
	c, err := img.ConfigFile()
	check.OK(t, err)
	c = c.DeepCopy()
	change(c)
	img, err = mutate.ConfigFile(img, c)
	check.OK(t, err)
	return img
}

// entry is an image in an index.
func entry(img mutate.Appendable, os, arch, variant string) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch, Variant: variant}}}
}
