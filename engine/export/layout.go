package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/gofrs/flock"
	"github.com/moby/buildkit/util/contentutil"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// lockRetry is how often a lock that somebody else has is asked for.
const lockRetry = 50 * time.Millisecond

// writeLayout adds an image to the OCI layout in dir, which is made if need be. The
// form is that of https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
// Blobs come first, each in its place only when it is whole and has its digest; the
// index that names them is replaced last. What else the layout has stays; names move.
func writeLayout(ctx context.Context, dir string, umask os.FileMode, from *blobs, desc ocispec.Descriptor, names []string) error {
	if err := os.MkdirAll(dir, 0o777&^umask); err != nil {
		return err
	}
	handler := images.Handlers(images.ChildrenHandler(from), images.HandlerFunc(
		func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return nil, copyBlob(ctx, dir, umask, from, d)
		}))
	if err := images.Walk(ctx, handler, desc); err != nil {
		return err
	}
	return addToIndex(ctx, dir, umask, named(desc, names))
}

// NameInLayout puts into the index of the OCI layout in dir what names of images, or else a
// tag, stand for. The blobs are there. Several may do so at a time, and a reader finds the
// index as it was or as it is.
func NameInLayout(ctx context.Context, dir string, umask os.FileMode, desc ocispec.Descriptor, names []string, tag string) error {
	entries := named(desc, names)
	if len(names) == 0 {
		annotations := maps.Clone(desc.Annotations)
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[ocispec.AnnotationRefName] = tag
		entries[0].Annotations = annotations
	}
	return addToIndex(ctx, dir, umask, entries)
}

// sendLayout writes an image's blobs at a caller, those that others refer to first.
func sendLayout(ctx context.Context, to Remote, from *blobs, desc ocispec.Descriptor) error {
	blobs, err := to.Blobs(ctx)
	if err != nil {
		return err
	}
	return contentutil.CopyChain(ctx, blobs, from, desc)
}

// copyBlob writes one blob, unless it is there with the right size.
func copyBlob(ctx context.Context, dir string, umask os.FileMode, from content.Provider, desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return err
	}
	blobDir := filepath.Join(dir, ocispec.ImageBlobsDir, desc.Digest.Algorithm().String())
	if err := os.MkdirAll(blobDir, 0o777&^umask); err != nil {
		return err
	}
	path := filepath.Join(blobDir, desc.Digest.Encoded())
	if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && fi.Size() == desc.Size {
		return nil
	}
	r, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("blob %s: %w", desc.Digest, err)
	}
	defer r.Close()
	return writeTo(ctx, File(path, umask), nil, func(w io.Writer) error {
		verifier := desc.Digest.Verifier()
		n, err := io.Copy(stoppable{ctx, io.MultiWriter(w, verifier)}, content.NewReader(r))
		if err != nil {
			return fmt.Errorf("blob %s: %w", desc.Digest, err)
		}
		if n != desc.Size || !verifier.Verified() {
			return fmt.Errorf("blob %s: what was read has another size or digest", desc.Digest)
		}
		return nil
	})
}

// addToIndex puts entries into index.json, in the place of those that they replace.
// It is for one writer at a time, by a lock on the directory.
func addToIndex(ctx context.Context, dir string, umask os.FileMode, entries []ocispec.Descriptor) (err error) {
	path := filepath.Join(dir, ocispec.ImageIndexFile)
	unlock, err := lockLayout(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	dt, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(dt, &idx); err != nil {
			return fmt.Errorf("%s is not an index: %w", path, err)
		}
	}
	for _, entry := range entries {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(old ocispec.Descriptor) bool { return replaces(entry, old) })
		idx.Manifests = append(idx.Manifests, entry)
	}
	if err := writeJSON(ctx, filepath.Join(dir, ocispec.ImageLayoutFile), umask, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	return writeJSON(ctx, path, umask, idx)
}

// lockLayout waits until no other writer has the index of a layout.
func lockLayout(ctx context.Context, dir string) (unlock func() error, err error) {
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return lock.Unlock, nil
}

// replaces says whether an old entry goes when a new one comes: it has the same
// name, or both have none and are the same image.
func replaces(entry, old ocispec.Descriptor) bool {
	same := func(key string) bool { return entry.Annotations[key] == old.Annotations[key] }
	if !same(ocispec.AnnotationRefName) || !same(images.AnnotationImageName) {
		return false
	}
	return entry.Annotations[ocispec.AnnotationRefName] != "" || entry.Digest == old.Digest
}

// named is a descriptor once for each name, or once as it is. Which annotations a
// name becomes is containerd's convention: the full name, and its tag.
func named(desc ocispec.Descriptor, names []string) []ocispec.Descriptor {
	if len(names) == 0 {
		return []ocispec.Descriptor{desc}
	}
	var out []ocispec.Descriptor
	for _, name := range names {
		d := desc
		d.Annotations = maps.Clone(desc.Annotations)
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[images.AnnotationImageName] = name
		d.Annotations[ocispec.AnnotationRefName] = name
		if spec, err := reference.Parse(name); err == nil && spec.Object != "" && spec.Object[0] != '@' {
			d.Annotations[ocispec.AnnotationRefName] = spec.Object
		}
		out = append(out, d)
	}
	return out
}

func writeJSON(ctx context.Context, path string, umask os.FileMode, v any) error {
	dt, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeTo(ctx, File(path, umask), nil, func(w io.Writer) error {
		_, err := w.Write(dt)
		return err
	})
}
