package store

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/converter/tarconverter"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// pack makes the blob of a layer of what its tree is. The lease of ctx holds it.
func (s *Store) pack(ctx context.Context, p piece, opt LayerOptions) (b blob, err error) {
	upper, releaseUpper, err := s.mountsOf(ctx, p.upper)
	if err != nil {
		return blob{}, err
	}
	defer func() { err = errors.Join(err, releaseUpper()) }()
	key, err := s.lowerOf(ctx, p)
	if err != nil {
		return blob{}, err
	}
	lower, releaseLower, err := s.mountsOfKey(ctx, p.lower, key)
	if err != nil {
		return blob{}, err
	}
	defer func() { err = errors.Join(err, releaseLower()) }()

	ref := "pack-" + identity.NewID()
	w, err := content.OpenWriter(ctx, s.back.content, content.WithRef(ref))
	if err != nil {
		return blob{}, err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if e := s.back.content.Abort(context.WithoutCancel(ctx), ref); e != nil && !errdefs.IsNotFound(e) {
			err = errors.Join(err, e)
		}
	}()
	diffID := digest.Canonical.Digester()
	var exact bool
	err = s.mounted(upper, func(root string) error {
		return compressTo(ctx, w, opt, func(zw io.Writer) error {
			out := io.MultiWriter(zw, diffID.Hash())
			return rewrite(ctx, out, root, opt, func(ctx context.Context, w io.Writer) (err error) {
				exact, err = s.writeTar(ctx, w, p, lower, upper, root)
				return err
			})
		})
	})
	if err != nil {
		return blob{}, fmt.Errorf("the layer cannot be packed: %w", err)
	}
	b, err = s.keepPacked(ctx, w, p.rec, opt, diffID.Digest())
	b.Exact = exact && opt.SourceDateEpoch == nil && !opt.windows // which change times and names
	return b, err
}

// mountsOf returns the read-only mounts of a record's tree: none for the empty one.
func (s *Store) mountsOf(ctx context.Context, rec *record) ([]mount.Mount, func() error, error) {
	if rec == nil {
		return s.mountsOfKey(ctx, nil, "")
	}
	key, err := s.tree(ctx, rec)
	if err != nil {
		return nil, nil, err
	}
	return s.mountsOfKey(ctx, rec, key)
}

// mountsOfKey does it for a snapshot of a record's tree.
func (s *Store) mountsOfKey(ctx context.Context, rec *record, key string) ([]mount.Mount, func() error, error) {
	if rec == nil {
		return nil, func() error { return nil }, nil
	}
	m, err := s.readonly(ctx, rec, key)
	if err != nil {
		return nil, nil, err
	}
	return m.Mount()
}

// compressTo calls fn with a writer that compresses to w.
func compressTo(ctx context.Context, w io.Writer, opt LayerOptions, fn func(io.Writer) error) error {
	buf := bufio.NewWriterSize(w, 128<<10)
	compress, _ := opt.Compression.Type.Compress(ctx, opt.Compression)
	zw, err := compress(buf, opt.Compression.Type.MediaType())
	if err != nil {
		return err
	}
	if err := fn(zw); err != nil {
		return errors.Join(err, zw.Close())
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return buf.Flush()
}

// rewrite passes on the archive that write writes, with what it leaves out: the
// extended attributes, which are read from the tree at root. Times and the layout become
// as opt says.
func rewrite(ctx context.Context, w io.Writer, root string, opt LayerOptions, write func(context.Context, io.Writer) error) error {
	pr, pw := io.Pipe()
	var xattrErr error
	tr := tarconverter.NewReader(pr, func(h *tar.Header) {
		if err := addXattrs(h, root); err != nil && xattrErr == nil {
			xattrErr = err
		}
		if opt.SourceDateEpoch != nil {
			clamp(h, *opt.SourceDateEpoch)
		}
		if opt.windows {
			toWindows(h)
		}
	})
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error {
		err := write(ctx, pw)
		pw.CloseWithError(err)
		return err
	})
	eg.Go(func() error {
		err := error(nil)
		if opt.windows {
			err = beginWindows(w)
		}
		if err == nil {
			_, err = io.Copy(w, tr)
		}
		tr.Close()
		pr.CloseWithError(err)
		return err
	})
	if err := eg.Wait(); err != nil {
		return err
	}
	return xattrErr // read to its end, the converter does not write it any more
}

func clamp(h *tar.Header, epoch time.Time) {
	for _, t := range []*time.Time{&h.ModTime, &h.AccessTime, &h.ChangeTime} {
		if t.After(epoch) {
			*t = epoch
		}
	}
}

// keepPacked puts what was written into the content store, held by the lease of the
// record.
func (s *Store) keepPacked(ctx context.Context, w content.Writer, rec *record, opt LayerOptions, diffID digest.Digest) (blob, error) {
	dgst := w.Digest()
	resource := leases.Resource{ID: dgst.String(), Type: "content"}
	if err := s.back.leases.AddResource(ctx, leases.Lease{ID: rec.id}, resource); err != nil {
		return blob{}, fmt.Errorf("lease: %w", err)
	}
	label := map[string]string{labels.LabelUncompressed: diffID.String()}
	if err := w.Commit(ctx, 0, dgst, content.WithLabels(label)); err != nil && !errdefs.IsAlreadyExists(err) {
		return blob{}, err
	}
	info, err := s.back.content.Info(ctx, dgst)
	if err != nil {
		return blob{}, err
	}
	if info.Labels[labels.LabelUncompressed] == "" {
		info.Labels = label
		if _, err := s.back.content.Update(ctx, info, "labels."+labels.LabelUncompressed); err != nil {
			return blob{}, err
		}
	}
	return blob{Descriptor: ocispec.Descriptor{
		MediaType: opt.Compression.Type.MediaType(), Digest: dgst, Size: info.Size, Annotations: label,
	}}, nil
}
