package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Records of layers go by what images say of them. An image that does not tell the
// truth may come first: so a layer may have blobs that are not what they are said
// to be, which shows when they are unpacked.

// lieError says that a blob is not the layer that an image said it was.
type lieError struct{ got, said digest.Digest }

func (e *lieError) Error() string {
	return fmt.Sprintf("its content is %s, and the image says %s: the image is damaged, or made wrongly", e.got, e.said)
}

// BuildKit is the error in BuildKit's words.
func (e *lieError) BuildKit() string { return "failed to verify layer: " + e.Error() }

// sources are the blobs that a layer may be unpacked from, in the order in which they
// are to be tried: those that are here, and then those of which is known where they
// come from. If there are none, it is one that cannot be fetched.
func (s *Store) sources(ctx context.Context, rec *record) []ocispec.Descriptor {
	s.index.mu.Lock()
	var all []ocispec.Descriptor
	known := map[digest.Digest]bool{}
	for _, b := range rec.facts.Blobs {
		all = append(all, b.Descriptor)
		known[b.Descriptor.Digest] = rec.provider(b.Descriptor.Digest) != nil
	}
	s.index.mu.Unlock()
	var here, there []ocispec.Descriptor
	for _, desc := range all {
		if _, err := s.back.content.Info(ctx, desc.Digest); err == nil {
			here = append(here, desc)
		} else if known[desc.Digest] {
			there = append(there, desc)
		}
	}
	if found := append(here, there...); len(found) > 0 {
		return found
	}
	return all[:1]
}

// trySources calls fn with one blob of a layer after the other, until it succeeds.
func (s *Store) trySources(ctx context.Context, rec *record, fn func(ocispec.Descriptor) error) error {
	var errs []error
	for _, desc := range s.sources(ctx, rec) {
		err := s.undamaged(ctx, desc, func() error { return fn(desc) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, s.lost(ctx, rec, desc.Digest, err))
		var lie *lieError
		if errors.As(err, &lie) {
			if err := s.dropBlob(ctx, rec, desc.Digest); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// dropBlob makes a layer do without a blob, unless it is the only one.
func (s *Store) dropBlob(ctx context.Context, rec *record, dgst digest.Digest) error {
	dropped := false
	err := s.save(ctx, rec, func(f *facts) {
		if dropped = len(f.Blobs) > 1; dropped {
			delete(rec.providers, dgst)
			f.Blobs = slices.DeleteFunc(slices.Clone(f.Blobs), func(b blob) bool { return b.Descriptor.Digest == dgst })
		}
	})
	if err != nil || !dropped {
		return err
	}
	err = s.back.leases.DeleteResource(ctx, leases.Lease{ID: rec.id}, leases.Resource{ID: dgst.String(), Type: "content"})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("lease of tree %s: %w", rec.id, err)
	}
	s.garbage.Add(1)
	return nil
}

// preferBlob makes a blob, which is known to be the layer, the one that is used where
// nothing else is asked for.
func (s *Store) preferBlob(rec *record, dgst digest.Digest) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	s.index.preferBlob(rec, dgst)
}

// preferBlob is Store.preferBlob for who has mu.
func (x *index) preferBlob(rec *record, dgst digest.Digest) {
	i := slices.IndexFunc(rec.facts.Blobs, func(b blob) bool { return b.Descriptor.Digest == dgst })
	if i <= 0 {
		return
	}
	all := slices.Clone(rec.facts.Blobs)
	rec.facts.Blobs = slices.Insert(slices.Delete(all, i, i+1), 0, rec.facts.Blobs[i])
	x.markDirty(rec)
}
