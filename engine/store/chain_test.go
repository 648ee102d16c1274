package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// A chain is as long as one likes: more layers than the kernel stacks can be read,
// written upon, and packed, each layer for itself; and after the store was opened anew.
func TestLongChain(t *testing.T) {
	testenv.Root(t)
	const length = 520
	ctx := context.Background()
	dir := t.TempDir()
	s := openStore(t, store.Options{Root: dir})
	top := write(t, s, nil, store.NewOptions{}, func(dir string) {
		noError(t, os.WriteFile(filepath.Join(dir, "f0"), []byte("0"), 0o640))
		noError(t, os.Link(filepath.Join(dir, "f0"), filepath.Join(dir, "same")))
		noError(t, os.Symlink("f0", filepath.Join(dir, "link")))
		noError(t, os.MkdirAll(filepath.Join(dir, "d/e"), 0o711))
		noError(t, os.WriteFile(filepath.Join(dir, "gone"), nil, 0o600))
	})
	for i := 1; i < length; i++ {
		next := write(t, s, top, store.NewOptions{}, func(dir string) {
			noError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), fmt.Append(nil, i), 0o644))
			if i == 5 {
				noError(t, os.Remove(filepath.Join(dir, "gone")))
			}
		})
		release(t, top)
		top = next
	}
	id := top.ID()
	release(t, top)
	noError(t, s.Close())

	s = openStore(t, store.Options{Root: dir})
	defer func() { noError(t, s.Close()) }()
	top, err := s.Get(ctx, id)
	noError(t, err)
	mounted(t, top, true, func(dir string) {
		entries, err := os.ReadDir(dir)
		noError(t, err)
		if want := length + 3; len(entries) != want {
			t.Errorf("the tree has %d files, not %d", len(entries), want)
		}
		for i := range length {
			if dt, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("f%d", i))); err != nil || string(dt) != fmt.Sprint(i) {
				t.Fatalf("f%d: %q, %v", i, dt, err)
			}
		}
		one, err := os.Stat(filepath.Join(dir, "f0"))
		noError(t, err)
		other, err := os.Stat(filepath.Join(dir, "same"))
		noError(t, err)
		d, err := os.Stat(filepath.Join(dir, "d/e"))
		noError(t, err)
		if !os.SameFile(one, other) || one.Mode() != 0o640 || d.Mode().Perm() != 0o711 {
			t.Errorf("links or modes were lost: %v, %v", one.Mode(), d.Mode())
		}
	})
	layers, tars := layersOf(t, top, store.LayerOptions{})
	if len(layers) != length {
		t.Fatalf("%d layers", len(layers))
	}
	for i, tar := range tars {
		if hs := headers(t, tar); i > 5 && (len(hs) != 1 || hs[0].Name != fmt.Sprintf("f%d", i)) {
			t.Fatalf("layer %d has %+v", i, hs)
		}
	}
	// A merge on top of it is made upon what is there.
	other := write(t, s, nil, store.NewOptions{}, file(t, "other", "x"))
	merged, err := s.Merge(ctx, []*store.Ref{top, other}, store.NewOptions{})
	noError(t, err)
	mounted(t, merged, true, func(dir string) {
		wantFile(t, dir, "other", "x")
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != length+4 {
			t.Errorf("the merge has %d files, %v", len(entries), err)
		}
	})
	release(t, merged, other)

	// All of it, and so what was made of a chain in between, can be pruned.
	list, err := s.Du(ctx)
	noError(t, err)
	var size int64
	for _, u := range list {
		size += u.Size
	}
	if len(list) != length+2 || size > 64<<20 {
		t.Errorf("%d records take %d bytes", len(list), size)
	}
	release(t, top)
	if gone := pruned(t, s, store.PruneOptions{}); len(gone) != length+2 {
		t.Errorf("%d records were pruned", len(gone))
	}
	if left, err := os.ReadDir(filepath.Join(dir, "overlayfs", "snapshots")); err != nil || len(left) != 0 {
		t.Errorf("%d snapshots are left, %v", len(left), err)
	}
}

// An image may have more layers than the kernel stacks.
func TestPulledChain(t *testing.T) {
	const length = 510
	s := newStore(t, "")
	r := newRemote()
	var descs []ocispec.Descriptor
	for i := range length {
		descs = append(descs, r.layer(t, ocispec.MediaTypeImageLayerGzip, fmt.Sprintf("f%d", i), "x"))
	}
	ref, err := s.FromLayers(context.Background(), descs, r, store.NewOptions{})
	noError(t, err)
	defer release(t, ref)
	mounted(t, ref, true, func(dir string) {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != length {
			t.Errorf("%d files, %v", len(entries), err)
		}
	})
}
