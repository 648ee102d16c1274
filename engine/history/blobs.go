package history

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blobs are those that records name, and those that they name. They are only to be read.
func (s *Store) Blobs() content.Store { return s.blobs }

// hold has a blob stay, or be made, until it is released.
func (s *Store) hold(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[d]++
}

// release removes the blobs of a list that nobody holds any more. The caller has mu.
func (s *Store) release(list []digest.Digest) error {
	var gone []digest.Digest
	for _, d := range list {
		if s.holds[d]--; s.holds[d] <= 0 {
			delete(s.holds, d)
			gone = append(gone, d)
		}
	}
	return s.removeBlobs(gone)
}

// sweep removes the blobs that no record has: of builds that did not end.
func (s *Store) sweep() error {
	var gone []digest.Digest
	ctx := context.Background()
	err := s.blobs.Walk(ctx, func(info content.Info) error {
		if s.holds[info.Digest] == 0 {
			gone = append(gone, info.Digest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	open, err := s.blobs.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, st := range open {
		if err := s.blobs.Abort(ctx, st.Ref); err != nil {
			return err
		}
	}
	return s.removeBlobs(gone)
}

func (s *Store) removeBlobs(list []digest.Digest) error {
	var errs []error
	for _, d := range list {
		if err := s.blobs.Delete(context.Background(), d); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// blobsOf are the blobs of a record, as far as they are there.
func (s *Store) blobsOf(rec *controlapi.BuildHistoryRecord) (all []digest.Digest) {
	for _, d := range []*controlapi.Descriptor{rec.Logs, rec.ExternalError, rec.Trace} {
		if d != nil {
			all = append(all, digest.Digest(d.Digest))
		}
	}
	for _, info := range append(slices.Collect(maps.Values(rec.Results)), rec.Result) {
		for _, d := range info.GetAttestations() {
			all = append(all, digest.Digest(d.GetDigest()))
		}
		for _, d := range info.GetResults() {
			desc := ocispec.Descriptor{MediaType: d.GetMediaType(), Digest: digest.Digest(d.GetDigest()), Size: d.GetSize()}
			list, _ := described(context.Background(), s.blobs, desc) // what is missing was too large to be kept
			for _, d := range list {
				all = append(all, d.Digest)
			}
		}
	}
	return all
}

// blob is a blob that is written.
type blob struct {
	content content.Writer
	w       *bufio.Writer
}

func (s *Store) newBlob(ref string) (*blob, error) {
	w, err := content.OpenWriter(context.Background(), s.blobs, content.WithRef(ref))
	if err != nil {
		return nil, err
	}
	if err := w.Truncate(0); err != nil { // of a build that was killed
		return nil, errors.Join(err, w.Close())
	}
	return &blob{w, bufio.NewWriter(w)}, nil
}

// commit ends a blob, which is held from then on.
func (r *Recording) commit(b *blob, mediaType string) (_ *controlapi.Descriptor, err error) {
	defer func() { err = errors.Join(err, b.content.Close()) }()
	if err := b.w.Flush(); err != nil {
		return nil, err
	}
	st, err := b.content.Status()
	if err != nil {
		return nil, err
	}
	desc := ocispec.Descriptor{Digest: b.content.Digest(), Size: st.Offset}
	if desc.Size == 0 {
		desc.Digest = digest.FromBytes(nil)
	}
	r.hold(desc.Digest)
	if err := b.content.Commit(context.Background(), desc.Size, desc.Digest); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, err
	}
	return &controlapi.Descriptor{MediaType: mediaType, Digest: desc.Digest.String(), Size: desc.Size}, nil
}

// hold has a blob stay as long as the record.
func (r *Recording) hold(d digest.Digest) {
	r.s.hold(d)
	r.held = append(r.held, d)
}

// write makes a blob of bytes.
func (r *Recording) write(name string, dt []byte, mediaType string) (*controlapi.Descriptor, error) {
	b, err := r.s.newBlob(name + " of " + r.rec.Ref)
	if err != nil {
		return nil, err
	}
	if _, err := b.w.Write(dt); err != nil {
		return nil, errors.Join(err, b.content.Close())
	}
	return r.commit(b, mediaType)
}
