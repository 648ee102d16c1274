package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/solver"
)

// Stacks are the layers of several trees. A layer that several have is there once.
type Stacks struct {
	Layers []Layer
	// Of has, for each tree, its layers by their numbers in Layers, the lowest first.
	Of [][]int32
	// Provider reads the blobs for as long as the handles are kept.
	Provider content.Provider
}

// Stacks returns the layers of trees, as Layers does of one. The time is linear in the
// layers that are different. The handles are borrowed.
func (s *Store) Stacks(ctx context.Context, refs []*Ref, opt LayerOptions) (*Stacks, error) {
	opt = opt.orDefault()
	if _, err := opt.form(); err != nil {
		return nil, err
	}
	out := &Stacks{Of: make([][]int32, len(refs))}
	numbers := map[piece]int32{}
	var all []piece
	trees := make([][]piece, len(refs))
	seen := map[*record][]piece{}
	for i, r := range refs {
		rec, err := r.use()
		if err != nil {
			return nil, err
		}
		if rec == nil {
			continue
		}
		trees[i] = piecesOf(rec, seen)
		out.Of[i] = make([]int32, len(trees[i]))
		for j, p := range trees[i] {
			n, ok := numbers[p]
			if !ok {
				n = int32(len(all))
				numbers[p] = n
				all = append(all, p)
			}
			out.Of[i][j] = n
		}
	}
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
	// The longest first: what others are the beginning of is noted with them.
	slices.SortFunc(trees, func(a, b []piece) int { return len(b) - len(a) })
	noted := map[piece]bool{}
	for _, t := range trees {
		if len(t) == 0 || noted[t[len(t)-1]] {
			continue
		}
		for _, p := range t {
			noted[p] = true
		}
		if err := s.noteChains(ctx, t); err != nil {
			return nil, err
		}
	}
	out.Provider = s.blobsOf(all)
	return out, nil
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
