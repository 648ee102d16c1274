package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// untaggedPrefix and a digest are the name of an image that has lost its last tag.
const untaggedPrefix = "untagged@"

// IsUntagged says whether a name in Images is none that anybody gave: the image has
// none, or has lost it to another. Prune removes such an image. Names of
// others are in full, as in "docker.io/library/app:latest".
func IsUntagged(name string) bool {
	prefix, dgst, ok := strings.Cut(name, "@")
	if !ok || strings.ContainsAny(prefix, "/:") {
		return false
	}
	return digest.Digest(dgst).Validate() == nil
}

// UntaggedName is the name in Images of an image that has none.
func UntaggedName(dgst digest.Digest) string { return untaggedPrefix + dgst.String() }

// Tag makes a name in full stand for an image. UntaggedName keeps one that has no name,
// and does nothing to others. What it stood for, if
// it has no other name, stays as an untagged image. What is in target is held by the
// caller until then.
func (s *Store) Tag(ctx context.Context, name string, target ocispec.Descriptor) error {
	s.tagging.Lock()
	defer s.tagging.Unlock()
	is := s.back.images
	if IsUntagged(name) {
		same, err := is.List(ctx, "target.digest=="+target.Digest.String())
		if err != nil || len(same) > 0 {
			return err // it has a name, or is kept without one
		}
	}
	old, err := is.Get(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		_, err = is.Create(ctx, images.Image{Name: name, Target: target})
	case err != nil:
	default:
		if old.Target.Digest != target.Digest {
			if err := s.keepUntagged(ctx, old); err != nil {
				return err
			}
		}
		_, err = is.Update(ctx, images.Image{Name: name, Target: target})
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", name, err)
	}
	if IsUntagged(name) {
		return nil
	}
	// It has a name now.
	if err := is.Delete(ctx, UntaggedName(target.Digest)); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("image %s: %w", target.Digest, err)
	}
	return nil
}

// keepUntagged keeps an image that is about to lose a name, if that is its last.
func (s *Store) keepUntagged(ctx context.Context, img images.Image) error {
	same, err := s.back.images.List(ctx, "target.digest=="+img.Target.Digest.String())
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	if len(same) > 1 {
		return nil
	}
	_, err = s.back.images.Create(ctx, images.Image{Name: UntaggedName(img.Target.Digest), Target: img.Target})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("image %s: %w", img.Target.Digest, err)
	}
	return nil
}

// Untag takes names of images out of the store. What no record and no other image
// holds of them is removed from the disk. Names that are not there are an error that
// wraps errdefs.ErrNotFound; the others are removed all the same.
func (s *Store) Untag(ctx context.Context, names ...string) error {
	s.tagging.Lock()
	var failed error
	for _, name := range names {
		if err := s.back.images.Delete(ctx, name); err != nil && failed == nil {
			failed = fmt.Errorf("image %s: %w", name, err)
		}
	}
	s.tagging.Unlock()
	if err := s.Collect(ctx); err != nil && failed == nil {
		failed = err
	}
	return failed
}

// Collect removes from the disk what nothing holds any more: content that a lease of
// WithLease has held, say, and that nothing else holds by now.
func (s *Store) Collect(ctx context.Context) error {
	s.garbage.Add(1)
	return s.collectGarbage(s.Context(ctx))
}
