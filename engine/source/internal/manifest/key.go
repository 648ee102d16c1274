package manifest

import (
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Keys are what the tree of the image's layers is known by, as source.Instance has
// it: first by the manifest, then by the layers, so that an image with another
// configuration and the same layers is found.
//
// A layer is named by both its blob and the content that the configuration claims
// for it. The content alone would do for the tree, but nobody has checked it before
// the layer is unpacked: an image that lies could then take the place of the one
// that it claims to be.
func (i *Image) Keys(layers []ocispec.Descriptor) ([]string, error) {
	type pair struct {
		Blob    digest.Digest `json:"blob"`
		Content string        `json:"content"`
	}
	pairs := []pair{}
	for _, l := range layers {
		pairs = append(pairs, pair{l.Digest, l.Annotations[labels.LabelUncompressed]})
	}
	dt, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("key of image %s: %w", i.Manifest.Digest, err)
	}
	byManifest := "image " + i.Manifest.Digest.String()
	if len(layers) < len(i.Layers) {
		byManifest += fmt.Sprintf(" up to layer %d", len(layers))
	}
	return []string{byManifest, "layers " + digest.FromBytes(dt).String()}, nil
}

// BuildKitKey is what BuildKit knows the tree by, as source.BuildKitKeyer has it: what the
// reference stands for, the platform as it was asked for, and how many layers of it, if not
// all. The platform's manifest follows from these.
func (i *Image) BuildKitKey(platform ocispec.Platform, limit int) (string, error) {
	key := struct {
		Digest     digest.Digest
		OS         string
		Arch       string
		Variant    string   `json:",omitempty"`
		OSVersion  string   `json:",omitempty"`
		OSFeatures []string `json:",omitempty"`
		Limit      *int     `json:",omitempty"`
	}{
		Digest: i.Root.Digest, OS: platform.OS, Arch: platform.Architecture, Variant: platform.Variant,
		OSVersion: platform.OSVersion, OSFeatures: platform.OSFeatures,
	}
	if limit > 0 {
		key.Limit = &limit
	}
	dt, err := json.Marshal(key)
	if err != nil {
		return "", fmt.Errorf("key of image %s: %w", i.Root.Digest, err)
	}
	return digest.FromBytes(dt).String(), nil
}

// Limit returns the image's lowest layers: n of them, all if n is 0.
func (i *Image) Limit(n int) ([]ocispec.Descriptor, error) {
	switch {
	case n == 0:
		return i.Layers, nil
	case n > len(i.Layers):
		return nil, fmt.Errorf("layer limit %d: the image %s has %d layers", n, i.Manifest.Digest, len(i.Layers))
	}
	return i.Layers[:n], nil
}

// Origin is the label of content that is in an image's repository. Containerd's
// pusher looks for it by the host without its port.
func Origin(name reference.Named) (key, repository string) {
	host := reference.Domain(name)
	if u, err := url.Parse("dummy://" + host); err == nil {
		host = u.Hostname()
	}
	return labels.LabelDistributionSource + "." + host, reference.Path(name)
}

// MarkOrigin annotates the layers as being in an image's repository, by which a push
// to another repository of that host can have them mounted.
func (i *Image) MarkOrigin(name reference.Named) {
	key, repository := Origin(name)
	for _, l := range i.Layers {
		l.Annotations[key] = repository
	}
}
