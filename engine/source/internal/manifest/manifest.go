// Package manifest finds, in what an image reference leads to, the layers and the
// configuration for one platform. It decides what is a usable image, for every
// source that has images.
//
// Formats: the OCI image specification 1.1 (index, manifest, config), and Docker's
// image manifest version 2, schema 2, which has the same fields.
package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// MaxSize is the size of the largest manifest or configuration that is read.
	MaxSize = 8 << 20
	// maxDepth bounds how indexes are nested, maxLayers the layers of an image.
	maxDepth  = 4
	maxLayers = 1000
	// maxReads bounds how many blobs are read for one image.
	maxReads = 200
)

// Reader returns the bytes that a descriptor stands for, checked against its digest.
type Reader func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)

// Image is an image of one platform.
type Image struct {
	// Root is what the reference stands for: an index, or the manifest itself.
	Root ocispec.Descriptor
	// Manifest and Config are those of the platform.
	Manifest, Config ocispec.Descriptor
	// Blobs are the bytes of everything that was used, without layers.
	Blobs map[digest.Digest][]byte
	// Layers are the lowest first. The annotation "containerd.io/uncompressed" is
	// the digest of a layer's content, as the configuration claims it.
	Layers []ocispec.Descriptor
}

// ConfigBytes is the configuration as it was written.
func (i *Image) ConfigBytes() []byte { return i.Blobs[i.Config.Digest] }

// PlatformError says that an image has none for a platform.
type PlatformError struct {
	Want ocispec.Platform
	Have []ocispec.Platform
}

func (e *PlatformError) Error() string {
	have := "none"
	if len(e.Have) > 0 {
		var names []string
		for _, p := range e.Have {
			names = append(names, platforms.FormatAll(p))
		}
		slices.Sort(names)
		have = strings.Join(slices.Compact(names), ", ")
	}
	return fmt.Sprintf("no image for the platform %s: there are %s", platforms.FormatAll(e.Want), have)
}

// Load reads what root leads to, and returns the image for a platform. If root is a
// manifest, its platform does not matter: there is no choice.
//
// The error is a *PlatformError if there is no image for the platform. What is no
// container image, or contradicts itself, is an error.
func Load(ctx context.Context, read Reader, root ocispec.Descriptor, platform ocispec.Platform) (*Image, error) {
	l := &loader{read: read, img: &Image{Root: root, Blobs: map[digest.Digest][]byte{}}}
	doc, err := l.document(ctx, root)
	if err != nil {
		return nil, err
	}
	l.img.Root = doc.desc
	if doc.index == nil {
		err = l.manifest(ctx, doc)
	} else {
		err = l.choose(ctx, doc, platform)
	}
	if err != nil {
		return nil, err
	}
	return l.img, nil
}

// loader collects the parts of one image.
type loader struct {
	read  Reader
	reads int
	img   *Image
}

// get reads a blob that is to be parsed.
func (l *loader) get(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	if desc.Size < 0 || desc.Size > MaxSize {
		return nil, fmt.Errorf("%s: a size of %d bytes is out of range for a manifest or a configuration", desc.Digest, desc.Size)
	}
	if l.reads++; l.reads > maxReads {
		return nil, fmt.Errorf("image %s: more than %d manifests have to be read to find one", l.img.Root.Digest, maxReads)
	}
	return l.read(ctx, desc)
}

func (l *loader) document(ctx context.Context, desc ocispec.Descriptor) (*document, error) {
	dt, err := l.get(ctx, desc)
	if err != nil {
		return nil, err
	}
	doc, err := parse(dt, desc.MediaType)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	desc.MediaType, desc.Size = doc.desc.MediaType, int64(len(dt))
	doc.desc, doc.bytes = desc, dt
	return doc, nil
}

// manifest takes an image from a manifest.
func (l *loader) manifest(ctx context.Context, doc *document) error {
	m := doc.manifest
	if err := usable(m); err != nil {
		return fmt.Errorf("manifest %s: %w", doc.desc.Digest, err)
	}
	config, err := l.get(ctx, m.Config)
	if err != nil {
		return fmt.Errorf("configuration of manifest %s: %w", doc.desc.Digest, err)
	}
	ids, err := diffIDs(config)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
	}
	if len(ids) != len(m.Layers) {
		return fmt.Errorf("manifest %s has %d layers, and its configuration %s is for %d: the image is broken; build or push it again", doc.desc.Digest, len(m.Layers), m.Config.Digest, len(ids))
	}
	layers := make([]ocispec.Descriptor, len(ids))
	for n, layer := range m.Layers {
		layers[n] = annotated(layer, ids[n])
	}
	l.img.Manifest, l.img.Config, l.img.Layers = doc.desc, m.Config, layers
	l.img.Blobs[doc.desc.Digest], l.img.Blobs[m.Config.Digest] = doc.bytes, config
	return nil
}

// annotated is a layer with what the image says of it. What the manifest says of
// the content is not believed.
func annotated(layer ocispec.Descriptor, id digest.Digest) ocispec.Descriptor {
	a := map[string]string{}
	maps.Copy(a, layer.Annotations)
	maps.DeleteFunc(a, func(k, _ string) bool { return strings.HasPrefix(k, labels.LabelDistributionSource) })
	a[labels.LabelUncompressed] = id.String()
	layer.Annotations = a
	layer.Data, layer.Platform = nil, nil
	return layer
}

// usable decides whether a manifest is a container image's.
func usable(m *ocispec.Manifest) error {
	switch mt := m.Config.MediaType; {
	case images.IsConfigType(mt), mt == docker.LegacyConfigMediaType:
	case mt == "application/vnd.docker.plugin.v1+json":
		return errors.New("this is a Docker plugin, not a container image")
	default:
		kind := m.ArtifactType
		if kind == "" {
			kind = mt
		}
		return fmt.Errorf("this is an artifact of type %q, not a container image", kind)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%d layers are more than the %d that are supported", len(m.Layers), maxLayers)
	}
	for n, layer := range m.Layers {
		if err := layer.Digest.Validate(); err != nil {
			return fmt.Errorf("layer %d: digest %q: %w", n+1, layer.Digest, err)
		}
		if layer.Size < 0 {
			return fmt.Errorf("layer %d: a size of %d bytes", n+1, layer.Size)
		}
		if !images.IsLayerType(layer.MediaType) {
			return fmt.Errorf("layer %d: media type %q is not that of a layer", n+1, layer.MediaType)
		}
		if strings.HasSuffix(layer.MediaType, "+encrypted") {
			return fmt.Errorf("layer %d is encrypted, which is not supported", n+1)
		}
	}
	return nil
}

// diffIDs reads the digests of the layers' contents from a configuration. One
// without them, by which the tree would be empty, shows by their number.
func diffIDs(config []byte) ([]digest.Digest, error) {
	var c struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("not an image's configuration: %w", err)
	}
	if t := c.RootFS.Type; t != "" && t != "layers" {
		return nil, fmt.Errorf("rootfs of type %q: only \"layers\" is supported", t)
	}
	for n, id := range c.RootFS.DiffIDs {
		if err := id.Validate(); err != nil {
			return nil, fmt.Errorf("rootfs.diff_ids: %d: %q: %w", n+1, id, err)
		}
	}
	return c.RootFS.DiffIDs, nil
}
