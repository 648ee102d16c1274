package registry

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Upload brings blobs to a repository one by one, and then the manifest that names them:
// for who knows by himself what is missing there. It is for one manifest.
type Upload struct {
	p   *push
	ref string
}

// Insecure is r as PushOptions.Insecure has it for the registry of ref.
func (r *Registry) Insecure(ref string) (*Registry, error) {
	_, host, err := normalize(ref)
	if err != nil {
		return nil, err
	}
	return r.insecure(host)
}

// Current is what ref stands for now, also where a build has resolved it before. The error
// wraps errdefs.ErrNotFound if the registry has no such image.
func (r *Registry) Current(ctx context.Context, ref string) (ocispec.Descriptor, error) {
	name, _, err := normalize(ref)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	resolver, err := r.Resolver(ctx, name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	_, desc, err := resolver.Resolve(quiet(ctx), name)
	return desc, explain("resolve", name, err)
}

// NewUpload begins an upload of what is to be named ref. Nothing is sent yet.
func (r *Registry) NewUpload(ctx context.Context, ref string, manifest ocispec.Descriptor) (*Upload, error) {
	target, _, err := pushTarget(ref, manifest, false)
	if err != nil {
		return nil, err
	}
	resolver, err := r.Resolver(ctx, target)
	if err != nil {
		return nil, err
	}
	pusher, err := resolver.Pusher(quiet(ctx), target)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", ref, err)
	}
	return &Upload{p: &push{r: r, pusher: pusher, progress: func(client.VertexStatus) {}}, ref: ref}, nil
}

// Blob brings a blob, or a manifest, which is named if it is that of the upload. What is
// there already is not read. Annotations tell where it is known to be: see
// PushOptions.Annotations.
func (u *Upload) Blob(ctx context.Context, desc ocispec.Descriptor, from content.Provider) error {
	p := *u.p
	p.provider = from
	report := func(int64) {}
	if desc.Size > showFrom {
		report = throttled(solver.ProgressFrom(ctx).Status, "pushing "+desc.Digest.String(), desc.Size)
	}
	desc.Annotations = origins(ctx, from, desc, nil)
	return explain("push", u.ref, p.persist(quiet(ctx), desc, report))
}

// showFrom is from which size on it is shown how far a blob is.
const showFrom = 1 << 20

// Origin is the annotation by which a blob is known to be in the repository of ref.
func Origin(ref string) (key, value string, err error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", err
	}
	return "containerd.io/distribution.source." + reference.Domain(named), reference.Path(named), nil
}
