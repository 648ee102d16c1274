// Package store keeps what the engine makes, under one root: trees of files as
// snapshots, layers and images as content, and the caches' keys and records. One
// process owns a root at a time.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/util/compression"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/solver"
)

var errSkeleton = errors.New("not there yet")

// Options are where and how a Store is opened.
type Options struct {
	Root string
	// Snapshotter is "overlayfs", "native", or "" for the first that works here.
	Snapshotter string
	// NoWait returns a *LockedError at once if another process has the root.
	NoWait bool
	// Waiting is called once before waiting for another process.
	Waiting func(owner string)
}

type Store struct{}

func Open(ctx context.Context, opt Options) (*Store, error) { return nil, errSkeleton }
func (s *Store) Close() error                               { return errSkeleton }

func (s *Store) Content() content.Store                      { return nil }
func (s *Store) Images() images.Store                        { return nil }
func (s *Store) Context(ctx context.Context) context.Context { return ctx } // adds the containerd namespace
func (s *Store) CacheKeys() solver.CacheKeyStorage           { return nil } // boltstore
func (s *Store) Results() solver.CacheResultStorage          { return nil }
func (s *Store) Path(name ...string) string                  { return "" } // a path below the root, for a component's own state, e.g. Path("git")
func (s *Store) Snapshotter() string                         { return "" }

// Ref is a counted hold of an immutable tree of files. A nil *Ref is the empty
// tree; methods that only read accept it.
type Ref struct{}

func (r *Ref) ID() string                              { return "" } // names the record; stable across processes
func (r *Ref) Clone() *Ref                             { return r }
func (r *Ref) Release(ctx context.Context) error       { return errSkeleton }
func (r *Ref) Description() string                     { return "" }
func (r *Ref) CreatedAt() time.Time                    { return time.Time{} }
func (r *Ref) Size(ctx context.Context) (int64, error) { return 0, errSkeleton }

// Mount gives the tree read-only, pulling lazy layers first. The mountable's
// release function is called by whoever mounted. It implements executor.Mountable
// (readonly=false is an error).
func (r *Ref) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	return nil, errSkeleton
}

// Value and SetValue keep small derived data with the record (content digests, say).
func (r *Ref) Value(key string) ([]byte, error)     { return nil, errSkeleton } // nil, nil if there is none
func (r *Ref) SetValue(key string, dt []byte) error { return errSkeleton }

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
}

// Layers returns the tree's layers, lowest first, making blobs of those that have
// none in that form. Provider reads them (lazy ones from where they come).
func (r *Ref) Layers(ctx context.Context, opt LayerOptions) (layers []Layer, provider content.Provider, err error) {
	return nil, nil, errSkeleton
}

// Mutable is a tree being written: one owner, who either commits or releases it.
type Mutable struct{}

func (m *Mutable) ID() string { return "" }

// Mount implements executor.Mountable.
func (m *Mutable) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	return nil, errSkeleton
}
func (m *Mutable) Commit(ctx context.Context) (*Ref, error) { return nil, errSkeleton } // consumes m
func (m *Mutable) Release(ctx context.Context) error        { return errSkeleton }      // nothing after Commit

// NewOptions describe a record.
type NewOptions struct {
	Description string
	CreatedAt   time.Time // zero: now
	// RecordType is shown by du: "regular", "source.local", "source.git.checkout", "exec.cachemount", "internal", "frontend".
	RecordType string
}

// New makes a Mutable on top of parent (nil: empty). Parent is borrowed.
func (s *Store) New(ctx context.Context, parent *Ref, opt NewOptions) (*Mutable, error) {
	return nil, errSkeleton
}

// Merge and Diff are LLB's operations of these names. Refs are borrowed.
func (s *Store) Merge(ctx context.Context, refs []*Ref, opt NewOptions) (*Ref, error) {
	return nil, errSkeleton
}
func (s *Store) Diff(ctx context.Context, lower, upper *Ref, opt NewOptions) (*Ref, error) {
	return nil, errSkeleton
}

// FromLayers makes a tree of layer blobs, lowest first, that are pulled from
// provider (which must be able to fetch for as long as the ref is used) when the
// tree is first needed. Equal chains are one record.
func (s *Store) FromLayers(ctx context.Context, layers []ocispec.Descriptor, provider content.Provider, opt NewOptions) (*Ref, error) {
	return nil, errSkeleton
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

// NewResult makes a solver.Result of a Ref, which becomes the result's; its Sys is
// the *Ref (possibly nil). RefOf gives back the borrowed Ref.
func NewResult(r *Ref) solver.Result      { return nil }
func RefOf(r solver.Result) (*Ref, error) { return nil, errSkeleton }

var _ executor.Mountable = (*Ref)(nil)
var _ executor.Mountable = (*Mutable)(nil)
var _ executor.Mountable = (*CacheMount)(nil)
var _ snapshot.Mountable = executor.MountableRef(nil)
