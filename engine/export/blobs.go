package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// blobs reads what an image is made of: layers from where they are, which may be a
// registry, and the rest from the store.
type blobs struct {
	content.Store
	mu     sync.Mutex // guards layers
	layers map[digest.Digest]content.Provider
}

func newBlobs(cs content.Store) *blobs {
	return &blobs{Store: cs, layers: map[digest.Digest]content.Provider{}}
}

func (b *blobs) add(d digest.Digest, p content.Provider) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.layers[d] = p
}

func (b *blobs) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	b.mu.Lock()
	p := b.layers[desc.Digest]
	b.mu.Unlock()
	if p == nil {
		return b.Store.ReaderAt(ctx, desc)
	}
	return p.ReaderAt(ctx, desc)
}

// parallel is how many layers are fetched at once.
const parallel = 4

// keep makes sure that the store has layers, held by ctx's lease.
func (b *blobs) keep(ctx context.Context, layers []ocispec.Descriptor) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	seen := map[digest.Digest]bool{}
	for _, desc := range layers {
		if seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		eg.Go(func() error {
			if err := b.keepOne(ctx, desc); err != nil {
				return fmt.Errorf("layer %s: %w", desc.Digest, err)
			}
			return nil
		})
	}
	return eg.Wait()
}

func (b *blobs) keepOne(ctx context.Context, desc ocispec.Descriptor) (err error) {
	// A name of its own: what is left of one that came damaged, or of another export
	// that ends meanwhile, is in nobody's way.
	ref := "export-" + identity.NewID()
	w, err := content.OpenWriter(ctx, b.Store, content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil // held now
	}
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if e := b.Store.Abort(context.WithoutCancel(ctx), ref); e != nil && !errdefs.IsNotFound(e) {
			err = errors.Join(err, e)
		}
	}()
	r, err := b.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var opts []content.Opt
	if diffID := desc.Annotations[labels.LabelUncompressed]; diffID != "" {
		opts = append(opts, content.WithLabels(map[string]string{labels.LabelUncompressed: diffID}))
	}
	got := startCounter(ctx, desc.Digest.String())
	defer got.done()
	got.status.Name, got.status.Total = "downloading", desc.Size
	err = content.Copy(ctx, w, content.NewReader(countedReader{r, got}), desc.Size, desc.Digest, opts...)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// countedReader counts what is read of a blob.
type countedReader struct {
	content.ReaderAt
	got *counter
}

func (r countedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	r.got.add(int64(n))
	return n, err
}

// putJSON writes a manifest or an index, indented as readers of registries are used
// to, and refers to what it is made of by labels, so that it is kept with it.
func (b *blobs) putJSON(ctx context.Context, v any, mediaType string, refs []ocispec.Descriptor) (ocispec.Descriptor, error) {
	dt, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	lbl := map[string]string{}
	for i, r := range refs {
		lbl[fmt.Sprintf("containerd.io/gc.ref.content.%d", i)] = r.Digest.String()
	}
	return b.put(ctx, dt, mediaType, lbl)
}

// put writes a blob, held by ctx's lease. One that is there gets the labels, too.
func (b *blobs) put(ctx context.Context, dt []byte, mediaType string, lbl map[string]string) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
	err := content.WriteBlob(ctx, b.Store, "export-"+desc.Digest.String(), bytes.NewReader(dt), desc, content.WithLabels(lbl))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return desc, fmt.Errorf("writing %s: %w", desc.Digest, err)
	}
	info, err := b.Store.Info(ctx, desc.Digest)
	if err != nil {
		return desc, fmt.Errorf("writing %s: %w", desc.Digest, err)
	}
	var paths []string
	for _, k := range sortedKeys(lbl) {
		if info.Labels[k] != lbl[k] {
			paths = append(paths, "labels."+k)
		}
	}
	if len(paths) == 0 {
		return desc, nil
	}
	if _, err := b.Store.Update(ctx, content.Info{Digest: desc.Digest, Labels: lbl}, paths...); err != nil {
		return desc, fmt.Errorf("labelling %s: %w", desc.Digest, err)
	}
	return desc, nil
}
