package store

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/util/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var errSkeleton = errors.New("not there yet")

// Layer is one layer of a tree as a blob.
type Layer struct {
	Descriptor  ocispec.Descriptor // with annotations containerd.io/uncompressed etc.
	DiffID      string
	Description string
	CreatedAt   *time.Time
}

// LayerOptions choose the form of layers.
type LayerOptions struct {
	Compression compression.Config
	// RewriteTimestamp clamps times in layers to SourceDateEpoch, if not nil.
	SourceDateEpoch *time.Time
	// Base are the diff IDs of an image that the tree was built upon: as long as the
	// lowest layers are these, they are not rewritten, since they are that image's.
	Base []digest.Digest
}

// Layers returns the tree's layers, lowest first, making blobs of those that have
// none in that form. Provider reads them (lazy ones from where they come).
func (r *Ref) Layers(ctx context.Context, opt LayerOptions) (layers []Layer, provider content.Provider, err error) {
	return nil, nil, errSkeleton
}

// CacheMount is a persistent directory that RUN steps share by name.
// Sharing as in LLB: shared, private, locked.
type CacheMount struct{}

func (c *CacheMount) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	return nil, errSkeleton
}
func (c *CacheMount) Release(ctx context.Context) error { return errSkeleton }

// CacheMount finds or makes the cache mount id; a new one begins as base (nil:
// empty, mode 0755). Locked waits for the one who has it, until ctx ends.
func (s *Store) CacheMount(ctx context.Context, id string, base *Ref, sharing string) (*CacheMount, error) {
	return nil, errSkeleton
}
