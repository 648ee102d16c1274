package remotecache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/util/compression"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Destination is where a cache is written, by one export. What layers it lacks can be asked,
// and they can be brought, before it is known what the cache will be. Its methods are for one
// goroutine, but for Put.
type Destination interface {
	// Layers says of which layers a graph is, or of none if the very same cache is there.
	Layers(ctx context.Context, g *Graph) ([]ocispec.Descriptor, error)
	// Lacks says which of some layers are to be brought. It asks as little as it can, and of
	// layers that were made just now nothing that costs a question for each few of them.
	Lacks(ctx context.Context, layers []ocispec.Descriptor, made bool) ([]ocispec.Descriptor, error)
	// Doubt has Layers and Lacks ask about each layer from now on, and believe no list of
	// them: the place may have lost layers that its last cache names.
	Doubt()
	// Put brings a layer that Lacks has named. One that is there after all is no error.
	Put(ctx context.Context, desc ocispec.Descriptor, from content.Provider) error
	// Commit writes what makes the layers of Layers a cache, unless that is there. It returns
	// what the client is told (BuildKit's keys). The error is ErrHole where layers that were
	// believed to be there may be missing.
	Commit(ctx context.Context) (map[string]string, error)
}

// ErrHole is wrapped by errors of places that may have lost layers.
var ErrHole = errors.New("layers of the last cache may be missing there")

// parallel is how many layers are brought at a time, where the destination does not say.
const parallel = 4

func parallelOf(to Destination) int {
	if p, ok := to.(interface{ parallel() int }); ok {
		return p.parallel()
	}
	return parallel
}

// Write brings a cache to a destination. Without any layer there is nothing to write, and
// nothing is said. Ahead, if not nil, has brought layers there before, and has ended. A place
// that turns out to have lost layers of its last cache is asked about each, and gets them.
func Write(ctx context.Context, g *Graph, from content.Provider, to Destination, ahead *Ahead) (map[string]string, error) {
	if len(g.layers) == 0 && len(g.mounts) == 0 {
		return nil, nil
	}
	said, err := write(ctx, g, from, to, ahead)
	if errors.Is(err, ErrHole) {
		to.Doubt()
		return write(ctx, g, from, to, nil)
	}
	return said, err
}

func write(ctx context.Context, g *Graph, from content.Provider, to Destination, ahead *Ahead) (map[string]string, error) {
	layers, err := to.Layers(ctx, g)
	if err != nil {
		return nil, err
	}
	if len(layers) > 0 {
		layers, err = to.Lacks(ctx, slices.DeleteFunc(slices.Clone(layers), ahead.has), false)
	}
	if err != nil {
		return nil, err
	}
	eg, egctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallelOf(to))
	for _, desc := range layers {
		eg.Go(func() error { return put(egctx, desc, from, to) })
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	return to.Commit(ctx)
}

// put brings a layer, and shows that.
func put(ctx context.Context, desc ocispec.Descriptor, from content.Provider, to Destination) error {
	err := showing(ctx, "writing layer "+desc.Digest.String(), func() error { return to.Put(ctx, desc, from) })
	if err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	return nil
}

// showing shows the beginning and the end of what is done.
func showing(ctx context.Context, what string, do func() error) error {
	started := time.Now()
	tell := solver.ProgressFrom(ctx).Status
	tell(client.VertexStatus{ID: what, Timestamp: started, Started: &started})
	err := do()
	ended := time.Now()
	tell(client.VertexStatus{ID: what, Timestamp: ended, Started: &started, Completed: &ended})
	return err
}

// convertType is a layer as a manifest has it: with the type of its kind, and without what
// only this builder knows.
func convertType(ctx context.Context, desc ocispec.Descriptor, oci bool) ocispec.Descriptor {
	desc = compression.ConvertAllLayerMediaTypes(ctx, oci, desc)[0]
	desc.URLs = nil
	desc.Annotations = maps.Clone(desc.Annotations)
	maps.DeleteFunc(desc.Annotations, func(k, _ string) bool {
		return k != annotationDiffID && !strings.HasPrefix(k, "buildkit/")
	})
	return desc
}

// Gathered is what was collected, with its layers.
type Gathered struct {
	*Graph
	content.Provider
	refs   []*store.Ref
	packed []*store.CacheLayer
}

// Release gives back what the layers are read from.
func (g *Gathered) Release(ctx context.Context) error {
	err := releaseAll(ctx, &g.refs)
	for _, p := range g.packed {
		err = errors.Join(err, p.Release(ctx))
	}
	g.packed = nil
	return err
}

// Release gives back what was collected and not gathered.
func (c *Collector) Release(ctx context.Context) error { return releaseAll(ctx, &c.refs) }

func releaseAll(ctx context.Context, refs *[]*store.Ref) error {
	var errs error
	for _, r := range *refs {
		errs = errors.Join(errs, r.Release(ctx))
	}
	*refs = nil
	return errs
}

// Convert is solver.CacheExportOpt.Convert for exports to a Collector: no layer is made
// before it is known which are needed.
func (c *Collector) Convert(_ context.Context, res solver.Result) (*solver.Remote, error) {
	ref, err := store.RefOf(res)
	if err != nil || ref == nil {
		return nil, err
	}
	ref = ref.Clone()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs = append(c.refs, ref)
	return store.Transferable(ref), nil
}

// Gather makes a graph of what was collected, with layers in this form. What the imports
// have that belongs to it goes along. The Gathered is the caller's, who releases it.
func (c *Collector) Gather(ctx context.Context, st *store.Store, e Extent, mounts Mounts, imports []*Import) (_ *Gathered, err error) {
	out := &Gathered{refs: c.refs}
	c.refs = nil
	defer func() {
		if err != nil {
			_ = out.Release(context.WithoutCancel(ctx)) // the first error says more
		}
	}()
	for _, m := range imports {
		if err := m.wait(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range imports {
		c.take(m)
	}
	nodes := c.merged()
	trees, at, err := c.trees(ctx, nodes, out)
	if err != nil {
		return nil, err
	}
	made, err := st.Stacks(ctx, trees, e.Layers)
	if err != nil {
		return nil, err
	}
	l := newLayerList(made.Provider)
	out.Graph, out.Provider = graphOf(nodes, l, newStacks(l, made, at).of), l
	return out, out.addMounts(ctx, e, mounts, st, imports, l)
}
