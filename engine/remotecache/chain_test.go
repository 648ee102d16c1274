package remotecache

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// elsewhere has layers that nobody reads.
type elsewhere struct{}

func (elsewhere) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return nil, errdefs.ErrNotFound
}

// chain is a chain of records in a store, each with one layer more than the one below.
type chain struct {
	t       *testing.T
	store   *store.Store
	results solver.CacheResultStorage
	layers  []ocispec.Descriptor
	trees   []*store.Ref
}

func newChain(t *testing.T, n int) *chain {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Root: t.TempDir()})
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, st.Close()) })
	c := &chain{t: t, store: st, results: st.Results()}
	for i := range n {
		c.layers = append(c.layers, described(fmt.Sprintf("layer %d", i))...)
	}
	for i := range c.layers {
		ref, err := st.FromLayers(t.Context(), c.layers[:i+1], elsewhere{}, store.NewOptions{})
		check.OK(t, err)
		c.trees = append(c.trees, ref)
	}
	t.Cleanup(func() {
		for _, ref := range c.trees {
			check.OK(t, ref.Release(context.Background()))
		}
	})
	return c
}

// graph exports the chain: with results that the storage says can be had as they are.
func (c *chain) graph(imports ...*Import) *Graph {
	ctx := store.Exporting(c.t.Context())
	to := NewCollector()
	below := to.Add(recordDigest(dg("root"), 0))
	for i, ref := range c.trees {
		rec := to.Add(recordDigest(dg(fmt.Sprintf("step %d", i)), 0))
		rec.LinkFrom(below, 0, "")
		remote, err := c.results.LoadRemote(ctx, solver.CacheResult{ID: ref.ID()})
		check.OK(c.t, err)
		rec.AddResult(time.Unix(1, 0), remote)
		below = rec
	}
	g, err := to.Gather(ctx, c.store, Extent{}, Mounts{}, imports)
	check.OK(c.t, err)
	check.OK(c.t, g.Release(ctx))
	check.Equal(c.t, "records", len(g.records), len(c.trees)+1)
	check.Equal(c.t, "layers", len(g.layers), len(c.trees))
	return g.Graph
}

// imported is a cache that has the chain.
func (c *chain) imported(g *Graph) *Import {
	dt, blobs, err := g.Encode()
	check.OK(c.t, err)
	src := place{load: func(context.Context) ([]*Graph, error) {
		g, err := Decode(dt, blobs)
		return []*Graph{g}, err
	}}
	m := Open(c.t.Context(), "id", "there", src, c.store, Told{Loaded: func(error) {}})
	check.OK(c.t, m.wait(c.t.Context()))
	return m
}

// top finds and loads what is on top of the chain in a cache.
func (c *chain) top(m *Import) {
	key := solver.NewCacheKey(dg("root"), 0)
	for i := range c.trees {
		in := []solver.CacheKeyWithSelector{{CacheKey: solver.ExportableCacheKey{CacheKey: key}}}
		found, err := m.Query(in, 0, dg(fmt.Sprintf("step %d", i)), 0)
		check.OK(c.t, err)
		check.Equal(c.t, "found", len(found), 1)
		key = found[0]
	}
	recs, err := m.Records(key)
	check.OK(c.t, err)
	res, err := m.Load(c.t.Context(), recs[0])
	check.OK(c.t, err)
	check.OK(c.t, res.Release(c.t.Context()))
}

// cost is what a function allocates, in objects and in bytes.
func cost(fn func()) (objects, bytes uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
}

// What an export and an import of a chain cost grows with its length, and no faster.
func TestChains(t *testing.T) {
	testenv.Root(t)
	const short, long = 100, 400
	a, b := newChain(t, short), newChain(t, long)
	graphs := map[*chain]*Graph{a: a.graph(), b: b.graph()}
	caches := map[*chain]*Import{}
	for c, g := range graphs {
		caches[c] = c.imported(g)
	}
	for name, work := range map[string]func(c *chain){
		"export":               func(c *chain) { c.graph() },
		"encode":               func(c *chain) { _, _, _ = graphs[c].Encode() },
		"import":               func(c *chain) { c.imported(graphs[c]) },
		"full hit":             func(c *chain) { c.top(caches[c]) },
		"export of an import":  func(c *chain) { c.graph(caches[c]) },
		"inline in all layers": func(c *chain) { c.inline(graphs[c], len(c.layers)) },
	} {
		t.Run(name, func(t *testing.T) {
			objects, bytes := cost(func() { work(a) })
			more, larger := cost(func() { work(b) })
			const grown = float64(long) / short * 1.5
			if float64(more) > grown*float64(objects) || float64(larger) > grown*float64(bytes) {
				t.Errorf("a chain of %d takes %d objects and %d bytes, one of %d takes %d and %d", short, objects, bytes, long, more, larger)
			}
			t.Logf("%d: %d objects, %d bytes; %d: %d, %d", short, objects, bytes, long, more, larger)
		})
	}
}

func (c *chain) inline(g *Graph, n int) {
	var blobs, diffIDs []digest.Digest
	for _, l := range c.layers[:n] {
		blobs, diffIDs = append(blobs, l.Digest), append(diffIDs, digest.Digest(l.Annotations[annotationDiffID]))
	}
	dt, err := Inline(g, blobs, diffIDs)
	check.OK(c.t, err)
	check.Equal(c.t, "there is something", len(dt) > 0, true)
}
