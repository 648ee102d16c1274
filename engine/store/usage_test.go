package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

// onDisk is what a directory takes: used blocks, each file once.
func onDisk(t *testing.T, root string) (size int64) {
	t.Helper()
	seen := map[uint64]bool{}
	noError(t, filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		noError(t, err)
		fi, err := d.Info()
		noError(t, err)
		st := fi.Sys().(*syscall.Stat_t)
		if !seen[st.Ino] {
			size += st.Blocks * 512
		}
		seen[st.Ino] = true
		return nil
	}))
	return size
}

// nearly fails if two sizes differ by more than 2 % of the larger.
func nearly(t *testing.T, what string, got, want int64) {
	t.Helper()
	if d := max(got-want, want-got); d*50 > max(got, want) {
		t.Errorf("%s: %d bytes, and on the disk it is %d: %+d", what, got, want, got-want)
	}
}

// random is a file that takes the room it seems to take, also as a layer.
func random(t *testing.T, name string, size int) func(dir string) {
	return func(dir string) {
		t.Helper()
		dt := make([]byte, size)
		_, _ = rand.Read(dt)
		noError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		noError(t, os.WriteFile(filepath.Join(dir, name), dt, 0o644))
	}
}

// putImage makes an image of a tree, under a name.
func putImage(t *testing.T, s *store.Store, name string, ref *store.Ref) ocispec.Descriptor {
	t.Helper()
	ctx, done, err := s.WithLease(context.Background())
	noError(t, err)
	layers, _ := layersOf(t, ref, store.LayerOptions{})
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON}
	refs := map[string]string{}
	for i, l := range layers {
		m.Layers = append(m.Layers, l.Descriptor)
		refs[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Descriptor.Digest.String()
	}
	dt, err := json.Marshal(m)
	noError(t, err)
	target := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
	noError(t, content.WriteBlob(ctx, s.Content(), "m-"+name, bytes.NewReader(dt), target, content.WithLabels(refs)))
	noError(t, s.Tag(ctx, name, target))
	noError(t, done(ctx))
	return target
}

// generations makes trees of which each shares a file with the one before, and has one
// of its own.
func generations(t *testing.T, s *store.Store, n int) (all []*store.Ref) {
	t.Helper()
	for i := range n {
		m, err := s.New(t.Context(), nil, store.NewOptions{Description: "generation" + fmt.Sprint(i), RecordType: store.TypeLocalSource})
		noError(t, err)
		if i > 0 {
			l, err := m.LinkFrom(t.Context(), all[i-1])
			noError(t, err)
			if !linkAt(l, "same", func(*unix.Stat_t) bool { return true }) {
				t.Fatal("no link was made")
			}
			noError(t, l.Close())
		}
		mounted(t, m, false, func(dir string) {
			if i == 0 {
				random(t, "same", 3<<20)(dir)
			}
			random(t, fmt.Sprint("own", i), 1<<20)(dir)
		})
		ref, err := m.Commit(t.Context())
		noError(t, err)
		all = append(all, ref)
	}
	return all
}

// TestUsageIsTheDisks: what there is and what a prune frees is what the file system
// says, whatever holds it.
func TestUsageIsTheDisks(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		root := filepath.Dir(s.Path())
		agree := func(when string) {
			t.Helper()
			u, err := s.Usage(t.Context())
			noError(t, err)
			nearly(t, "total "+when, u.Total, onDisk(t, root))
		}
		prune := func(opt store.PruneOptions) {
			t.Helper()
			var dry, freed int64
			before := onDisk(t, root)
			try := opt
			try.DryRun = true
			noError(t, s.Prune(t.Context(), try, func(u store.UsageInfo) { dry += u.Size }))
			noError(t, s.Prune(t.Context(), opt, func(u store.UsageInfo) { freed += u.Size }))
			what := fmt.Sprintf("freed by %+v", opt)
			nearly(t, what, freed, before-onDisk(t, root))
			nearly(t, "dry run: "+what, dry, freed)
			agree("after " + what)
		}
		agree("of an empty root")
		gens := generations(t, s, 5)
		base := write(t, s, nil, store.NewOptions{Description: "base"}, random(t, "base", 4<<20))
		top := write(t, s, base, store.NewOptions{Description: "top"}, random(t, "top", 2<<20))
		side := write(t, s, base, store.NewOptions{Description: "side"}, random(t, "side", 2<<20))
		merged, err := s.Merge(t.Context(), []*store.Ref{top, side}, store.NewOptions{Description: "merged"})
		noError(t, err)
		noError(t, merged.Extract(t.Context()))
		var small []*store.Ref
		for i := range 50 {
			small = append(small, write(t, s, nil, store.NewOptions{Description: "small"}, file(t, fmt.Sprint("d/", i), "x")))
		}
		cache := takeCache(t, s, "cache", "shared")
		mounted(t, cache, false, random(t, "c", 2<<20))
		noError(t, cache.Release(t.Context()))
		putImage(t, s, "docker.io/library/app:1", top)
		putImage(t, s, "docker.io/library/other:1", side)
		putImage(t, s, "docker.io/library/again:1", top) // in a manifest of its own digest, or the same
		agree("of everything")

		cache = takeCache(t, s, "cache", "shared") // grows after it was measured
		mounted(t, cache, false, random(t, "d", 3<<20))
		noError(t, cache.Release(t.Context()))
		agree("with a larger cache mount")
		release(t, merged, top, side)
		release(t, small...)
		release(t, gens...)
		prune(store.PruneOptions{Filters: []string{"description==generation2"}}) // from the midst
		prune(store.PruneOptions{Filters: []string{"description==generation1", "description==generation4"}})
		prune(store.PruneOptions{Filters: []string{"type==" + store.TypeCacheMount}})
		prune(store.PruneOptions{Filters: []string{"description==merged"}})
		putImage(t, s, "docker.io/library/app:1", base) // the old one is without a tag
		release(t, base)
		agree("with an untagged image")
		prune(store.PruneOptions{Filters: []string{"description==small"}})
		prune(store.PruneOptions{MaxUsedSpace: 8 << 20})
		prune(store.PruneOptions{All: true})
		u, err := s.Usage(t.Context())
		noError(t, err)
		if len(u.Records) != 0 || u.Images != 3 || u.ImagesSize < 6<<20 || u.ImagesUnique != u.ImagesSize || u.Reclaimable != 0 {
			t.Errorf("with images only: %+v", u)
		}
		before := onDisk(t, root)
		noError(t, s.Untag(t.Context(), "docker.io/library/other:1"))
		if freed := before - onDisk(t, root); freed < 2<<20 {
			t.Errorf("removing an image freed %d bytes", freed)
		}
		agree("with an image removed")
	})
}
