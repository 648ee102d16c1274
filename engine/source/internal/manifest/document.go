package manifest

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// document is an index or a manifest: one of both is set.
type document struct {
	desc     ocispec.Descriptor
	bytes    []byte
	index    *ocispec.Index
	manifest *ocispec.Manifest
}

// parse reads an index or a manifest. What it is follows from its fields: registries
// are known to send another media type, and one that is in the document may only
// confirm what it is. So no bytes are a manifest for one reader and an index for
// another.
func parse(dt []byte, mediaType string) (*document, error) {
	var shape struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(dt, &shape); err != nil {
		return nil, fmt.Errorf("neither an index nor a manifest (media type %q): %w", mediaType, err)
	}
	if shape.FSLayers != nil || shape.SchemaVersion == 1 {
		return nil, errors.New("this is an image of the old Docker format, schema 1, which is not supported: push it again with a newer docker")
	}
	isManifest, isIndex := shape.Config != nil || shape.Layers != nil, shape.Manifests != nil
	for _, mt := range []string{shape.MediaType, mediaType} {
		if isManifest && images.IsIndexType(mt) || isIndex && images.IsManifestType(mt) {
			return nil, fmt.Errorf("the media type %q contradicts the content", mt)
		}
	}
	doc := &document{}
	var into any
	switch {
	case isManifest && isIndex:
		return nil, errors.New("both an index and a manifest")
	case isIndex:
		doc.index = &ocispec.Index{}
		into, doc.desc.MediaType = doc.index, ocispec.MediaTypeImageIndex
	case isManifest:
		doc.manifest = &ocispec.Manifest{}
		into, doc.desc.MediaType = doc.manifest, ocispec.MediaTypeImageManifest
	default:
		return nil, fmt.Errorf("neither an index nor a manifest (media type %q)", mediaType)
	}
	if err := json.Unmarshal(dt, into); err != nil {
		return nil, fmt.Errorf("%s: %w", doc.desc.MediaType, err)
	}
	for _, mt := range []string{shape.MediaType, mediaType} {
		if images.IsIndexType(mt) || images.IsManifestType(mt) {
			doc.desc.MediaType = mt
			break
		}
	}
	return doc, nil
}
