package remotecache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	types "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/store"
)

// objectPlace is a cache in a store of objects: a config for each of its names, which
// describes its layers itself, and the layers.
type objectPlace struct {
	store objects.Store
	// read and write are the keys of configs.
	read, write []string
	// blob is the key of a layer.
	blob func(digest.Digest) string
	// trust is whose configs are read, and sign makes signatures of those that are written;
	// nil: anybody's, and none.
	trust *Trust
	sign  func(context.Context, []byte) ([]byte, error)
}

// Load implements Source. Names that are not there are passed over, if one is.
func (p objectPlace) Load(ctx context.Context) ([]*Graph, error) {
	found, none := make([]*Graph, len(p.read)), make([]error, len(p.read))
	eg, egctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	for i, key := range p.read {
		eg.Go(func() error {
			dt, _, err := p.config(egctx, key)
			if errdefs.IsNotFound(err) {
				none[i] = err
				return nil
			}
			if err == nil {
				err = p.trust.checkConfig(dt)
			}
			if err == nil {
				found[i], err = Decode(dt, nil)
			}
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	var out []*Graph
	for _, g := range found {
		if g != nil {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no cache %s: %w", strings.Join(p.read, ", "), cmp.Or(append(none, errdefs.ErrNotFound)...))
	}
	return out, nil
}

// config reads one with when it was written.
func (p objectPlace) config(ctx context.Context, key string) (_ []byte, modified time.Time, err error) {
	o, err := p.store.Get(ctx, key, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(o, maxConfig+1))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("the cache's config %s: %w", key, err)
	}
	return dt, o.Modified, nil
}

// ReaderAt implements content.Provider.
func (p objectPlace) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	return objects.NewReader(ctx, p.store, p.blob(desc.Digest), desc.Size), nil
}

// objectDestination writes a cache into a store of objects.
type objectDestination struct {
	objectPlace
	// fresh is for how long objects need no touch, if they can be touched: who removes old
	// ones must leave them for at least twice as long.
	fresh time.Duration
	// uploads is how many layers are brought at a time.
	uploads int
	// lists says that a store is asked about many objects at once. Then it is asked about the
	// layers of the cache that is there, too: that cache may be fresh and have old layers, from
	// the one before it, or none any more.
	lists bool

	written []byte // the config
	layers  []ocispec.Descriptor
	same    bool // all names stand for this very cache, and are fresh
	// there are the layers of the caches that are there, and fresh; nil: that was not asked.
	there map[digest.Digest]bool
	// stale are layers that are there, and old.
	stale map[digest.Digest]bool
	// doubt: no cache that is there is believed to have its layers.
	doubt bool
}

// parallel is asked by Write.
func (d *objectDestination) parallel() int { return d.uploads }

// Doubt implements Destination.
func (d *objectDestination) Doubt() { d.doubt = true }

// look reads the caches that are there. If another one is there, and fresh, its layers are,
// too.
func (d *objectDestination) look(ctx context.Context) error {
	there := map[digest.Digest]bool{}
	if d.doubt {
		d.there, d.same = there, false
		return nil
	}
	d.same = true
	for _, key := range d.write {
		dt, modified, err := d.config(ctx, key)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		fresh := time.Since(modified) < d.fresh
		d.same = d.same && fresh && bytes.Equal(dt, d.written)
		var last ownConfig
		if fresh && unmarshal(dt, &last) == nil {
			for _, l := range last.Layers {
				there[l.Blob] = true
			}
			for _, m := range last.Mounts {
				there[m.Blob] = true
			}
		}
	}
	d.there = there
	return nil
}

// Layers implements Destination. One request for each name says whether the cache is there.
func (d *objectDestination) Layers(ctx context.Context, g *Graph) (_ []ocispec.Descriptor, err error) {
	if d.written, d.layers, err = g.describing(ctx); err != nil {
		return nil, err
	}
	if d.written, err = signConfig(ctx, d.written, d.sign); err != nil {
		return nil, err
	}
	if err := d.look(ctx); err != nil || d.same {
		return nil, err
	}
	return d.layers, nil
}

// Lacks implements Destination.
func (d *objectDestination) Lacks(ctx context.Context, layers []ocispec.Descriptor, made bool) (lacks []ocispec.Descriptor, err error) {
	if d.there == nil {
		if err := d.look(ctx); err != nil {
			return nil, err
		}
	}
	var asked []ocispec.Descriptor
	var keys []string
	for _, l := range layers {
		switch {
		case d.there[l.Digest] && !d.lists:
		case made && !d.there[l.Digest]:
			lacks = append(lacks, l)
		default:
			asked, keys = append(asked, l), append(keys, d.blob(l.Digest))
		}
	}
	if len(keys) == 0 {
		return lacks, nil
	}
	since, err := d.store.Have(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i, l := range asked {
		switch t, ok := since[keys[i]]; {
		case !ok:
			lacks = append(lacks, l)
		case time.Since(t) > d.fresh:
			if d.stale == nil {
				d.stale = map[digest.Digest]bool{}
			}
			d.stale[l.Digest] = true
		}
	}
	return lacks, nil
}

// Put implements Destination.
func (d *objectDestination) Put(ctx context.Context, desc ocispec.Descriptor, from content.Provider) (err error) {
	ra, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	b, err := objects.NewBody(ra, desc.Size, desc.Digest)
	if err != nil {
		return err
	}
	return d.store.Put(ctx, d.blob(desc.Digest), b)
}

// Commit implements Destination.
func (d *objectDestination) Commit(ctx context.Context) (map[string]string, error) {
	if d.same {
		return nil, nil
	}
	if err := d.touch(ctx); err != nil {
		return nil, err
	}
	dgst := digest.FromBytes(d.written)
	return nil, showing(ctx, "writing cache manifest "+dgst.String(), func() error {
		for _, key := range d.write {
			b, err := objects.NewBody(bytes.NewReader(d.written), int64(len(d.written)), dgst)
			if err != nil {
				return err
			}
			if err := d.store.Replace(ctx, key, b); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	})
}

// touch makes old layers of the cache new.
func (d *objectDestination) touch(ctx context.Context) error {
	t, ok := d.store.(objects.Toucher)
	if !ok {
		return nil
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(d.uploads)
	for _, l := range d.layers {
		if !d.stale[l.Digest] {
			continue
		}
		eg.Go(func() error {
			if err := t.Touch(ctx, d.blob(l.Digest), l.Size); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
			return nil
		})
	}
	return eg.Wait()
}

// describing is the config of a graph that describes its layers itself, and these, each once.
func (g *Graph) describing(ctx context.Context) (config []byte, layers []ocispec.Descriptor, err error) {
	c := g.config()
	known := map[digest.Digest]ocispec.Descriptor{}
	for _, l := range g.layers {
		known[l.desc.Digest] = l.desc
	}
	listed := map[digest.Digest]bool{}
	for i := range c.Layers {
		desc := convertType(ctx, known[c.Layers[i].Blob], true)
		if c.Layers[i].Annotations, err = annotations(desc); err != nil {
			return nil, nil, err
		}
		if !listed[desc.Digest] {
			listed[desc.Digest] = true
			layers = append(layers, desc)
		}
	}
	for _, m := range g.mounts {
		if !listed[m.Layer.Digest] {
			listed[m.Layer.Digest] = true
			layers = append(layers, m.Layer)
		}
	}
	config, err = json.Marshal(ownConfig{CacheConfig: c, Mounts: g.configMounts()})
	return config, layers, err
}

// annotations describe a layer in a config.
func annotations(desc ocispec.Descriptor) (*types.LayerAnnotations, error) {
	diffID := digest.Digest(desc.Annotations[annotationDiffID])
	if err := diffID.Validate(); err != nil {
		return nil, fmt.Errorf("layer %s: its diff ID %q: %w", desc.Digest, diffID, err)
	}
	a := &types.LayerAnnotations{MediaType: desc.MediaType, DiffID: diffID, Size: desc.Size}
	if at := desc.Annotations[store.AnnotationCreatedAt]; at != "" {
		if err := a.CreatedAt.UnmarshalText([]byte(at)); err != nil {
			return nil, fmt.Errorf("layer %s: when it was made: %w", desc.Digest, err)
		}
		a.CreatedAt = a.CreatedAt.UTC()
	}
	return a, nil
}
