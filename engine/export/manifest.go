package export

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/compression"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
)

// image is what has been written of a build: a manifest, or an index of several.
type image struct {
	desc    ocispec.Descriptor
	config  digest.Digest // "" of an index
	created *time.Time    // of the first platform
	layers  []ocispec.Descriptor
	names   []string
	blobs   *blobs
}

// writeImage writes configs, manifests and the index of src into the store, held by
// ctx's lease. Layers stay where they are.
func writeImage(ctx context.Context, st *store.Store, form imageForm, src *Source) (*image, error) {
	if err := src.check(); err != nil {
		return nil, err
	}
	form.annotations = form.annotations.with(src.Metadata)
	if err := form.annotations.check(src, form); err != nil {
		return nil, err
	}
	img := &image{blobs: newBlobs(st.Content()), names: form.names}
	if form.nameFromRun {
		var err error
		if img.names, err = parseNames(string(src.Metadata[exptypes.ExporterImageNameKey]), form.untagged); err != nil {
			return nil, fmt.Errorf("the frontend's name of the image: %w", err)
		}
	}
	attested := form.attested(src)
	if attested && !form.oci {
		return nil, errAttestedTypes
	}
	var manifests, attestations []ocispec.Descriptor
	for _, p := range src.Platforms {
		m, err := writeManifest(ctx, img, form, src, p)
		if err == nil {
			manifests = append(manifests, m.desc)
		}
		if err == nil && len(wanted(p.Attestations, form.inlineAttestations)) > 0 {
			var a ocispec.Descriptor
			a, err = writeAttestations(ctx, img, form, p, m)
			attestations = append(attestations, a)
		}
		if err != nil && p.ID != "" && src.isMap() {
			err = fmt.Errorf("platform %s: %w", p.ID, err)
		}
		if err != nil {
			return nil, err
		}
	}
	if !src.isMap() && !attested {
		img.desc = manifests[0]
		return img, nil
	}
	img.config = ""
	return img, writeIndex(ctx, img, form, append(manifests, attestations...))
}

func writeIndex(ctx context.Context, img *image, form imageForm, manifests []ocispec.Descriptor) error {
	mediaType := ocispec.MediaTypeImageIndex
	if !form.oci {
		mediaType = images.MediaTypeDockerSchema2ManifestList
	}
	idx := ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   mediaType,
		Manifests:   manifests,
		Annotations: form.annotations.index,
	}
	dgst, err := digestJSON(idx)
	if err != nil {
		return err
	}
	return step(ctx, "exporting manifest list "+dgst.String(), func() (err error) {
		img.desc, err = img.blobs.putJSON(ctx, idx, mediaType, manifests)
		img.desc.Annotations = form.annotations.indexDescriptor
		return err
	})
}

// digestJSON is the digest that putJSON will find.
func digestJSON(v any) (digest.Digest, error) {
	dt, err := json.MarshalIndent(v, "", "  ")
	return digest.FromBytes(dt), err
}

// manifest is what was written for one platform.
type manifest struct {
	desc   ocispec.Descriptor
	layers []ocispec.Descriptor // as the manifest has them
}

func writeManifest(ctx context.Context, img *image, form imageForm, src *Source, p Platform) (manifest, error) {
	limit, err := form.epoch.of(src, p)
	if err != nil {
		return manifest{}, err
	}
	base, err := src.base(p)
	if err != nil {
		return manifest{}, err
	}
	layers, err := layersOf(ctx, img.blobs, form, p.Ref, limit, base)
	if err != nil {
		return manifest{}, err
	}
	config := p.Config
	if len(config) == 0 {
		config = src.meta(exptypes.ExporterImageConfigKey, p)
	}
	var inline []byte
	if p.InlineCache != nil {
		err := step(ctx, "preparing layers for inline cache", func() (err error) {
			inline, err = p.InlineCache(ctx, layers)
			return err
		})
		if err != nil {
			return manifest{}, fmt.Errorf("inline cache: %w", err)
		}
	}
	done, err := patchConfig(config, configPatch{platform: p.Platform, layers: layers, base: base, epoch: limit, inline: inline})
	if err != nil {
		return manifest{}, err
	}
	if done.platform.OS == "windows" && len(layers) > 0 && diffIDsOf(base) == 0 {
		warn(ctx, "the image is for Windows, and not built on one for Windows: its layers are laid out as Linux has them, and Windows runs nothing of it")
	}
	if done.surplus {
		warn(ctx, "the image's history tells of more layers than there are: the last ones are marked as empty")
	}
	configType, manifestType := ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageManifest
	if !form.oci {
		configType, manifestType = images.MediaTypeDockerSchema2Config, images.MediaTypeDockerSchema2Manifest
	}
	m := ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   manifestType,
		Config:      ocispec.Descriptor{MediaType: configType, Digest: digest.FromBytes(done.config), Size: int64(len(done.config))},
		Layers:      layerDescriptors(ctx, layers, form),
		Annotations: form.annotations.ofManifest(p.Platform),
	}
	err = step(ctx, "exporting config "+m.Config.Digest.String(), func() error {
		_, err := img.blobs.put(ctx, done.config, configType, nil)
		return err
	})
	if err != nil {
		return manifest{}, err
	}
	dgst, err := digestJSON(m)
	if err != nil {
		return manifest{}, err
	}
	var desc ocispec.Descriptor
	err = step(ctx, "exporting manifest "+dgst.String(), func() (err error) {
		desc, err = img.blobs.putJSON(ctx, m, manifestType, append([]ocispec.Descriptor{m.Config}, m.Layers...))
		return err
	})
	desc.Platform = &done.platform
	desc.Annotations = form.annotations.ofDescriptor(p.Platform)
	img.config = m.Config.Digest
	if img.created == nil {
		img.created = done.created
	}
	for _, l := range layers {
		img.layers = append(img.layers, l.Descriptor)
	}
	return manifest{desc, m.Layers}, err
}

// base is the config of the image that a platform's was built upon; nil if the
// frontend does not say.
func (s *Source) base(p Platform) (*ocispec.Image, error) {
	dt := s.meta(exptypes.ExporterImageBaseConfigKey, p)
	if len(dt) == 0 {
		return nil, nil
	}
	var img ocispec.Image
	if err := json.Unmarshal(dt, &img); err != nil {
		return nil, fmt.Errorf("the base image's config is not valid: %w", err)
	}
	return &img, nil
}

// BaseLayers is how many layers the image has that a platform's was built upon; -1 if that
// is not known.
func (s *Source) BaseLayers(p Platform) int {
	base, err := s.base(p)
	if base == nil || err != nil {
		return -1
	}
	return diffIDsOf(base)
}

// diffIDsOf is how many layers an image has; 0 of none.
func diffIDsOf(img *ocispec.Image) int {
	if img == nil {
		return 0
	}
	return len(img.RootFS.DiffIDs)
}

// layersOf makes the layers of a tree in the form asked for. Those of the base keep their
// times where others are rewritten.
func layersOf(ctx context.Context, b *blobs, form imageForm, ref *store.Ref, limit *time.Time, base *ocispec.Image) ([]store.Layer, error) {
	if form.rewrite && limit == nil {
		warn(ctx, "rewrite-timestamp=true has no effect without SOURCE_DATE_EPOCH")
	}
	if ref == nil {
		return nil, nil
	}
	what := "exporting layers"
	opt := store.LayerOptions{Compression: form.compression}
	if form.rewrite && limit != nil {
		what = fmt.Sprintf("rewriting layers with source-date-epoch %d (%s)", limit.Unix(), limit)
		opt.SourceDateEpoch = limit
		if base != nil {
			opt.Base = base.RootFS.DiffIDs
		}
	}
	var layers []store.Layer
	err := step(ctx, what, func() error {
		got, provider, err := ref.Layers(ctx, opt)
		if err != nil {
			return err
		}
		for _, l := range got {
			b.add(l.Descriptor.Digest, provider)
		}
		layers = got
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("exporting layers: %w", err)
	}
	return layers, nil
}

// layerDescriptors are layers as a manifest has them: without what is known only
// here. Foreign layers, which are not to be distributed, are like others unless that is
// wanted.
func layerDescriptors(ctx context.Context, layers []store.Layer, form imageForm) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, 0, len(layers))
	for _, l := range layers {
		d := l.Descriptor
		if !form.foreign {
			d.MediaType, d.URLs = ownTypes.Replace(d.MediaType), nil
		}
		d = compression.ConvertAllLayerMediaTypes(ctx, form.oci, d)[0]
		d.Annotations = publicAnnotations(d.Annotations, form.oci)
		out = append(out, d)
	}
	return out
}

// ownTypes makes types of foreign layers those of others.
var ownTypes = strings.NewReplacer(".foreign.", ".", ".nondistributable.", ".")

func publicAnnotations(in map[string]string, oci bool) map[string]string {
	if !oci {
		return nil
	}
	var out map[string]string
	for k, v := range in {
		if strings.HasPrefix(k, "containerd.io/") || strings.HasPrefix(k, "buildkit/") || strings.HasPrefix(k, "tenon/") {
			if k != store.RewrittenTimestamp {
				continue
			}
		}
		out = merged(out, map[string]string{k: v})
	}
	return out
}

// response is what an exporter says of an image, by BuildKit's keys.
func (img *image) response() (map[string]string, error) {
	dt, err := json.Marshal(img.desc)
	if err != nil {
		return nil, err
	}
	resp := map[string]string{
		exptypes.ExporterImageDigestKey:     img.desc.Digest.String(),
		exptypes.ExporterImageDescriptorKey: base64.StdEncoding.EncodeToString(dt),
	}
	if img.config != "" {
		resp[exptypes.ExporterImageConfigDigestKey] = img.config.String()
	}
	if len(img.names) > 0 {
		resp[exptypes.ExporterImageNameKey] = strings.Join(img.names, ",")
	}
	return resp, nil
}
