package store

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
)

// Keep holds blobs of Content for as long as the tree is in the store: an image's
// manifest and configuration, say, with its layers. Until it returns the caller
// holds them. Of the empty tree it keeps nothing.
func (r *Ref) Keep(ctx context.Context, blobs ...digest.Digest) error {
	rec, err := r.use()
	if err != nil || rec == nil {
		return err
	}
	ctx = r.s.Context(ctx)
	for _, dgst := range blobs {
		res := leases.Resource{ID: dgst.String(), Type: "content"}
		if err := r.s.back.leases.AddResource(ctx, leases.Lease{ID: rec.id}, res); err != nil {
			return fmt.Errorf("tree %s: keeping %s: %w", rec.id, dgst, err)
		}
	}
	return nil
}
