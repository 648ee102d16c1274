package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/util/compression"
	"github.com/moby/buildkit/util/converter"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Layer is one layer of a tree as a blob.
type Layer struct {
	// Descriptor has the annotation "containerd.io/uncompressed", and of a pulled
	// layer those that it came with. Its media type is as it was pulled, or OCI's.
	Descriptor ocispec.Descriptor
	// DiffID is the digest of the layer when it is not compressed.
	DiffID digest.Digest
	// Description and CreatedAt are those of NewOptions.
	Description string
	CreatedAt   *time.Time
	// Pulled: it came as a layer.
	Pulled bool
	// Made, which LayersOnce says, is that there was no blob of it here before.
	Made bool
}

// LayerOptions choose the form of layers. The zero value is gzip, and what there
// is already.
type LayerOptions struct {
	// Compression is what layers are compressed with that have no blob yet, and
	// with Force all others. There are gzip, zstd and uncompressed.
	Compression compression.Config
	// SourceDateEpoch, if not nil, bounds the times in layers: later ones become it. All
	// of these are compressed as asked for.
	SourceDateEpoch *time.Time
	// Base are the diff IDs of the image that the tree was built on. Its layers keep their
	// times, from the lowest to the first that is another.
	Base []digest.Digest

	windows bool // they are laid out for Windows
}

// orDefault are the options with a compression.
func (o LayerOptions) orDefault() LayerOptions {
	if o.Compression.Type == nil {
		o.Compression.Type = compression.Default
	}
	return o
}

// SameForm says whether layers that are made for one are as they are made for the other, but
// for times.
func (o LayerOptions) SameForm(other LayerOptions) bool {
	a, err := o.orDefault().form()
	if err != nil {
		return false
	}
	b, err := other.orDefault().form()
	return err == nil && a == b
}

// form names what blobs the options lead to.
type form string

func (o LayerOptions) form() (form, error) {
	switch o.Compression.Type {
	case compression.Gzip, compression.Zstd, compression.Uncompressed:
	default:
		return "", fmt.Errorf("compression %s: layers can be gzip, zstd or uncompressed", o.Compression.Type)
	}
	f := o.Compression.Type.String()
	if o.Compression.Level != nil {
		f += ":" + strconv.Itoa(*o.Compression.Level)
	}
	if o.windows {
		f += string(windowsForm)
	}
	return form(f), nil
}

// Layers returns the tree's layers, the lowest first, and what reads their blobs,
// for as long as the handle is kept. A layer that has no blob in a form that will
// do gets one; the same tree always gets the same. Pulled layers are not fetched,
// unless they have to be converted. Concurrent calls make a blob once. The empty
// tree has no layers.
func (r *Ref) Layers(ctx context.Context, opt LayerOptions) ([]Layer, content.Provider, error) {
	rec, err := r.use()
	if err != nil {
		return nil, nil, err
	}
	opt = opt.orDefault()
	if _, err := opt.form(); err != nil {
		return nil, nil, err
	}
	if rec == nil {
		return nil, noBlobs{}, nil
	}
	s, ctx := r.s, r.s.Context(ctx)
	trees := newForest()
	all := trees.pieces(trees.top(rec))
	layers, opts := make([]Layer, len(all)), opt.each(all)
	eg, egctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallelFetches)
	for i, p := range all {
		eg.Go(func() error {
			b, err := s.layer(egctx, p, opts[i])
			if err != nil {
				return fmt.Errorf("layer %d of %d of tree %s (%s): %w", i+1, len(all), rec.id, p.rec.facts.Description, err)
			}
			layers[i] = b.layer(p.rec)
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, nil, err
	}
	if err := s.noteChains(ctx, trees); err != nil {
		return nil, nil, err
	}
	return layers, s.blobsOf(all), nil
}

// RewrittenTimestamp is the annotation by which BuildKit says what the times in a layer
// were bounded by.
const RewrittenTimestamp = "buildkit/rewritten-timestamp"

func (b blob) layer(rec *record) Layer {
	l := Layer{Descriptor: b.Descriptor, Description: rec.facts.Description, DiffID: b.diffID(rec), Pulled: rec.facts.Kind == kindLayer}
	l.Descriptor.Annotations = map[string]string{}
	for k, v := range b.Descriptor.Annotations {
		l.Descriptor.Annotations[k] = v
	}
	l.Descriptor.Annotations[labels.LabelUncompressed] = l.DiffID.String()
	if b.Epoch != "" {
		l.Descriptor.Annotations[RewrittenTimestamp] = b.Epoch
	}
	t := rec.facts.CreatedAt
	l.CreatedAt = &t
	return l
}

// diffID is that of a blob of a record.
func (b blob) diffID(rec *record) digest.Digest {
	if d := b.Descriptor.Annotations[labels.LabelUncompressed]; d != "" {
		return digest.Digest(d)
	}
	return rec.facts.DiffID
}

// existing returns a blob of a record that will do, if there is one, here or where it
// comes from.
func (s *Store) existing(ctx context.Context, rec *record, opt LayerOptions) (blob, bool) {
	want, err := opt.form()
	if err != nil {
		return blob{}, false
	}
	epoch := opt.epoch()
	all := s.blobsThere(ctx, rec)
	// That a pulled layer was converted once is no reason not to have it as it came.
	exact := opt.Compression.Force || rec.facts.Kind != kindLayer || epoch != ""
	like := func(b blob) bool { return b.Epoch == "" && epoch == "" && b.Form.windows() == opt.windows }
	for _, b := range all {
		if exact && b.Epoch == epoch && b.Form == want {
			return b, true
		}
	}
	for _, b := range all {
		if like(b) && (!opt.Compression.Force || compression.IsMediaType(opt.Compression.Type, b.Descriptor.MediaType)) {
			return b, true
		}
	}
	return blob{}, false
}

// blobsThere are the blobs of a record but for those that are gone from the disk, and of
// which is not known where they come from.
func (s *Store) blobsThere(ctx context.Context, rec *record) []blob {
	s.index.mu.Lock()
	all := slices.Clone(rec.facts.Blobs)
	known := map[digest.Digest]bool{}
	for _, b := range all {
		known[b.Descriptor.Digest] = rec.provider(b.Descriptor.Digest) != nil
	}
	s.index.mu.Unlock()
	return slices.DeleteFunc(all, func(b blob) bool {
		if known[b.Descriptor.Digest] {
			return false
		}
		_, err := s.back.content.Info(ctx, b.Descriptor.Digest)
		return errdefs.IsNotFound(err)
	})
}

// epoch is the bound of the times in a layer; "" where there is none.
func (o LayerOptions) epoch() string {
	if o.SourceDateEpoch == nil {
		return ""
	}
	return strconv.FormatInt(o.SourceDateEpoch.Unix(), 10)
}

// each are the options of each layer.
func (o LayerOptions) each(all []piece) []LayerOptions {
	opts := make([]LayerOptions, len(all))
	windows := slices.ContainsFunc(all, func(p piece) bool { return p.rec.facts.Windows })
	inBase := true
	for i, p := range all {
		opts[i] = o
		opts[i].windows = windows && p.rec.facts.Kind != kindLayer
		inBase = inBase && i < len(o.Base) && p.rec.facts.Kind == kindLayer && p.rec.facts.DiffID == o.Base[i]
		if inBase {
			opts[i].SourceDateEpoch = nil
		}
	}
	return opts
}

// layer returns the blob of a piece, which it makes if need be.
func (s *Store) layer(ctx context.Context, p piece, opt LayerOptions) (blob, error) {
	if b, ok := s.existing(ctx, p.rec, opt); ok {
		return b, nil
	}
	want, err := opt.form()
	if err != nil {
		return blob{}, err
	}
	key := p.rec.id + " " + string(want) + " " + opt.epoch()
	return s.forms.Do(ctx, key, func(ctx context.Context) (b blob, err error) {
		if b, ok := s.existing(ctx, p.rec, opt); ok {
			return b, nil
		}
		ctx = leases.WithLease(ctx, p.rec.id)
		if p.rec.facts.Kind == kindLayer {
			b, err = s.convert(ctx, p.rec, opt)
		} else {
			b, err = s.pack(ctx, p, opt)
		}
		if err != nil {
			return blob{}, err
		}
		b.Form, b.Epoch = want, opt.epoch()
		return b, s.save(ctx, p.rec, func(f *facts) {
			// One of that form is gone from the disk.
			f.Blobs = slices.DeleteFunc(slices.Clone(f.Blobs), func(old blob) bool { return old.Form == b.Form && old.Epoch == b.Epoch && old.Form != "" })
			f.Blobs = append(f.Blobs, b)
			if f.DiffID == "" && b.Epoch == "" {
				f.DiffID = b.diffID(p.rec)
			}
		})
	})
}

// convert makes another form of a pulled layer, or one with other times.
func (s *Store) convert(ctx context.Context, rec *record, opt LayerOptions) (blob, error) {
	desc, err := s.fetch(ctx, rec)
	if err != nil {
		return blob{}, err
	}
	fn, err := converter.NewWithRewriteTimestamp(ctx, s.back.content, desc, opt.Compression, opt.SourceDateEpoch, nil)
	if err != nil {
		return blob{}, fmt.Errorf("conversion to %s: %w", opt.Compression.Type, err)
	}
	if fn == nil {
		return blob{Descriptor: desc}, nil
	}
	var got *ocispec.Descriptor
	err = s.undamaged(ctx, desc, func() (err error) {
		if desc, err = s.fetch(ctx, rec); err != nil {
			return err
		}
		got, err = fn(ctx, s.back.content, desc)
		return err
	})
	if err != nil {
		return blob{}, fmt.Errorf("conversion to %s: %w", opt.Compression.Type, err)
	}
	got.URLs = nil // there are the bytes that it was made of
	return blob{Descriptor: *got}, nil
}

// blobs reads blobs from the content store, and those that are not there from
// where they come.
type blobs struct {
	local content.Provider
	from  map[digest.Digest]content.Provider
}

func (s *Store) blobsOf(all []piece) content.Provider {
	x := blobs{local: s.back.content, from: map[digest.Digest]content.Provider{}}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for _, p := range all {
		for dgst, provider := range p.rec.providers {
			x.from[dgst] = provider
		}
	}
	return x
}

// ReaderAt implements content.Provider.
func (x blobs) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := x.local.ReaderAt(ctx, desc)
	if err == nil || !errdefs.IsNotFound(err) {
		return ra, err
	}
	if p := x.from[desc.Digest]; p != nil {
		return p.ReaderAt(ctx, desc)
	}
	return nil, err
}

// noBlobs is the provider of no layers.
type noBlobs struct{}

func (noBlobs) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	return nil, fmt.Errorf("blob %s is not of this tree: %w", desc.Digest, errdefs.ErrNotFound)
}

// errNoBlob says that a tree has a layer without a blob.
var errNoBlob = errors.New("a layer has no blob yet")

// existingLayers returns the layers of a tree that has blobs of all of them.
func (s *Store) existingLayers(ctx context.Context, rec *record) ([]ocispec.Descriptor, content.Provider, error) {
	all := pieces(rec)
	opt := LayerOptions{Compression: compression.New(compression.Default)}
	var out []ocispec.Descriptor
	for _, p := range all {
		b, ok := s.existing(ctx, p.rec, opt)
		if !ok {
			return nil, nil, errNoBlob
		}
		out = append(out, b.layer(p.rec).Descriptor)
	}
	return out, s.blobsOf(all), nil
}
