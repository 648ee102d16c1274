package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/util/compression"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

// pushed makes a remote of a tree's layers.
func pushed(t *testing.T, r *store.Ref, opt store.LayerOptions) (*remote, []ocispec.Descriptor) {
	t.Helper()
	layers, provider, err := r.Layers(context.Background(), opt)
	noError(t, err)
	to := newRemote()
	var descs []ocispec.Descriptor
	for _, l := range layers {
		dt, err := content.ReadBlob(context.Background(), provider, l.Descriptor)
		noError(t, err)
		to.blobs[l.Descriptor.Digest] = dt
		descs = append(descs, l.Descriptor)
	}
	return to, descs
}

// sourceOf is how a tree is mounted.
func sourceOf(t *testing.T, r *store.Ref) string {
	t.Helper()
	m, err := r.Mount(context.Background(), true)
	noError(t, err)
	mounts, done, err := m.Mount()
	noError(t, err)
	noError(t, done())
	return fmt.Sprint(mounts)
}

func used(t *testing.T, s *store.Store) (size int64) {
	t.Helper()
	all, err := s.Du(context.Background())
	noError(t, err)
	for _, u := range all {
		size += u.Size
	}
	return size
}

// TestBuiltComesBack: what was built here, and comes back as the layers of an image, in
// whatever form, is not fetched, not unpacked, and not stored twice; also after the next
// start, and after the record that was built has gone.
func TestBuiltComesBack(t *testing.T) {
	for _, snapshotter := range snapshotters {
		for _, form := range []compression.Type{compression.Gzip, compression.Zstd, compression.Uncompressed} {
			t.Run(snapshotter+" "+form.String(), func(t *testing.T) {
				ctx := context.Background()
				opt := store.Options{Root: t.TempDir(), Snapshotter: snapshotter}
				newStore(t, snapshotter) // skips
				s := openStore(t, opt)
				base := newRemote()
				layer := base.layer(t, ocispec.MediaTypeImageLayerGzip, "base", "1")
				low, err := s.FromLayers(ctx, []ocispec.Descriptor{layer}, base, store.NewOptions{})
				noError(t, err)
				a := write(t, s, low, store.NewOptions{}, file(t, "a", "1"))
				b := write(t, s, a, store.NewOptions{}, func(dir string) {
					noError(t, os.Remove(filepath.Join(dir, "base")))
					file(t, "b", "2")(dir)
				})
				_, _, err = b.Layers(ctx, store.LayerOptions{}) // gzip, whatever comes back
				noError(t, err)
				from, descs := pushed(t, b, store.LayerOptions{Compression: compression.New(form).SetForce(true)})
				release(t, a, b, low)
				before := used(t, s)
				noError(t, s.Close())

				s = openStore(t, opt)
				back, err := s.FromLayers(ctx, descs, from, store.NewOptions{})
				noError(t, err)
				top := write(t, s, back, store.NewOptions{}, file(t, "c", "3"))
				mounted(t, top, true, func(dir string) {
					wantFile(t, dir, "a", "1")
					wantFile(t, dir, "b", "2")
					wantFile(t, dir, "c", "3")
				})
				if n := from.fetched(); n != 0 {
					t.Errorf("%d blobs were fetched", n)
				}
				release(t, top)
				noError(t, s.Prune(ctx, store.PruneOptions{All: true, Filters: []string{"id==" + top.ID()}}, nil))
				if after := used(t, s); after > before {
					t.Errorf("%d bytes are used, and %d were before", after, before)
				}
				// What was built goes, and its tree stays for the other.
				noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
				mounted(t, back, true, func(dir string) { wantFile(t, dir, "b", "2") })
				release(t, back)
				noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
				wantNothing(t, s)
				noError(t, s.Close())
			})
		}
	}
}

// TestBuiltIsNotTheSame: a tree that is not what its layers make is not taken for them.
func TestBuiltIsNotTheSame(t *testing.T) {
	epoch := time.Unix(1, 0)
	tests := map[string]struct {
		fill func(t *testing.T, dir string)
		opt  store.LayerOptions
	}{
		"a socket": {fill: func(t *testing.T, dir string) {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			noError(t, err)
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			noError(t, l.Close())
		}},
		"the mode of the root":      {fill: func(t *testing.T, dir string) { noError(t, os.Chmod(dir, 0o700)) }},
		"the owner of the root":     {fill: func(t *testing.T, dir string) { noError(t, os.Chown(dir, 1, 2)) }},
		"an attribute of the root":  {fill: func(t *testing.T, dir string) { noError(t, unix.Setxattr(dir, "user.a", []byte("1"), 0)) }},
		"times that are kept below": {fill: func(*testing.T, string) {}, opt: store.LayerOptions{SourceDateEpoch: &epoch}},
	}
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				ctx := context.Background()
				ref := write(t, s, nil, store.NewOptions{}, func(dir string) {
					file(t, "name", name)(dir)
					test.fill(t, dir)
				})
				from, descs := pushed(t, ref, test.opt)
				back, err := s.FromLayers(ctx, descs, from, store.NewOptions{})
				noError(t, err)
				if sourceOf(t, back) == sourceOf(t, ref) {
					t.Error("it was taken for its layers")
				}
				release(t, ref, back)
			})
		}
	})
}

// TestBuiltIsWhatItsLayersMake compares random trees that have a chain ID with what
// another store unpacks of their layers.
func TestBuiltIsWhatItsLayersMake(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		other := newStore(t, "native")
		for seed := range *layerSeeds {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			from, m := newRemote(), model{}
			below, err := s.FromLayers(context.Background(), []ocispec.Descriptor{from.archived(t, randomLayer(r, m))}, from, store.NewOptions{})
			noError(t, err)
			for range 3 {
				next := write(t, s, below, store.NewOptions{}, func(dir string) { scramble(t, r, dir) })
				release(t, below)
				below = next
			}
			to, descs := pushed(t, below, store.LayerOptions{})
			back, err := s.FromLayers(context.Background(), descs, to, store.NewOptions{})
			noError(t, err)
			if sourceOf(t, back) != sourceOf(t, below) {
				t.Errorf("seed %d: it was unpacked again", seed)
			}
			away, err := other.FromLayers(context.Background(), descs, to, store.NewOptions{})
			noError(t, err)
			var want, got []string
			mounted(t, below, true, func(dir string) { want = describe(t, dir) })
			mounted(t, away, true, func(dir string) { got = describe(t, dir) })
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: its layers make\n%q\nand it is\n%q", seed, got, want)
			}
			release(t, below, back, away)
		}
	})
}

// scramble changes things in a directory.
func scramble(t *testing.T, r *rand.Rand, dir string) {
	t.Helper()
	names := []string{"a", "b", "c"}
	path := func() string {
		p := filepath.Join(dir, names[r.IntN(3)])
		for r.IntN(2) > 0 {
			p = filepath.Join(p, names[r.IntN(3)])
		}
		return p
	}
	for range 12 {
		p := path()
		switch r.IntN(10) { // most of which may fail
		case 0, 1:
			_ = os.Mkdir(p, 0o755)
		case 2, 3:
			_ = os.WriteFile(p, []byte{byte('0' + r.IntN(10))}, 0o644)
		case 4:
			_ = os.RemoveAll(p)
		case 5:
			_ = os.Rename(p, path())
		case 6:
			_ = os.Link(p, path())
		case 7:
			_ = os.Symlink("a", p)
		case 8:
			_ = os.Lchown(p, r.IntN(3), r.IntN(3))
		default:
			_ = unix.Lsetxattr(p, "user.a", []byte{byte('0' + r.IntN(10))}, 0)
		}
	}
}
