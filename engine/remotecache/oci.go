package remotecache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	types "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// ReadOCI reads the cache of a manifest: a manifest or an index that is one, or images that
// have inline caches. Layers are not read. Trust says who has to have signed it; nil: anybody
// may have written it.
func ReadOCI(ctx context.Context, from content.Provider, root ocispec.Descriptor, trust *Trust) ([]*Graph, error) {
	dt, err := readBlob(ctx, from, root)
	if err != nil {
		return nil, fmt.Errorf("the cache's manifest: %w", err)
	}
	m, err := parseManifest(dt)
	if err != nil {
		return nil, fmt.Errorf("the cache's manifest %s: %w", root.Digest, err)
	}
	config, layers, ok := m.cache()
	if err := trust.check(m, config, layers, ok); err != nil {
		return nil, err
	}
	if !ok {
		return readInline(ctx, from, m)
	}
	dt, err = readBlob(ctx, from, config)
	if err != nil {
		return nil, fmt.Errorf("the cache's config: %w", err)
	}
	g, err := Decode(dt, layers)
	if err != nil {
		return nil, err
	}
	return []*Graph{g}, nil
}

// manifest is a manifest or an index.
type manifest struct {
	MediaType   string               `json:"mediaType"`
	Config      *ocispec.Descriptor  `json:"config"`
	Layers      []ocispec.Descriptor `json:"layers"`
	Manifests   []ocispec.Descriptor `json:"manifests"`
	Annotations map[string]string    `json:"annotations"`
}

func parseManifest(dt []byte) (*manifest, error) {
	m := &manifest{}
	if err := unmarshal(dt, m); err != nil {
		return nil, err
	}
	if m.Config != nil && m.Manifests != nil {
		return nil, errors.New("it is both a manifest and an index")
	}
	if m.Config == nil && m.Manifests == nil {
		return nil, fmt.Errorf("it is neither a manifest nor an index (its media type is %q)", m.MediaType)
	}
	return m, nil
}

// cache is the config of the cache that a manifest is, and its layers.
func (m *manifest) cache() (config ocispec.Descriptor, layers []ocispec.Descriptor, ok bool) {
	if m.Config != nil {
		return *m.Config, m.Layers, m.Config.MediaType == types.CacheConfigMediaTypeV0
	}
	for _, d := range m.Manifests {
		if d.MediaType == types.CacheConfigMediaTypeV0 {
			config, ok = d, true
			continue
		}
		layers = append(layers, d)
	}
	return config, layers, ok
}

// readBlob reads a blob that is no layer, and checks it.
func readBlob(ctx context.Context, from content.Provider, desc ocispec.Descriptor) (_ []byte, err error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	if desc.Size > maxConfig || desc.Size < 0 {
		return nil, fmt.Errorf("%s has %d bytes, and at most %d are read", desc.Digest, desc.Size, maxConfig)
	}
	ra, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	dt := make([]byte, desc.Size)
	if n, err := ra.ReadAt(dt, 0); n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return nil, err // it says of what
	} else if n < len(dt) {
		return nil, fmt.Errorf("%s: %d of %d bytes: %w", desc.Digest, n, desc.Size, errOr(err, io.ErrUnexpectedEOF))
	}
	if got := desc.Digest.Algorithm().FromBytes(dt); got != desc.Digest {
		return nil, fmt.Errorf("%s is damaged: its digest is %s", desc.Digest, got)
	}
	return dt, nil
}

func errOr(err, otherwise error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return otherwise
}

// Form is how a cache is written as a manifest.
type Form struct {
	// Index writes an index in place of an image manifest.
	Index bool
	// Docker writes docker's media types. It needs Index.
	Docker bool
	// Sign makes the signature of a statement of package cachesign; nil: there is to be none.
	Sign func(ctx context.Context, statement []byte) ([]byte, error)
}

// document is a manifest with its config, as they are written.
type document struct {
	config, manifest         []byte
	configDesc, manifestDesc ocispec.Descriptor
	blobs                    []ocispec.Descriptor
	known                    []ocispec.Descriptor // blobs, with all that is known of them here
}

// document makes the manifest of a graph.
func (f Form) document(ctx context.Context, g *Graph) (*document, error) {
	config, blobs, err := g.Encode()
	if err != nil {
		return nil, err
	}
	d := &document{config: config, configDesc: describe(types.CacheConfigMediaTypeV0, config), known: blobs}
	for _, b := range blobs {
		d.blobs = append(d.blobs, convertType(ctx, b, !f.Docker))
	}
	signed, err := f.signature(ctx, d)
	if err != nil {
		return nil, err
	}
	version := specs.Versioned{SchemaVersion: 2}
	mediaType := ocispec.MediaTypeImageManifest
	var v any = ocispec.Manifest{Versioned: version, MediaType: mediaType, Config: d.configDesc, Layers: d.blobs, Annotations: signed}
	if f.Index {
		mediaType = ocispec.MediaTypeImageIndex
		if f.Docker {
			mediaType = images.MediaTypeDockerSchema2ManifestList
		}
		v = ocispec.Index{Versioned: version, MediaType: mediaType, Manifests: append(d.blobs[:len(d.blobs):len(d.blobs)], d.configDesc), Annotations: signed}
	}
	if d.manifest, err = json.Marshal(v); err != nil {
		return nil, err
	}
	d.manifestDesc = describe(mediaType, d.manifest)
	return d, nil
}

func describe(mediaType string, dt []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
}

// maxOthers bounds what BuildKit reads of a cache before its layers (v0.33), in bytes: of its
// config, and of its manifest.
const maxOthers = 1 << 20

// tooLarge says that other builders cannot read the cache; "" if they can.
func (d *document) tooLarge() string {
	n := max(len(d.config), len(d.manifest))
	if n <= maxOthers {
		return ""
	}
	return fmt.Sprintf("BuildKit cannot read this cache: what tells of its layers has %d bytes, and BuildKit reads at most %d; write less with mode=min, or several caches", n, maxOthers)
}

// write writes what is no layer, first what the manifest names.
func (d *document) write(ctx context.Context, put func(ocispec.Descriptor, memory) error) error {
	if why := d.tooLarge(); why != "" {
		solver.ProgressFrom(ctx).Warn(client.VertexWarning{Level: 1, Short: []byte(why)})
	}
	err := showing(ctx, "writing config "+d.configDesc.Digest.String(), func() error { return put(d.configDesc, d.config) })
	if err != nil {
		return err
	}
	return showing(ctx, "writing cache manifest "+d.manifestDesc.Digest.String(), func() error { return put(d.manifestDesc, d.manifest) })
}

// ResponseManifest is the key by which a client is told of a cache's manifest, as JSON.
const ResponseManifest = "cache.manifest"

func (d *document) response() (map[string]string, error) {
	dt, err := json.Marshal(d.manifestDesc)
	if err != nil {
		return nil, err
	}
	return map[string]string{ResponseManifest: string(dt)}, nil
}

// memory is a blob in memory.
type memory []byte

// ReaderAt implements content.Provider.
func (m memory) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return memoryReader{bytes.NewReader(m)}, nil
}

type memoryReader struct{ *bytes.Reader }

// Close implements content.ReaderAt.
func (memoryReader) Close() error { return nil }
