package images

import (
	"context"
	"fmt"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
)

// PushOptions say how to push.
type PushOptions struct {
	// Insecure allows plain http and certificates that do not verify.
	Insecure bool
	// Platform is the only one to be pushed; nil: all.
	Platform *ocispec.Platform
}

// Push sends an image to the registry that its name has in it, and returns the name in
// full and what was pushed. A digest stands for an image of one name. Credentials are
// those of the session that ctx belongs to.
func (x *Images) Push(ctx context.Context, r *registry.Registry, ref string, opt PushOptions) (name string, pushed ocispec.Descriptor, err error) {
	ctx, release, err := x.st.WithLease(ctx)
	if err != nil {
		return "", pushed, err
	}
	defer func() {
		if e := release(ctx); err == nil {
			err = e
		}
	}()
	found, err := x.Find(ctx, ref)
	if err != nil {
		return "", pushed, err
	}
	name = found.Name
	if name == "" {
		if len(found.Names) != 1 {
			return "", pushed, fmt.Errorf("image %q has %d names: say by which it is to be pushed (tenon images tag gives it another)", ref, len(found.Names))
		}
		name = found.Names[0]
	}
	var want []ocispec.Platform
	if opt.Platform != nil {
		want = []ocispec.Platform{*opt.Platform}
	}
	if pushed, err = found.pick(ref, want); err != nil {
		return name, pushed, err
	}
	for _, p := range found.Platforms {
		if opt.Platform == nil && !p.Complete {
			return name, pushed, fmt.Errorf("image %q: not all of it is here for %s: push one platform with --platform", ref, platforms.Format(p.Platform))
		}
	}
	return name, pushed, r.Push(ctx, x.st.Content(), pushed, name, registry.PushOptions{Insecure: opt.Insecure})
}
