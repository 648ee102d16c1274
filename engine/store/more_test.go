package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/util/compression"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"golang.org/x/sys/unix"
)

// TestUmociReadsLayers has another program unpack a tree's layers.
func TestUmociReadsLayers(t *testing.T) {
	umoci := testenv.Tool(t, "umoci")
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		a := write(t, s, nil, store.NewOptions{}, everything(t))
		b := write(t, s, a, store.NewOptions{}, change(t))
		defer release(t, a, b)
		layers, provider, err := b.Layers(context.Background(), store.LayerOptions{Compression: compression.New(compression.Gzip)})
		noError(t, err)
		dir := t.TempDir()
		writeLayout(t, dir, layers, provider)
		out, err := exec.Command(umoci, "unpack", "--image", dir+":latest", dir+"/bundle").CombinedOutput()
		if err != nil {
			t.Fatalf("umoci: %v\n%s", err, out)
		}
		got := describe(t, filepath.Join(dir, "bundle", "rootfs"))
		mounted(t, b, true, func(dir string) {
			if want := describe(t, dir); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	})
}

// writeLayout writes an OCI layout of an image of layers.
func writeLayout(t *testing.T, dir string, layers []store.Layer, provider content.Provider) {
	t.Helper()
	put := func(mediaType string, dt []byte) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
		name := filepath.Join(dir, "blobs", "sha256", desc.Digest.Encoded())
		noError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		noError(t, os.WriteFile(name, dt, 0o644))
		return desc
	}
	putJSON := func(mediaType string, v any) ocispec.Descriptor {
		dt, err := json.Marshal(v)
		noError(t, err)
		return put(mediaType, dt)
	}
	image := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range layers {
		dt, err := content.ReadBlob(context.Background(), provider, l.Descriptor)
		noError(t, err)
		manifest.Layers = append(manifest.Layers, put(l.Descriptor.MediaType, dt))
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, l.DiffID)
	}
	manifest.Config = putJSON(ocispec.MediaTypeImageConfig, image)
	desc := putJSON(manifest.MediaType, manifest)
	desc.Annotations = map[string]string{ocispec.AnnotationRefName: "latest"}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{desc}})
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	noError(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// TestDeepTree: a tree may have more layers than fit into a mount's options as they
// are.
func TestDeepTree(t *testing.T) {
	s := newStore(t, "")
	const deep = 100
	var ref *store.Ref
	for i := range deep {
		next := write(t, s, ref, store.NewOptions{}, file(t, fmt.Sprint("f", i), fmt.Sprint(i)))
		release(t, ref)
		ref = next
	}
	mounted(t, ref, true, func(dir string) {
		for i := range deep {
			wantFile(t, dir, fmt.Sprint("f", i), fmt.Sprint(i))
		}
	})
	release(t, ref)
	noError(t, s.Prune(context.Background(), store.PruneOptions{}, nil))
	wantNothing(t, s)
}

// TestPullProgress: what is fetched and unpacked shows in the status of who asked.
func TestPullProgress(t *testing.T) {
	s := newStore(t, "")
	r := newRemote()
	desc := r.layer(t, ocispec.MediaTypeImageLayerGzip, "a", strings.Repeat("1", 1<<16))
	ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{desc}, r, store.NewOptions{})
	noError(t, err)
	defer release(t, ref)
	slv := solver.NewSolver(solver.SolverOpt{})
	defer slv.Close()
	job, err := slv.NewJob("pull")
	noError(t, err)
	noError(t, ref.Extract(job.Context(context.Background())))
	ch := make(chan *client.SolveStatus)
	last := map[string]*client.VertexStatus{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for st := range ch {
			for _, v := range st.Statuses {
				last[v.ID] = v
			}
		}
	})
	wg.Go(func() {
		if err := job.Status(context.Background(), ch); err != nil {
			t.Error(err)
		}
	})
	noError(t, job.Discard())
	wg.Wait()
	fetch, unpack := last[desc.Digest.String()], last["extracting "+desc.Digest.String()]
	if fetch == nil || fetch.Total != desc.Size || fetch.Current != desc.Size || fetch.Completed == nil {
		t.Errorf("fetching: got %+v", fetch)
	}
	if unpack == nil || unpack.Started == nil || unpack.Completed == nil {
		t.Errorf("extracting: got %+v", unpack)
	}
}

// TestFullDisk: on a full disk things fail with an error that says so, what was
// there stays good, and Prune makes room.
func TestFullDisk(t *testing.T) {
	testenv.Root(t)
	root := t.TempDir()
	noError(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=8m"))
	t.Cleanup(func() { noError(t, unix.Unmount(root, 0)) })
	s := openStore(t, store.Options{Root: root})
	defer func() { noError(t, s.Close()) }()
	good := write(t, s, nil, store.NewOptions{}, file(t, "good", "1"))
	filler := filepath.Join(s.Path(), "filler")
	f, err := os.Create(filler)
	noError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	noError(t, f.Close())
	failed := false
	for range 50 {
		m, err := s.New(context.Background(), good, store.NewOptions{})
		if err == nil {
			var ref *store.Ref
			if ref, err = m.Commit(context.Background()); err == nil {
				release(t, ref)
			}
		}
		if err != nil {
			failed = true
			if !strings.Contains(err.Error(), "no space left") {
				t.Fatalf("got %v", err)
			}
		}
	}
	if !failed {
		t.Log("50 trees found room in the files that were there")
	}
	mounted(t, good, true, func(dir string) { wantFile(t, dir, "good", "1") })
	noError(t, os.Remove(filler))
	next := write(t, s, good, store.NewOptions{}, file(t, "next", "2"))
	mounted(t, next, true, func(dir string) { wantFile(t, dir, "good", "1") })
	release(t, good, next)
	noError(t, s.Prune(context.Background(), store.PruneOptions{}, nil))
	wantNothing(t, s)
}
