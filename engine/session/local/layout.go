package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/regular"
)

// layout reads the blobs of an OCI layout. containerd's own store would make
// directories in it to see what the file system can do.
type layout struct{ root string }

var _ content.Store = layout{}

func openLayout(path string) (content.Store, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, ocispec.ImageLayoutFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is no OCI layout (it has no file %s): make one with -o type=oci,tar=false,dest=DIR: %w", path, ocispec.ImageLayoutFile, err)
		}
		return nil, err
	}
	return layout{root: root}, nil
}

func (l layout) path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w: %w", d, err, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(l.root, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), nil
}

// Info tells the size of a blob.
func (l layout) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	path, err := l.path(d)
	if err != nil {
		return content.Info{}, err
	}
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return content.Info{}, fmt.Errorf("layout %s has no blob %s: %w", l.root, d, errdefs.ErrNotFound)
	}
	if err != nil {
		return content.Info{}, err
	}
	if !fi.Mode().IsRegular() {
		return content.Info{}, fmt.Errorf("layout %s, blob %s: not a regular file", l.root, d)
	}
	return content.Info{Digest: d, Size: fi.Size(), CreatedAt: fi.ModTime(), UpdatedAt: fi.ModTime()}, nil
}

// ReaderAt opens a blob.
func (l layout) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	path, err := l.path(desc.Digest)
	if err != nil {
		return nil, err
	}
	f, size, err := regular.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = errdefs.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("layout %s, blob %s: %w", l.root, desc.Digest, err)
	}
	return blob{f, size}, nil
}

// blob is an open blob of a layout.
type blob struct {
	*os.File
	size int64
}

// Size implements content.ReaderAt.
func (b blob) Size() int64 { return b.size }

// maxIndex is the size of the largest index of a layout that is read.
const maxIndex = 8 << 20

// LayoutIndex reads the index of an OCI layout. Nothing is written to the layout.
func LayoutIndex(path string) (*ocispec.Index, error) {
	name := filepath.Join(path, ocispec.ImageIndexFile)
	dt, err := regular.Read(name, maxIndex)
	if err != nil {
		return nil, err
	}
	idx := &ocispec.Index{}
	if err := json.Unmarshal(dt, idx); err != nil {
		return nil, fmt.Errorf("%s is not the index of an OCI layout: %w", name, err)
	}
	return idx, nil
}

// Walk calls fn for each blob. Filters are not supported: nothing asks with one.
func (l layout) Walk(ctx context.Context, fn content.WalkFunc, filters ...string) error {
	if len(filters) != 0 {
		return fmt.Errorf("layout %s: filters: %w", l.root, errdefs.ErrNotImplemented)
	}
	blobs := filepath.Join(l.root, ocispec.ImageBlobsDir)
	return filepath.WalkDir(blobs, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), e.Name())
		if d.Validate() != nil {
			return nil // not a blob
		}
		info, err := l.Info(ctx, d)
		if err != nil {
			return err
		}
		return fn(info)
	})
}

func (l layout) readOnly() error {
	return fmt.Errorf("layout %s is lent to be read: %w", l.root, errdefs.ErrFailedPrecondition)
}

func (l layout) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, l.readOnly()
}
func (l layout) Delete(context.Context, digest.Digest) error { return l.readOnly() }
func (l layout) Abort(context.Context, string) error         { return l.readOnly() }
func (l layout) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, l.readOnly()
}
func (l layout) Status(_ context.Context, ref string) (content.Status, error) {
	return content.Status{}, fmt.Errorf("layout %s: ingest %q: %w", l.root, ref, errdefs.ErrNotFound)
}
func (l layout) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }
