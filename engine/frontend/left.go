package frontend

import (
	"context"
	"errors"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/tenonbuild/tenon/engine/store"
)

// KeepLeft has what steps leave that fail from now on kept for Left, until the build ends.
func (c *Client) KeepLeft() { c.build.KeepLeft() }

// Left returns what the failed step of an error was given and has left, nil for what is
// empty or no tree, and which of its file actions failed: see failed.Left. The lists are
// empty if nothing is known.
func (c *Client) Left(err error) (inputs, outputs []client.Reference, action int) {
	left := c.build.Left(err)
	if left == nil {
		return nil, nil, 0
	}
	return leftovers(left.Inputs), leftovers(left.Outputs), left.Action
}

func leftovers(refs []*store.Ref) []client.Reference {
	out := make([]client.Reference, len(refs))
	for i, r := range refs {
		if r != nil {
			out[i] = leftover{r}
		}
	}
	return out
}

// leftover is a tree of a step that failed. It can be looked at, and is no result.
type leftover struct{ tree *store.Ref }

var _ client.Reference = leftover{}

// Ref returns the tree, which stays the build's.
func (l leftover) Ref(context.Context) (*store.Ref, error) { return l.tree, nil }

// ToState fails: no definition makes the tree.
func (leftover) ToState() (llb.State, error) {
	return llb.State{}, errors.New("what a failed step has left cannot be built on")
}

// Evaluate does nothing.
func (leftover) Evaluate(context.Context) error { return nil }

// ReadFile implements client.Reference.
func (l leftover) ReadFile(ctx context.Context, req client.ReadRequest) (data []byte, err error) {
	err = withTree(ctx, l.tree, func(t tree) error {
		data, err = t.read(req)
		return err
	})
	return data, err
}

// StatFile implements client.Reference.
func (l leftover) StatFile(ctx context.Context, req client.StatRequest) (st *fstypes.Stat, err error) {
	err = withTree(ctx, l.tree, func(t tree) error {
		st, err = t.stat(req.Path)
		return err
	})
	return st, err
}

// ReadDir implements client.Reference.
func (l leftover) ReadDir(ctx context.Context, req client.ReadDirRequest) (list []*fstypes.Stat, err error) {
	err = withTree(ctx, l.tree, func(t tree) error {
		list, err = t.list(req)
		return err
	})
	return list, err
}
