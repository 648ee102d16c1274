package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// parallelFetches is how many layers of one tree are fetched at the same time.
const parallelFetches = 4

// unpackChain makes the snapshots of layers, the topmost first in chain, and
// returns the topmost's key. What is below chain has one. All blobs are fetched
// before the first is unpacked: so a layer that cannot be fetched costs nothing.
func (s *Store) unpackChain(ctx context.Context, chain []*record) (string, error) {
	eg, egctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallelFetches)
	for i := len(chain) - 1; i >= 0; i-- {
		eg.Go(func() error {
			_, err := s.fetch(egctx, chain[i])
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return "", err
	}
	var key string
	for i := len(chain) - 1; i >= 0; i-- {
		rec := chain[i]
		var err error
		key, err = s.trees.Do(ctx, rec.id, func(ctx context.Context) (string, error) {
			if key := s.snapshotOf(rec); key != "" {
				return key, nil
			}
			return s.unpackAny(ctx, rec)
		})
		if err != nil {
			return "", err
		}
	}
	return key, nil
}

// unpackAny makes a layer's snapshot of the first of its blobs that will do. The
// snapshot of the record's parent is there.
func (s *Store) unpackAny(ctx context.Context, rec *record) (key string, err error) {
	err = s.trySources(ctx, rec, func(desc ocispec.Descriptor) error {
		if err := s.fetchOne(ctx, rec, desc); err != nil {
			return err
		}
		if key, err = s.unpack(ctx, rec, desc); err != nil {
			return err
		}
		s.preferBlob(rec, desc.Digest)
		return nil
	})
	return key, err
}

// fetch brings a blob of a layer into the content store, held by the record's lease,
// and says which.
func (s *Store) fetch(ctx context.Context, rec *record) (fetched ocispec.Descriptor, err error) {
	err = s.trySources(ctx, rec, func(desc ocispec.Descriptor) error {
		fetched = desc
		return s.fetchOne(ctx, rec, desc)
	})
	return fetched, err
}

func (s *Store) fetchOne(ctx context.Context, rec *record, desc ocispec.Descriptor) error {
	s.index.mu.Lock()
	provider := rec.provider(desc.Digest)
	s.index.mu.Unlock()
	_, err := s.fetches.Do(ctx, rec.id+" "+desc.Digest.String(), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.fetchBlob(ctx, rec, desc, provider)
	})
	if err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	return nil
}

// source returns the blob that a layer is unpacked from, and where it comes from:
// nil if nobody has said so in this process.
func (s *Store) source(rec *record) (ocispec.Descriptor, content.Provider) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for _, b := range rec.facts.Blobs {
		if p := rec.provider(b.Descriptor.Digest); p != nil {
			return b.Descriptor, p
		}
	}
	return rec.facts.Blobs[0].Descriptor, nil
}

func (s *Store) fetchBlob(ctx context.Context, rec *record, desc ocispec.Descriptor, provider content.Provider) (err error) {
	// The lease first: then the blob cannot be collected after it was found.
	lease := leases.Lease{ID: rec.id}
	resource := leases.Resource{ID: desc.Digest.String(), Type: "content"}
	if err := s.back.leases.AddResource(ctx, lease, resource); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	_, err = s.back.content.Info(ctx, desc.Digest)
	if err == nil {
		return nil
	}
	defer func() {
		if err != nil {
			ctx := context.WithoutCancel(ctx)
			if e := s.back.leases.DeleteResource(ctx, lease, resource); e != nil && !errdefs.IsNotFound(e) {
				err = errors.Join(err, e)
			}
		}
	}()
	if !errdefs.IsNotFound(err) {
		return err
	}
	if provider == nil {
		return fmt.Errorf("it was never fetched, and it is not known any more where from: %w", errdefs.ErrNotFound)
	}
	return s.copyBlob(leases.WithLease(ctx, rec.id), rec, desc, provider)
}

// blobLabels are those that containerd's tools expect of a layer.
func blobLabels(rec *record, desc ocispec.Descriptor) map[string]string {
	l := map[string]string{labels.LabelUncompressed: rec.facts.DiffID.String()}
	for k, v := range desc.Annotations {
		if strings.HasPrefix(k, labels.LabelDistributionSource) {
			l[k] = v
		}
	}
	return l
}

func (s *Store) copyBlob(ctx context.Context, rec *record, desc ocispec.Descriptor, provider content.Provider) (err error) {
	// The record's alone: another that has the same blob may be fetching it, too, and
	// who fails takes away what was written.
	ref := "fetch-" + rec.id + "-" + desc.Digest.String()
	defer func() {
		if err != nil {
			if e := s.back.content.Abort(context.WithoutCancel(ctx), ref); e != nil && !errdefs.IsNotFound(e) {
				err = errors.Join(err, e)
			}
		}
	}()
	if err := CheckRoom(s.root, desc.Digest.String(), desc.Size); err != nil {
		return fmt.Errorf("it cannot be fetched: %w", err)
	}
	ra, err := provider.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("it cannot be fetched: %w", err)
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	w, err := content.OpenWriter(ctx, s.back.content, content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	progress := s.startProgress(ctx, rec, desc.Digest.String(), desc.Size)
	err = content.Copy(ctx, w, progress.reader(content.NewReader(ra)), desc.Size, desc.Digest)
	progress.done(err)
	if err != nil {
		return fmt.Errorf("it cannot be fetched: %w", err)
	}
	return nil
}

// unpack makes a layer's snapshot of a blob, which is there, as is the snapshot of
// the record's parent.
func (s *Store) unpack(ctx context.Context, rec *record, desc ocispec.Descriptor) (_ string, err error) {
	var below string
	if p := rec.parent(); p != nil {
		if below, err = s.base(ctx, p); err != nil {
			return "", err
		}
	}
	key := "unpacked-" + identity.NewID()
	lease := "tmp-" + identity.NewID()
	if err := s.prepare(ctx, lease, key+"-new", below); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.removeActive(ctx, lease, key+"-new"))
		}
	}()
	mounts, err := s.back.snaps.Mounts(ctx, key+"-new")
	if err != nil {
		return "", fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	list, _, err := mounts.Mount()
	if err != nil {
		return "", fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	progress := s.startProgress(ctx, rec, "extracting "+desc.Digest.String(), 0)
	got, err := s.applyBlob(ctx, desc, list, rec.facts.Windows)
	if err == nil && got != rec.facts.DiffID {
		err = &lieError{got: got, said: rec.facts.DiffID}
	}
	progress.done(err)
	if err != nil {
		return "", fmt.Errorf("layer %s cannot be unpacked: %w", desc.Digest, err)
	}
	if err := s.keepUnpacked(ctx, rec, desc, lease, key); err != nil {
		return "", fmt.Errorf("layer %s cannot be unpacked: %w", desc.Digest, err)
	}
	return key, nil
}

// keepUnpacked commits a layer's snapshot and gives it to the record.
func (s *Store) keepUnpacked(ctx context.Context, rec *record, desc ocispec.Descriptor, lease, key string) error {
	// What the image said is true, as is seen now: so it may be written down.
	info := content.Info{Digest: desc.Digest, Labels: blobLabels(rec, desc)}
	var fields []string
	for k := range info.Labels {
		fields = append(fields, "labels."+k)
	}
	if _, err := s.back.content.Update(ctx, info, fields...); err != nil {
		return err
	}
	if err := s.back.snaps.Commit(leases.WithLease(ctx, lease), key, key+"-new"); err != nil {
		return err
	}
	if err := s.adopt(ctx, rec, key, isTree(key)); err != nil {
		return err
	}
	if err := s.back.leases.Delete(ctx, leases.Lease{ID: lease}); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
