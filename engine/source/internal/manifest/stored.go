package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
)

// FromProvider reads blobs of p. One that p does not have is errdefs.ErrNotFound.
func FromProvider(p content.Provider) Reader {
	return func(ctx context.Context, desc ocispec.Descriptor) (_ []byte, err error) {
		ra, err := p.ReaderAt(ctx, desc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", desc.Digest, err)
		}
		defer func() { err = errors.Join(err, ra.Close()) }()
		if desc.Size == 0 {
			desc.Size = ra.Size()
		}
		return verified(io.NewSectionReader(ra, 0, ra.Size()), desc)
	}
}

// FromFetcher reads blobs of f.
func FromFetcher(f remotes.Fetcher) Reader {
	return func(ctx context.Context, desc ocispec.Descriptor) (_ []byte, err error) {
		rc, err := f.Fetch(ctx, desc)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rc.Close()) }()
		return verified(rc, desc)
	}
}

// First reads from a, and what a does not have from b.
func First(a, b Reader) Reader {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
		dt, err := a(ctx, desc)
		if errdefs.IsNotFound(err) {
			return b(ctx, desc)
		}
		return dt, err
	}
}

// verified reads a blob whole and checks that it is what desc says.
func verified(r io.Reader, desc ocispec.Descriptor) ([]byte, error) {
	dt, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", desc.Digest, err)
	}
	if len(dt) > MaxSize {
		return nil, fmt.Errorf("%s: more than %d bytes are too many for a manifest or a configuration", desc.Digest, MaxSize)
	}
	if desc.Size > 0 && int64(len(dt)) != desc.Size {
		return nil, fmt.Errorf("%s: %d bytes were expected and %d came: it is damaged, or changed on the way", desc.Digest, desc.Size, len(dt))
	}
	if got := desc.Digest.Algorithm().FromBytes(dt); got != desc.Digest {
		return nil, fmt.Errorf("%s: what came has the digest %s: it is damaged, or changed on the way", desc.Digest, got)
	}
	return dt, nil
}

// Save writes the image's manifests and configuration into the store's content,
// with labels. They stay while something holds them: see store.Content. The lease
// of ctx does until then.
func (i *Image) Save(ctx context.Context, st *store.Store, labels map[string]string) error {
	for dgst, dt := range i.Blobs {
		desc := ocispec.Descriptor{Digest: dgst, Size: int64(len(dt))}
		err := content.WriteBlob(ctx, st.Content(), "image-"+dgst.String(), bytes.NewReader(dt), desc, content.WithLabels(labels))
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("store %s: %w", dgst, err)
		}
	}
	return nil
}

// Tree makes a tree of layers of the image, to be pulled from provider when they
// are needed. The image's manifests and configuration stay as long as the tree. The
// Ref is the caller's.
func (i *Image) Tree(ctx context.Context, st *store.Store, layers []ocispec.Descriptor, provider content.Provider, labels map[string]string, opt store.NewOptions) (_ *store.Ref, err error) {
	leased, release, err := st.WithLease(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(leased)) }()
	if err := i.Save(leased, st, labels); err != nil {
		return nil, err
	}
	var config struct{ OS string }
	opt.Windows = json.Unmarshal(i.ConfigBytes(), &config) == nil && config.OS == "windows"
	ref, err := st.FromLayers(leased, layers, provider, opt)
	if err != nil {
		return nil, err
	}
	var blobs []digest.Digest
	for dgst := range i.Blobs {
		blobs = append(blobs, dgst)
	}
	if err := ref.Keep(leased, blobs...); err != nil {
		return nil, errors.Join(err, ref.Release(ctx))
	}
	return ref, nil
}
