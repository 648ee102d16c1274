package registry

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers are the manifests in the repository of ref that say to be about another one, as
// signatures do. A registry that knows of none has none.
func (r *Registry) Referrers(ctx context.Context, ref string, subject digest.Digest) ([]ocispec.Descriptor, error) {
	name, _, err := normalize(ref)
	if err != nil {
		return nil, err
	}
	if err := r.mayPull(ctx, name); err != nil {
		return nil, err
	}
	a, err := r.accessOf(ctx)
	if err != nil {
		return nil, err
	}
	ctx = quiet(ctx)
	f, err := r.resolver(a, name).Fetcher(ctx, name)
	if err != nil {
		return nil, explain("list referrers in", name, err)
	}
	lister, ok := f.(remotes.ReferrersFetcher)
	if !ok {
		return nil, fmt.Errorf("list referrers in %s: %T cannot", name, f)
	}
	list, err := lister.FetchReferrers(ctx, subject)
	return list, explain("list referrers in", name, err)
}
