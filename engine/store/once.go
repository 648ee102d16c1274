package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
)

// LayersOnce gives the layers of trees, each layer once, in the form that Stacks gives. It is
// for who wants layers as soon as there are trees that have them. It is for one goroutine.
type LayersOnce struct {
	s   *Store
	opt LayerOptions
	// trees have the layers of all trees so far. Those of the nodes in given were given.
	trees *forest
	given map[int32]bool
	// once are the layers that were given.
	once map[piece]bool
}

// LayersOnce makes one.
func (s *Store) LayersOnce(opt LayerOptions) *LayersOnce {
	return &LayersOnce{s: s, opt: opt.orDefault(), trees: newForest(), given: map[int32]bool{}, once: map[piece]bool{}}
}

// Of returns the layers of a tree that were not given before, the lowest first, and what reads
// their blobs, for as long as the handle is kept. Layers that came from elsewhere are left
// out unless their blobs are here. The time is linear in what is returned. The handles of all trees
// are to be kept for as long as the LayersOnce is used.
func (o *LayersOnce) Of(ctx context.Context, ref *Ref) ([]Layer, content.Provider, error) {
	rec, err := ref.use()
	if err != nil || rec == nil {
		return nil, noBlobs{}, err
	}
	ctx = o.s.Context(ctx)
	all := o.left(rec)
	var out []Layer
	for _, p := range all {
		l, err := o.layer(ctx, p)
		if err != nil {
			return nil, nil, fmt.Errorf("layer of tree %s (%s): %w", p.rec.id, p.rec.facts.Description, err)
		}
		if l != nil {
			out = append(out, *l)
		}
	}
	return out, o.s.blobsOf(all), nil
}

// layer is nil if the layer is not here.
func (o *LayersOnce) layer(ctx context.Context, p piece) (*Layer, error) {
	b, ok := o.s.existing(ctx, p.rec, o.opt)
	l := b.layer(p.rec)
	if p.rec.facts.Kind != kindLayer {
		if !ok {
			made, err := o.s.layer(ctx, p, o.opt)
			if err != nil {
				return nil, err
			}
			l = made.layer(p.rec)
			l.Made = true
		}
		return &l, nil
	}
	if !ok {
		return nil, nil
	}
	_, err := o.s.back.content.Info(ctx, b.Descriptor.Digest)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return &l, err
}

// left are the layers of a tree that were not given, the lowest first.
func (o *LayersOnce) left(rec *record) (out []piece) {
	for n := o.trees.top(rec); n >= 0 && !o.given[n]; n = o.trees.nodes[n].below {
		o.given[n] = true
		if p := o.trees.nodes[n].piece; !o.once[p] {
			o.once[p] = true
			out = append(out, p)
		}
	}
	slices.Reverse(out)
	return out
}
