package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// BenchmarkStep is what a step costs that writes nothing.
func BenchmarkStep(b *testing.B) {
	testenv.Root(b)
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Root: b.TempDir()})
	must(b, err)
	defer func() { must(b, s.Close()) }()
	for b.Loop() {
		m, err := s.New(ctx, nil, store.NewOptions{})
		must(b, err)
		ref, err := m.Commit(ctx)
		must(b, err)
		_, err = s.Results().Save(store.NewResult(ref))
		must(b, err)
		must(b, ref.Release(ctx))
	}
}

// BenchmarkLoad is what it costs to load a result, and to say how it is mounted.
func BenchmarkLoad(b *testing.B) {
	testenv.Root(b)
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Root: b.TempDir()})
	must(b, err)
	defer func() { must(b, s.Close()) }()
	m, err := s.New(ctx, nil, store.NewOptions{})
	must(b, err)
	ref, err := m.Commit(ctx)
	must(b, err)
	res, err := s.Results().Save(store.NewResult(ref))
	must(b, err)
	for b.Loop() {
		r, err := s.Results().Load(ctx, res)
		must(b, err)
		tree, err := store.RefOf(r)
		must(b, err)
		_, err = tree.Mount(ctx, true)
		must(b, err)
		must(b, r.Release(ctx))
	}
	must(b, ref.Release(ctx))
}

// BenchmarkMany opens, lists and prunes a root of many records.
func BenchmarkMany(b *testing.B) {
	testenv.Root(b)
	ctx := context.Background()
	for _, n := range []int{5000, 20000} {
		layers := make([]ocispec.Descriptor, n)
		for i := range layers {
			layers[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(fmt.Sprint(i)), Size: 1}
		}
		root := b.TempDir()
		s, err := store.Open(ctx, store.Options{Root: root})
		must(b, err)
		for _, part := range []string{"open", "du", "prune"} {
			b.Run(fmt.Sprintf("%s/%d", part, n), func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					ref, err := s.FromLayers(ctx, layers, newRemote(), store.NewOptions{})
					must(b, err)
					must(b, ref.Release(ctx))
					b.StartTimer()
					switch part {
					case "open":
						must(b, s.Close())
						s, err = store.Open(ctx, store.Options{Root: root})
					case "du":
						_, err = s.Du(ctx)
					case "prune":
						err = s.Prune(ctx, store.PruneOptions{All: true}, nil)
					}
					must(b, err)
				}
			})
		}
		must(b, s.Close())
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGC is what the end of a build pays where nothing has to be removed, for so
// many records with a blob each.
func BenchmarkGC(b *testing.B) {
	testenv.Root(b)
	for _, n := range []int{500, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cap := store.Collecting{Policies: []store.PruneOptions{{MaxUsedSpace: 1 << 40}, {All: true, MaxUsedSpace: 1 << 40}}}
			s, err := store.Open(b.Context(), store.Options{Root: b.TempDir(), GC: func(string) (store.Collecting, error) { return cap, nil }})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for range n {
				m, err := s.New(b.Context(), nil, store.NewOptions{})
				if err != nil {
					b.Fatal(err)
				}
				ref, err := m.Commit(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := ref.Layers(b.Context(), store.LayerOptions{}); err != nil {
					b.Fatal(err)
				}
				if err := ref.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := s.GC(b.Context(), func(u store.UsageInfo) { b.Fatal(u) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
