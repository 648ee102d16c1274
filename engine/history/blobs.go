package history

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/why"
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
	return errors.Join(s.removeBlobs(gone), s.sweepAccounts())
}

// sweepAccounts removes the accounts, and the trees, that no record has.
func (s *Store) sweepAccounts() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, accountsDir))
	if err != nil {
		return err
	}
	stay := map[string]bool{}
	for ref := range s.ended {
		stay[fileName(ref)] = true
	}
	var errs []error
	for _, e := range entries {
		if !stay[e.Name()] {
			errs = append(errs, os.Remove(filepath.Join(s.dir, accountsDir, e.Name())))
		}
	}
	return errors.Join(append(errs, s.sweepTrees())...)
}

// begun is when the first of the builds under way began. What was kept since may be theirs.
func (s *Store) begun() time.Time {
	first := time.Now()
	for _, rec := range s.active {
		if at := rec.CreatedAt.AsTime(); at.Before(first) {
			first = at
		}
	}
	return first
}

// sweepTrees removes the trees that no account names.
func (s *Store) sweepTrees() error {
	var names []digest.Digest
	for ref := range s.ended {
		b, err := readAccount(account(s.dir, ref))
		if err != nil {
			continue
		}
		for i := range b.Steps {
			if st := &b.Steps[i]; st.Kind == why.OpSource {
				names = append(names, st.Ops...)
			}
		}
	}
	return Trees(s.dir).Keep(names, s.begun())
}

// emptied has a folder be there, with nothing in it.
func emptied(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
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

// blobsOf are the blobs of a record, as far as they are there. One that a power cut has cut
// off is removed.
func (s *Store) blobsOf(rec *controlapi.BuildHistoryRecord) (all []digest.Digest, err error) {
	have := []*controlapi.Descriptor{rec.Logs, rec.ExternalError, rec.Trace}
	infos := append(slices.Collect(maps.Values(rec.Results)), rec.Result)
	for _, info := range infos {
		have = append(have, info.GetAttestations()...)
	}
	for _, info := range infos {
		for _, d := range info.GetResults() {
			desc := ocispec.Descriptor{MediaType: d.GetMediaType(), Digest: digest.Digest(d.GetDigest()), Size: d.GetSize()}
			list, _ := described(context.Background(), s.blobs, desc) // what is missing was too large to be kept
			for _, d := range list {
				have = append(have, &controlapi.Descriptor{Digest: d.Digest.String(), Size: d.Size})
			}
		}
	}
	for _, d := range have {
		name := digest.Digest(d.GetDigest())
		if name.Validate() != nil {
			continue
		}
		all = append(all, name)
		if fi, err := os.Lstat(s.blobFile(name)); err == nil && fi.Size() != d.Size {
			if err := os.Remove(s.blobFile(name)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// commit ends a blob, which is held from then on.
func (r *Recording) commit(b *newBlob, mediaType string) (*controlapi.Descriptor, error) {
	d := b.sum.Digest()
	r.hold(d)
	if err := b.keep(r.s.blobFile(d)); err != nil {
		return nil, err
	}
	return &controlapi.Descriptor{MediaType: mediaType, Digest: d.String(), Size: b.size}, nil
}

// hold has a blob stay as long as the record.
func (r *Recording) hold(d digest.Digest) {
	r.s.hold(d)
	r.held = append(r.held, d)
}

// write makes a blob of bytes.
func (r *Recording) write(dt []byte, mediaType string) (*controlapi.Descriptor, error) {
	b := r.s.newBlob()
	if _, err := b.Write(dt); err != nil {
		return nil, errors.Join(err, b.drop())
	}
	return r.commit(b, mediaType)
}
