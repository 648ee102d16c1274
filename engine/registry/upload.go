package registry

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Upload brings blobs to a repository one by one, and then the manifest that names them:
// for who knows by himself what is missing there.
type Upload struct {
	r        *Registry
	resolver remotes.Resolver
	pusher   remotes.Pusher
	ref      string
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
func (r *Registry) NewUpload(ctx context.Context, ref string) (*Upload, error) {
	name, _, err := normalize(ref)
	if err != nil {
		return nil, err
	}
	resolver, err := r.Resolver(ctx, name)
	if err != nil {
		return nil, err
	}
	pusher, err := resolver.Pusher(quiet(ctx), name)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", ref, err)
	}
	return &Upload{r: r, resolver: resolver, pusher: pusher, ref: ref}, nil
}

// Blob brings a blob. What is there already is not read. Annotations tell where it is known to
// be: see PushOptions.Annotations.
func (u *Upload) Blob(ctx context.Context, desc ocispec.Descriptor, from content.Provider) error {
	desc.Annotations = origins(ctx, from, desc, nil)
	return u.push(ctx, u.pusher, desc, from)
}

// Manifest brings the manifest, and has the name stand for it.
func (u *Upload) Manifest(ctx context.Context, desc ocispec.Descriptor, from content.Provider) error {
	target, _, err := pushTarget(u.ref, desc, false)
	if err != nil {
		return err
	}
	pusher, err := u.resolver.Pusher(quiet(ctx), target)
	if err != nil {
		return fmt.Errorf("push %s: %w", u.ref, err)
	}
	return u.push(ctx, pusher, desc, from)
}

func (u *Upload) push(ctx context.Context, to remotes.Pusher, desc ocispec.Descriptor, from content.Provider) error {
	p := push{r: u.r, pusher: to, provider: from, progress: func(client.VertexStatus) {}}
	report := func(int64) {}
	if desc.Size > showFrom {
		report = throttled(solver.ProgressFrom(ctx).Status, "pushing "+desc.Digest.String(), desc.Size)
	}
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
