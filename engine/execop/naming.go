package execop

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
)

// naming has the trees of inputs named while the process runs. The solver asks for the names
// when that has ended, to save the result by them, and to read what a large step has written
// takes time. What fails here is asked for again, and fails there. End waits for it, or ends
// it where nothing will be saved.
func (o *op) naming(ctx context.Context, refs []*store.Ref) (end func(saved bool)) {
	ctx, cancel := context.WithCancel(ctx)
	var eg errgroup.Group
	for i, d := range o.deps {
		if d.byContent && d.byTree && !o.NoCutoff {
			eg.Go(func() error {
				_, err := contenthash.Tree(ctx, refs[i])
				return err
			})
		}
	}
	return func(saved bool) {
		if !saved {
			cancel()
		}
		_ = eg.Wait()
		cancel()
	}
}
