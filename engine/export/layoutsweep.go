package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// leftOver is how old what was half written is to be, so that nobody writes it any more.
	leftOver = 24 * time.Hour
	// maxManifest bounds what is read of a manifest, in bytes.
	maxManifest = 8 << 20
)

// SweepLayout removes the blobs of the OCI layout in dir that nothing in its index stands on,
// and what was left half written long ago. Where a manifest cannot be read, nothing is removed.
// What another writer has brought there and not named yet is removed, too.
func SweepLayout(ctx context.Context, dir string) (err error) {
	unlock, err := lockLayout(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	dt, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return err
	}
	var idx ocispec.Index
	if err := json.Unmarshal(dt, &idx); err != nil {
		return fmt.Errorf("%s is not an index: %w", filepath.Join(dir, ocispec.ImageIndexFile), err)
	}
	cs, err := contentlocal.NewStore(dir)
	if err != nil {
		return err
	}
	used, err := reached(ctx, cs, idx.Manifests)
	if err != nil {
		return fmt.Errorf("what %s stands on: %w", dir, err)
	}
	var unused []digest.Digest
	err = cs.Walk(ctx, func(i content.Info) error {
		if !used[i.Digest] {
			unused = append(unused, i.Digest)
		}
		return nil
	})
	for _, d := range unused {
		err = errors.Join(err, cs.Delete(ctx, d))
	}
	return errors.Join(err, abortOld(ctx, cs))
}

// reached are the blobs that others lead to.
func reached(ctx context.Context, cs content.Provider, from []ocispec.Descriptor) (map[digest.Digest]bool, error) {
	used := map[digest.Digest]bool{}
	children := images.ChildrenHandler(cs)
	visit := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if used[d.Digest] {
			return nil, images.ErrSkipDesc
		}
		used[d.Digest] = true
		if images.IsLayerType(d.MediaType) {
			return nil, nil
		}
		if d.Size > maxManifest {
			return nil, fmt.Errorf("%s has %d bytes, and at most %d are read", d.Digest, d.Size, maxManifest)
		}
		return children(ctx, d)
	})
	return used, images.Walk(ctx, visit, from...)
}

// abortOld removes what was half written by writers that have ended since.
func abortOld(ctx context.Context, cs content.IngestManager) error {
	all, err := cs.ListStatuses(ctx)
	for _, s := range all {
		if time.Since(s.UpdatedAt) > leftOver {
			err = errors.Join(err, cs.Abort(ctx, s.Ref))
		}
	}
	return err
}
