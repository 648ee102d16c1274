package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

func usageOf(t *testing.T, s *store.Store) map[string]store.UsageInfo {
	t.Helper()
	list, err := s.Du(context.Background())
	noError(t, err)
	out := map[string]store.UsageInfo{}
	for _, u := range list {
		out[u.ID] = u
	}
	return out
}

// pruned returns what a prune has removed, in its order.
func pruned(t *testing.T, s *store.Store, opt store.PruneOptions) []string {
	t.Helper()
	var out []string
	noError(t, s.Prune(context.Background(), opt, func(u store.UsageInfo) { out = append(out, u.Description) }))
	return out
}

// named makes a tree of one file of so many bytes, and releases it.
func named(t *testing.T, s *store.Store, parent *store.Ref, name string, size int) *store.Ref {
	t.Helper()
	return write(t, s, parent, store.NewOptions{Description: name}, file(t, name, strings.Repeat("x", size)))
}

func TestPruneOrder(t *testing.T) {
	s := newStore(t, "")
	a := named(t, s, nil, "a", 1)
	b := named(t, s, a, "b", 1)
	c := named(t, s, nil, "c", 1)
	d := named(t, s, c, "d", 1)
	release(t, b, d, a, c)
	if got := pruned(t, s, store.PruneOptions{DryRun: true}); !slices.Equal(got, []string{"b", "d", "a", "c"}) {
		t.Errorf("dry run: got %v", got)
	}
	held, err := s.Get(context.Background(), d.ID())
	noError(t, err)
	if got := pruned(t, s, store.PruneOptions{}); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("with one held: got %v", got)
	}
	mounted(t, held, true, func(dir string) { wantFile(t, dir, "c", "x") })
	release(t, held)
	if got := pruned(t, s, store.PruneOptions{KeepDuration: time.Hour}); len(got) != 0 {
		t.Errorf("within an hour: got %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{Filters: []string{"description~=c"}}); len(got) != 0 {
		t.Errorf("a parent was removed: got %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{Filters: []string{"description==d"}}); !slices.Equal(got, []string{"d"}) {
		t.Errorf("filtered: got %v", got)
	}
	if err := s.Prune(context.Background(), store.PruneOptions{Filters: []string{"=="}}, nil); err == nil {
		t.Error("a bad filter is taken")
	}
	if got := pruned(t, s, store.PruneOptions{}); !slices.Equal(got, []string{"c"}) {
		t.Errorf("at last: got %v", got)
	}
	wantNothing(t, s)
}

func TestPruneKeepsWithinLimits(t *testing.T) {
	s := newStore(t, "")
	cache := takeCache(t, s, "cache", "shared")
	mounted(t, cache, false, file(t, "big", strings.Repeat("x", 1<<20)))
	noError(t, cache.Release(context.Background()))
	var refs []*store.Ref
	for i := range 4 {
		refs = append(refs, named(t, s, nil, fmt.Sprint(i), 1<<20))
		release(t, refs[i])
	}
	if got := pruned(t, s, store.PruneOptions{MaxUsedSpace: 100 << 20}); len(got) != 0 {
		t.Errorf("all is within the limit, and was removed: %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{MaxUsedSpace: 1, ReservedSpace: 100 << 20}); len(got) != 0 {
		t.Errorf("what is reserved was removed: %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{MinFreeSpace: 1}); len(got) != 0 {
		t.Errorf("there is room, and was removed: %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{MaxUsedSpace: 3<<20 + 100<<10}); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("the oldest go, but for the cache mount: got %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{MaxUsedSpace: 1}); !slices.Equal(got, []string{"2", "3", "cache mount cache"}) {
		t.Errorf("the cache mount goes last: got %v", got)
	}
}

func TestPruneTypes(t *testing.T) {
	s := newStore(t, "")
	for _, kind := range []string{store.TypeInternal, store.TypeFrontend, store.TypeLocalSource} {
		release(t, write(t, s, nil, store.NewOptions{Description: kind, RecordType: kind}, file(t, "a", kind)))
	}
	if got := pruned(t, s, store.PruneOptions{}); !slices.Equal(got, []string{store.TypeLocalSource}) {
		t.Errorf("got %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{All: true}); len(got) != 2 {
		t.Errorf("all: got %v", got)
	}
}

// TestPruneReleasesKeys: what is gone is not found by the cache, either.
func TestPruneReleasesKeys(t *testing.T) {
	s := newStore(t, "")
	ref := named(t, s, nil, "a", 1)
	res, err := s.Results().Save(store.NewResult(ref))
	noError(t, err)
	noError(t, s.CacheKeys().AddResult("key", res))
	release(t, ref)
	if got := pruned(t, s, store.PruneOptions{}); len(got) != 1 {
		t.Fatalf("got %v", got)
	}
	if s.CacheKeys().Exists("key") || s.Results().Exists(res.ID) {
		t.Error("the key is still there")
	}
	if _, err := s.Results().Load(context.Background(), res); !errors.Is(err, solver.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestImagesPin: what an image holds survives everything but its deletion.
func TestImagesPin(t *testing.T) {
	testenv.Root(t)
	ctx := context.Background()
	opt := store.Options{Root: t.TempDir()}
	s := openStore(t, opt)
	ref := named(t, s, nil, "a", 100)
	layers, _ := layersOf(t, ref, store.LayerOptions{})
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layers[0].Descriptor}}
	dt, err := json.Marshal(manifest)
	noError(t, err)
	target := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
	held, done, err := s.WithLease(ctx)
	noError(t, err)
	noError(t, content.WriteBlob(held, s.Content(), "m", bytes.NewReader(dt), target, content.WithLabels(map[string]string{
		"containerd.io/gc.ref.content.0": layers[0].Descriptor.Digest.String(),
	})))
	_, err = s.Images().Create(ctx, images.Image{Name: "example.com/a:latest", Target: target})
	noError(t, err)
	noError(t, done(ctx))
	release(t, ref)
	if !usageOf(t, s)[ref.ID()].Shared {
		t.Error("a record whose blob an image has is not shared")
	}
	if got := pruned(t, s, store.PruneOptions{}); len(got) != 0 {
		t.Errorf("what is shared was pruned: %v", got)
	}
	if got := pruned(t, s, store.PruneOptions{All: true}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	noError(t, s.Close())

	s = openStore(t, opt)
	defer func() { noError(t, s.Close()) }()
	_, err = content.ReadBlob(ctx, s.Content(), layers[0].Descriptor)
	noError(t, err)
	noError(t, s.Images().Delete(ctx, "example.com/a:latest"))
	pruned(t, s, store.PruneOptions{})
	wantNothing(t, s)
}

// TestPruneWhileBuilding prunes all the time while trees are made, cloned, saved,
// loaded and released. What is held stays good.
func TestPruneWhileBuilding(t *testing.T) {
	eachSnapshotter(t, pruneWhileBuilding)
}

func pruneWhileBuilding(t *testing.T, s *store.Store) {
	ctx := context.Background()
	r := newRemote()
	base := []ocispec.Descriptor{r.layer(t, ocispec.MediaTypeImageLayerGzip, "base", "0")}
	stop := make(chan struct{})
	var pruner, builders sync.WaitGroup
	pruner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Prune(ctx, store.PruneOptions{All: true}, nil); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range 4 {
		builders.Go(func() {
			for j := range 5 {
				if err := build(s, base, r, fmt.Sprint(i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	builders.Wait()
	close(stop)
	pruner.Wait()
	noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
	wantNothing(t, s)
}

// build makes a tree on a pulled one, gives up its hold once, and finds it again if
// it is still there.
func build(s *store.Store, base []ocispec.Descriptor, r *remote, text string) error {
	ctx := context.Background()
	below, err := s.FromLayers(ctx, base, r, store.NewOptions{})
	if err != nil {
		return err
	}
	m, err := s.New(ctx, below, store.NewOptions{})
	if err != nil {
		return err
	}
	ref, err := m.Commit(ctx)
	if err != nil {
		return err
	}
	clone := ref.Clone()
	err = errors.Join(below.Release(ctx), ref.Release(ctx))
	if _, _, e := clone.Layers(ctx, store.LayerOptions{}); e != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", text, e))
	}
	res, e := s.Results().Save(store.NewResult(clone))
	err = errors.Join(err, e, s.CacheKeys().AddResult("key", res), clone.Release(ctx))
	loaded, e := s.Results().Load(ctx, res)
	if errors.Is(e, solver.ErrNotFound) {
		return err
	}
	if e != nil {
		return errors.Join(err, e)
	}
	tree, e := store.RefOf(loaded)
	if e == nil {
		e = tree.Extract(ctx)
	}
	return errors.Join(err, e, loaded.Release(ctx))
}

// What a prune that was interrupted has given up is off the disk after Close.
func TestPruneInterrupted(t *testing.T) {
	testenv.Root(t)
	root := t.TempDir()
	s := openStore(t, store.Options{Root: root})
	release(t, named(t, s, nil, "a", 1))
	ctx, cancel := context.WithCancel(context.Background())
	err := s.Prune(ctx, store.PruneOptions{All: true}, func(store.UsageInfo) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	noError(t, s.Close())
	if left, err := os.ReadDir(filepath.Join(root, s.Snapshotter(), "snapshots")); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
