package store

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/solver"
)

// Stacks are the layers of several trees. A layer that several have is there once, and so is
// what they have in common from the lowest layer on.
type Stacks struct {
	Layers []Layer
	Nodes  []StackNode
	// Of has, for each tree, its uppermost layer by its number in Nodes; -1 for the empty tree.
	Of []int32
	// Provider reads the blobs for as long as the handles are kept.
	Provider content.Provider
}

// StackNode is a layer on top of others.
type StackNode struct {
	Layer int32 // in Layers
	Below int32 // in Nodes, before it; -1: none
}

// Stacks returns the layers of trees, as Layers does of one. The time is linear in the
// layers that are different. The handles are borrowed.
func (s *Store) Stacks(ctx context.Context, refs []*Ref, opt LayerOptions) (*Stacks, error) {
	opt = opt.orDefault()
	if _, err := opt.form(); err != nil {
		return nil, err
	}
	trees := newForest()
	tops := make([]int32, len(refs))
	for i, r := range refs {
		rec, err := r.use()
		if err != nil {
			return nil, err
		}
		tops[i] = trees.top(rec)
	}
	out, all := stacksOf(trees, tops)
	ctx = s.Context(ctx)
	out.Layers = make([]Layer, len(all))
	eg, egctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallelFetches)
	for i, p := range all {
		eg.Go(func() error {
			b, err := s.layer(egctx, p, opt)
			if err != nil {
				return fmt.Errorf("layer of tree %s (%s): %w", p.rec.id, p.rec.facts.Description, err)
			}
			out.Layers[i] = b.layer(p.rec)
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	if err := s.noteChains(ctx, trees); err != nil {
		return nil, err
	}
	out.Provider = s.blobsOf(all)
	return out, nil
}

// stacksOf are the layers below nodes, without their blobs, and what each is.
func stacksOf(trees *forest, tops []int32) (out *Stacks, all []piece) {
	used := make([]bool, len(trees.nodes))
	for _, top := range tops {
		for n := top; n >= 0 && !used[n]; n = trees.nodes[n].below {
			used[n] = true
		}
	}
	out = &Stacks{Of: make([]int32, len(tops))}
	numbers := map[piece]int32{}
	place := make([]int32, len(trees.nodes))
	at := func(n int32) int32 {
		if n < 0 {
			return -1
		}
		return place[n]
	}
	for n, node := range trees.nodes {
		if !used[n] {
			continue
		}
		layer, ok := numbers[node.piece]
		if !ok {
			layer = int32(len(all))
			numbers[node.piece] = layer
			all = append(all, node.piece)
		}
		place[n] = int32(len(out.Nodes))
		out.Nodes = append(out.Nodes, StackNode{layer, at(node.below)})
	}
	for i, top := range tops {
		out.Of[i] = at(top)
	}
	return out, all
}

// TreeProvider is a content.Provider of a result's layers that knows the result.
type TreeProvider interface {
	content.Provider
	// Ref returns a handle of the tree, which is the caller's.
	Ref(ctx context.Context) (*Ref, error)
}

// storedTree is the TreeProvider of a record.
type storedTree struct {
	content.Provider
	s  *Store
	id string
}

func (t storedTree) Ref(ctx context.Context) (*Ref, error) { return t.s.Get(ctx, t.id) }

// refTree is the TreeProvider of a handle, which it has.
type refTree struct {
	content.Provider
	ref *Ref
}

func (t refTree) Ref(ctx context.Context) (*Ref, error) {
	if err := t.ref.There(ctx); err != nil {
		return nil, err
	}
	return t.ref.Clone(), nil
}

// Transferable makes a solver.Remote of a tree without making any layer. What is to be done
// with its layers is done with its Provider, which is a TreeProvider. The handle is borrowed, and to
// be kept for as long as the Remote is used.
func Transferable(ref *Ref) *solver.Remote {
	return &solver.Remote{Provider: refTree{noBlobs{}, ref}}
}
