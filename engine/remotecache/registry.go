package remotecache

import (
	"context"
	"fmt"
	"maps"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
)

// registryPlace is a name in a registry.
type registryPlace struct {
	r     *registry.Registry
	ref   string
	trust *Trust
}

// registryPlace reads where a cache in a registry is.
func (d Deps) registryPlace(a *attrs) registryPlace {
	ref := a.needed("ref")
	p := registryPlace{r: d.Registry, ref: ref, trust: a.trust()}
	if a.err != nil {
		return p
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		a.fail("ref=%q: %w", ref, err)
		return p
	}
	p.ref = reference.TagNameOnly(named).String()
	if a.boolean("registry.insecure", false) {
		if p.r, err = d.Registry.Insecure(ref); err != nil {
			a.fail("ref=%q: %w", ref, err)
		}
	}
	return p
}

// Load implements Source. Its layers are marked as being there, for registries that take
// them from one repository to another.
func (p registryPlace) Load(ctx context.Context) ([]*Graph, error) {
	_, desc, err := p.r.Resolve(ctx, p.ref)
	if err != nil {
		return nil, err
	}
	graphs, err := ReadOCI(ctx, p, desc, p.trust)
	if err != nil {
		return nil, err
	}
	key, repository, err := registry.Origin(p.ref)
	if err != nil {
		return nil, err
	}
	for _, g := range graphs {
		for i := range g.layers {
			d := &g.layers[i].desc
			d.Annotations = maps.Clone(d.Annotations)
			if d.Annotations == nil {
				d.Annotations = map[string]string{}
			}
			d.Annotations[key] = repository
		}
	}
	return graphs, nil
}

// ReaderAt implements content.Provider.
func (p registryPlace) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	return p.r.Provider(p.ref).ReaderAt(ctx, desc)
}

// registryDestination writes a cache into a registry.
type registryDestination struct {
	registryPlace
	form   Form
	doc    *document
	upload *registry.Upload
	// last is what the name stood for when that was asked last; nil: it was not asked.
	last *ocispec.Descriptor
	// there are the layers of that; nil: its manifest was not read.
	there map[digest.Digest]bool
	// same: the name stands for this very cache.
	same bool
	// believed: layers were left out because they are there. They may be there no more.
	believed bool
	// doubt: nothing is left out.
	doubt bool
}

// look asks what the name stands for.
func (d *registryDestination) look(ctx context.Context) error {
	last, err := d.r.Current(ctx, d.ref)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if d.last == nil || d.last.Digest != last.Digest {
		d.last, d.there = &last, nil
	}
	return nil
}

// Layers implements Destination. One request says whether the cache is there.
func (d *registryDestination) Layers(ctx context.Context, g *Graph) (layers []ocispec.Descriptor, err error) {
	if d.doc, err = d.form.document(ctx, g); err != nil {
		return nil, err
	}
	if err := d.look(ctx); err != nil {
		return nil, err
	}
	if d.same = !d.doubt && d.last.Digest == d.doc.manifestDesc.Digest; d.same {
		return nil, nil
	}
	for i, b := range d.doc.blobs {
		b.Annotations = d.doc.known[i].Annotations
		layers = append(layers, b)
	}
	return layers, nil
}

// Lacks implements Destination. If another cache is there, its manifest says which layers are:
// who has a manifest has its layers, unless it has lost some. Of each other layer that is
// asked when it is brought.
func (d *registryDestination) Lacks(ctx context.Context, layers []ocispec.Descriptor, _ bool) (lacks []ocispec.Descriptor, err error) {
	if d.upload == nil {
		if d.upload, err = d.r.NewUpload(ctx, d.ref); err != nil {
			return nil, err
		}
	}
	if d.doubt || len(layers) == 0 {
		return layers, nil
	}
	if d.last == nil {
		if err := d.look(ctx); err != nil {
			return nil, err
		}
	}
	if d.there == nil {
		d.there = d.layersOf(ctx, *d.last)
	}
	for _, l := range layers {
		if d.there[l.Digest] {
			d.believed = true
			continue
		}
		lacks = append(lacks, l)
	}
	return lacks, nil
}

// Doubt implements Destination.
func (d *registryDestination) Doubt() { d.doubt, d.believed = true, false }

// layersOf are the layers of a manifest. Of one that cannot be read there are none: each layer
// is asked about.
func (d *registryDestination) layersOf(ctx context.Context, manifest ocispec.Descriptor) map[digest.Digest]bool {
	there := map[digest.Digest]bool{}
	if manifest.Digest == "" {
		return there
	}
	dt, err := readBlob(ctx, d, manifest)
	if err != nil {
		return there
	}
	if m, err := parseManifest(dt); err == nil {
		for _, b := range append(m.Layers, m.Manifests...) {
			there[b.Digest] = true
		}
	}
	return there
}

// Put implements Destination.
func (d *registryDestination) Put(ctx context.Context, desc ocispec.Descriptor, from content.Provider) error {
	return d.upload.Blob(ctx, desc, from)
}

// Commit implements Destination.
func (d *registryDestination) Commit(ctx context.Context) (map[string]string, error) {
	if d.same {
		return d.doc.response()
	}
	err := d.doc.write(ctx, func(desc ocispec.Descriptor, dt memory) error {
		if desc.Digest == d.doc.manifestDesc.Digest {
			return d.upload.Manifest(ctx, desc, dt)
		}
		return d.upload.Blob(ctx, desc, dt)
	})
	if err != nil && d.believed && registry.Refused(err) {
		return nil, fmt.Errorf("%w: %w", ErrHole, err)
	}
	if err != nil {
		return nil, err
	}
	return d.doc.response()
}
