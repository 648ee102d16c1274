package remotecache

import (
	"context"
	"errors"
	"maps"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// layerList is layers, each once, and the content.Provider that reads them: some from
// where they were imported, and the others by base.
type layerList struct {
	descs   []ocispec.Descriptor
	numbers map[digest.Digest]int32
	base    content.Provider
	from    map[digest.Digest]content.Provider

	// nodes are layers on top of others, which come before them.
	nodes []stacked
	known map[stacked]int32
}

// stacked is a layer of a list on top of the node below it; -1: on none.
type stacked struct{ layer, below int32 }

func newLayerList(base content.Provider) *layerList {
	return &layerList{
		numbers: map[digest.Digest]int32{}, base: base, from: map[digest.Digest]content.Provider{}, known: map[stacked]int32{},
	}
}

// add adds a layer, unless it is there, and returns its number. From reads it; nil: base.
func (l *layerList) add(desc ocispec.Descriptor, from content.Provider) int32 {
	n, ok := l.numbers[desc.Digest]
	if !ok {
		n = int32(len(l.descs))
		l.numbers[desc.Digest] = n
		l.descs = append(l.descs, desc)
		if from != nil {
			l.from[desc.Digest] = from
		}
	}
	return n
}

// on returns the node of a layer on top of another node.
func (l *layerList) on(below, layer int32) int32 {
	s := stacked{layer, below}
	n, ok := l.known[s]
	if !ok {
		n = int32(len(l.nodes))
		l.known[s] = n
		l.nodes = append(l.nodes, s)
	}
	return n
}

// ReaderAt implements content.Provider.
func (l *layerList) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if p := l.from[desc.Digest]; p != nil {
		return p.ReaderAt(ctx, desc)
	}
	return l.base.ReaderAt(ctx, desc)
}

// dated is the descriptor of a layer with when it was made. One that came from elsewhere has
// that with it, or nobody knows.
func dated(l store.Layer) ocispec.Descriptor {
	d := l.Descriptor
	d.Annotations = maps.Clone(d.Annotations)
	delete(d.Annotations, store.AnnotationDescription) // for who has the layer
	if !l.Pulled {
		maps.Copy(d.Annotations, layerAnnotations(l.DiffID, l.CreatedAt))
	}
	return d
}

// trees are the trees of the results that were collected, each once, and where each is
// among them. One that has gone meanwhile is none.
func (c *Collector) trees(ctx context.Context, nodes []*node, out *Gathered) (trees []*store.Ref, at map[*solver.Remote]int, err error) {
	at = map[*solver.Remote]int{}
	for _, n := range nodes {
		for _, f := range n.results {
			if f.remote == nil {
				continue
			}
			t, ok := f.remote.Provider.(store.TreeProvider)
			if _, done := at[f.remote]; done || !ok {
				continue
			}
			ref, err := t.Ref(ctx)
			if errors.Is(err, solver.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			out.refs = append(out.refs, ref)
			at[f.remote] = len(trees)
			trees = append(trees, ref)
		}
	}
	return trees, at, nil
}
