package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxCandidates bounds the manifests of an index that are looked at, and
// maxUnnamed those among them that have to be read to know their platform.
const (
	maxCandidates = 1000
	maxUnnamed    = 32
)

// candidate is a manifest in an index. The indexes on the way to it are part of
// the image, too.
type candidate struct {
	desc     ocispec.Descriptor
	platform *ocispec.Platform // nil: nobody says
	through  []*document
}

// choose takes the image that fits a platform best.
func (l *loader) choose(ctx context.Context, doc *document, want ocispec.Platform) error {
	all, err := l.candidates(ctx, doc, nil)
	if err != nil {
		return err
	}
	if all, err = l.named(ctx, all); err != nil {
		return err
	}
	match := platforms.Only(want)
	var fit []candidate
	miss := &PlatformError{Want: want}
	for _, c := range all {
		if match.Match(*c.platform) {
			fit = append(fit, c)
		}
		miss.Have = append(miss.Have, *c.platform)
	}
	if len(fit) == 0 {
		return miss
	}
	best := slices.MinFunc(fit, func(a, b candidate) int {
		switch {
		case match.Less(*a.platform, *b.platform):
			return -1
		case match.Less(*b.platform, *a.platform):
			return 1
		}
		return 0
	})
	for _, index := range best.through {
		l.img.Blobs[index.desc.Digest] = index.bytes
	}
	chosen, err := l.document(ctx, best.desc)
	if err != nil {
		return err
	}
	if chosen.manifest == nil {
		return fmt.Errorf("manifest %s is an index, which the index that lists it does not say", best.desc.Digest)
	}
	return l.manifest(ctx, chosen)
}

// candidates lists the images in an index and in those below it, in order.
// Attestations, which are listed like images, are left out.
func (l *loader) candidates(ctx context.Context, doc *document, through []*document) ([]candidate, error) {
	through = append(slices.Clip(through), doc)
	if len(through) > maxDepth {
		return nil, fmt.Errorf("index %s: indexes are nested more than %d deep", through[0].desc.Digest, maxDepth)
	}
	var all []candidate
	for _, d := range doc.index.Manifests {
		switch {
		case images.IsIndexType(d.MediaType):
			inner, err := l.document(ctx, d)
			if err != nil {
				return nil, err
			}
			if inner.index == nil {
				return nil, fmt.Errorf("index %s is a manifest, which the index that lists it does not say", d.Digest)
			}
			below, err := l.candidates(ctx, inner, through)
			if err != nil {
				return nil, err
			}
			all = append(all, below...)
		case images.IsManifestType(d.MediaType) && !attests(d):
			all = append(all, candidate{desc: d, platform: d.Platform, through: through})
		}
		if len(all) > maxCandidates {
			return nil, fmt.Errorf("index %s lists more than %d images", through[0].desc.Digest, maxCandidates)
		}
	}
	return all, nil
}

// attests tells a statement about an image, as BuildKit attaches it, from an image.
func attests(d ocispec.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" ||
		d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// named reads the platform of those that the index gives none for from their
// configuration. What is no image is left out.
func (l *loader) named(ctx context.Context, all []candidate) ([]candidate, error) {
	var out []candidate
	unnamed := 0
	for _, c := range all {
		if c.platform != nil {
			out = append(out, c)
			continue
		}
		if unnamed++; unnamed > maxUnnamed {
			return nil, fmt.Errorf("more than %d images in the index say nothing of their platform", maxUnnamed)
		}
		doc, err := l.document(ctx, c.desc)
		if err != nil {
			return nil, err
		}
		if doc.manifest == nil || usable(doc.manifest) != nil {
			continue
		}
		dt, err := l.get(ctx, doc.manifest.Config)
		if err != nil {
			return nil, fmt.Errorf("configuration of manifest %s: %w", c.desc.Digest, err)
		}
		var p ocispec.Platform
		if err := json.Unmarshal(dt, &p); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", doc.manifest.Config.Digest, err)
		}
		p = platforms.Normalize(p)
		c.platform = &p
		out = append(out, c)
	}
	return out, nil
}
