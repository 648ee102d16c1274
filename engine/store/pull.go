package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/moby/buildkit/util/compression"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
)

// FromLayers makes a tree of layers, the lowest first, that are fetched from
// provider and unpacked when the tree is first needed: Mount, Extract, and New on
// top of it. Equal chains of diff IDs are one record, under whatever name and in
// whatever form they come. A chain that was built here shares the tree of what was
// built. No layers are the empty tree. The Ref is the caller's.
//
// A layer's diff ID is its annotation "containerd.io/uncompressed"; that of an
// uncompressed layer is its digest. Annotations "containerd.io/distribution.source.*"
// go with the blob.
//
// Provider must be able to fetch for as long as the tree is used: by the Ref, by
// others of the same record, and by what is made of it. If the process ends before
// the layers were fetched, the tree can be used again only after another FromLayers.
func (s *Store) FromLayers(ctx context.Context, layers []ocispec.Descriptor, provider content.Provider, opt NewOptions) (*Ref, error) {
	if len(layers) == 0 {
		return nil, nil
	}
	diffIDs, err := diffIDsOf(layers)
	if err != nil {
		return nil, err
	}
	chainIDs := identity.ChainIDs(slices.Clone(diffIDs))

	s.chains.Lock()
	defer s.chains.Unlock()
	ctx = s.Context(ctx)
	chain := make([]*record, len(layers))
	var fresh []*record
	var below *record
	for i, desc := range layers {
		id := chainIDs[i].Encoded()
		s.index.mu.Lock()
		r := s.index.records[id]
		s.index.mu.Unlock()
		if r == nil {
			r = &record{id: id}
			if below != nil {
				r.parents = []*record{below}
			}
			r.facts = opt.told(desc).facts(kindLayer, r.parents...)
			r.facts.DiffID = diffIDs[i]
			r.facts.Blobs = []blob{{Descriptor: pulled(desc)}}
			fresh = append(fresh, r)
		}
		chain[i], below = r, r
	}
	if len(fresh) > 0 {
		if err := s.create(ctx, fresh...); err != nil {
			return nil, err
		}
	}
	for _, r := range chain {
		if err := s.snapshotThere(ctx, r); err != nil {
			return nil, err
		}
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	ref := s.newRef(below)
	for i, r := range chain {
		if r.providers == nil {
			r.providers = map[digest.Digest]content.Provider{}
		}
		r.provide(layers[i].Digest, provider)
		if teller := solver.ProgressFrom(ctx); *teller != (solver.Progress{}) {
			r.teller = teller
		}
		known := func(b blob) bool { return b.Descriptor.Digest == layers[i].Digest }
		if !slices.ContainsFunc(r.facts.Blobs, known) {
			r.facts.Blobs = append(slices.Clone(r.facts.Blobs), blob{Descriptor: pulled(layers[i])})
			s.index.markDirty(r)
		}
		if _, cache := provider.(Expendable); r.facts.Snapshot == "" && !cache {
			// Of this one it is known where it can be had. What a cache says is not taken for
			// what an image has: it may be a lie.
			s.index.preferBlob(r, layers[i].Digest)
		}
	}
	return ref, nil
}

// diffIDsOf are the diff IDs of layers.
func diffIDsOf(layers []ocispec.Descriptor) ([]digest.Digest, error) {
	diffIDs := make([]digest.Digest, len(layers))
	for i, desc := range layers {
		diffID, err := checkLayer(desc)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d (%s, %s): %w", i+1, len(layers), desc.Digest, desc.MediaType, err)
		}
		diffIDs[i] = diffID
	}
	return diffIDs, nil
}

// Annotations of layers that say when and how they were made, as caches have them.
const (
	AnnotationCreatedAt   = "buildkit/createdat"
	AnnotationDescription = "buildkit/description"
)

// maxDescription is how long a layer's description may be.
const maxDescription = 4 << 10

// told are the options with what a layer says of itself.
func (o NewOptions) told(layer ocispec.Descriptor) NewOptions {
	var at time.Time
	if at.UnmarshalText([]byte(layer.Annotations[AnnotationCreatedAt])) == nil {
		o.CreatedAt = at
	}
	if d := layer.Annotations[AnnotationDescription]; d != "" && len(d) <= maxDescription {
		o.Description = d
	}
	return o
}

// pulled is the descriptor that is kept of a layer: without what says where in an
// image it stands, and with where a foreign layer is from, which nobody asks for it.
func pulled(desc ocispec.Descriptor) ocispec.Descriptor {
	out := ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Annotations: desc.Annotations}
	if images.IsNonDistributable(desc.MediaType) {
		out.URLs = desc.URLs
	}
	return out
}

// checkLayer looks whether a descriptor can be that of a layer to be unpacked, and
// returns its diff ID.
func checkLayer(desc ocispec.Descriptor) (digest.Digest, error) {
	if err := desc.Digest.Validate(); err != nil {
		return "", fmt.Errorf("its digest: %w", err)
	}
	if desc.Size < 0 {
		return "", fmt.Errorf("its size is %d", desc.Size)
	}
	packing, err := compression.FromMediaType(desc.MediaType)
	if err != nil {
		return "", errors.New("layers of this type cannot be unpacked: there are OCI's and Docker's, as tar, tar+gzip and tar+zstd")
	}
	if v := desc.Annotations[labels.LabelUncompressed]; v != "" {
		diffID := digest.Digest(v)
		if err := diffID.Validate(); err != nil {
			return "", fmt.Errorf("its diff ID: %w", err)
		}
		return diffID, nil
	}
	if packing == compression.Uncompressed {
		return desc.Digest, nil
	}
	return "", errors.New("its diff ID is not known: the image's config should have it in rootfs.diff_ids")
}
