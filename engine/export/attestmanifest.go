package export

import (
	"context"
	"encoding/json"
	"fmt"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/moby/buildkit/solver/result"
	"github.com/moby/buildkit/util/attestation"
	"github.com/moby/buildkit/util/purl"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"
)

// typeAttestations is what the manifest of attestations is, where that is an OCI artifact.
const typeAttestations = "application/vnd.docker.attestation.manifest.v1+json"

// attested says whether an image has attestations.
func (f imageForm) attested(src *Source) bool {
	for _, p := range src.Platforms {
		if len(wanted(p.Attestations, f.inlineAttestations)) > 0 {
			return true
		}
	}
	return false
}

// writeAttestations writes what there is to say of a platform's image, as a manifest
// beside that of the image: every statement is a layer of it.
func writeAttestations(ctx context.Context, img *image, form imageForm, p Platform, of manifest) (ocispec.Descriptor, error) {
	statements, err := readAttestations(ctx, wanted(p.Attestations, form.inlineAttestations), of.layers)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	subjects, err := subjectsOf(img.names, of.desc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{},
	}
	for _, s := range statements {
		if err := s.addLayers(ctx, img.blobs, of.layers); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("attestation %q: %w", s.name, err)
		}
		st, err := s.about(subjects)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		dt, err := json.Marshal(st)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("attestation %q: %w", s.name, err)
		}
		l, err := img.blobs.put(ctx, dt, intoto.PayloadType, nil)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		l.Annotations = map[string]string{"in-toto.io/predicate-type": st.PredicateType}
		m.Layers = append(m.Layers, l)
	}
	config := m.Config.Data
	if form.artifact {
		m.ArtifactType = typeAttestations
		m.Subject = &ocispec.Descriptor{MediaType: of.desc.MediaType, Digest: of.desc.Digest, Size: of.desc.Size}
	} else {
		m.Config.MediaType = ocispec.MediaTypeImageConfig
		if config, err = attestationsConfig(m.Layers); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	c, err := img.blobs.put(ctx, config, m.Config.MediaType, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if !form.artifact {
		m.Config = c
	}
	dgst, err := digestJSON(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var desc ocispec.Descriptor
	err = step(ctx, "exporting attestation manifest "+dgst.String(), func() (err error) {
		desc, err = img.blobs.putJSON(ctx, m, m.MediaType, append([]ocispec.Descriptor{c}, m.Layers...))
		return err
	})
	desc.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	desc.Annotations = map[string]string{
		attestation.DockerAnnotationReferenceType:   attestation.DockerAnnotationReferenceTypeDefault,
		attestation.DockerAnnotationReferenceDigest: of.desc.Digest.String(),
	}
	return desc, err
}

// attestationsConfig is the image config that the manifest of attestations has for
// registries that take nothing else.
func attestationsConfig(layers []ocispec.Descriptor) ([]byte, error) {
	config := ocispec.Image{Platform: ocispec.Platform{OS: "unknown", Architecture: "unknown"}}
	config.RootFS.Type = "layers"
	config.RootFS.DiffIDs = []digest.Digest{}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
	}
	return json.Marshal(config)
}

// subjectsOf is an image by its names.
func subjectsOf(names []string, desc ocispec.Descriptor) (out []subject, err error) {
	for _, name := range names {
		url, err := purl.RefToPURL(packageurl.TypeDocker, name, desc.Platform)
		if err != nil {
			return nil, fmt.Errorf("the name %q as a subject of attestations: %w", name, err)
		}
		out = append(out, subject{Name: url, Digest: result.ToDigestMap(desc.Digest)})
	}
	return out, nil
}
