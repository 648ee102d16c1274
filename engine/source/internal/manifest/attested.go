package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxAttested bounds what is read of an image's attestations.
const (
	maxAttested      = 32 << 20
	maxAttestedBlobs = 100
)

// Types of the manifests that sign others, the preferred one first.
var signatureTypes = []string{
	"application/vnd.dev.sigstore.bundle.v0.3+json",
	"application/vnd.dev.cosign.artifact.sig.v1+json",
}

// Attested is what an image's index says of it, and how that is signed. Kinds are those of
// the statements that are read. Referrers lists what is about a manifest. An image without
// an index, which says nothing, is nil.
func (i *Image) Attested(ctx context.Context, read Reader, referrers func(context.Context, digest.Digest) ([]ocispec.Descriptor, error), kinds []string) (*sourceresolver.AttestationChain, error) {
	root, err := parse(i.Blobs[i.Root.Digest], i.Root.MediaType)
	if err != nil || root.index == nil {
		return nil, err
	}
	c := &chain{read: read, left: maxAttested, out: &sourceresolver.AttestationChain{
		Root: i.Root.Digest, ImageManifest: i.Manifest.Digest, Blobs: map[digest.Digest]sourceresolver.Blob{},
	}}
	about := slices.IndexFunc(root.index.Manifests, func(d ocispec.Descriptor) bool {
		return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" &&
			d.Annotations["vnd.docker.reference.digest"] == i.Manifest.Digest.String() && images.IsManifestType(d.MediaType)
	})
	c.keep(i.Root, i.Blobs[i.Root.Digest])
	if about < 0 {
		return c.out, nil
	}
	said := root.index.Manifests[about]
	c.out.AttestationManifest = said.Digest
	statements, err := c.manifest(ctx, said)
	if err != nil {
		return nil, fmt.Errorf("attestations of %s: %w", i.Manifest.Digest, err)
	}
	for _, l := range statements.Layers {
		if slices.Contains(kinds, l.Annotations["in-toto.io/predicate-type"]) {
			if _, err := c.blob(ctx, l); err != nil {
				return nil, fmt.Errorf("attestation of %s: %w", i.Manifest.Digest, err)
			}
		}
	}
	if err := c.signature(ctx, referrers); err != nil {
		return nil, fmt.Errorf("signature of the attestations of %s: %w", i.Manifest.Digest, err)
	}
	return c.out, nil
}

// chain is a chain that is read.
type chain struct {
	read Reader
	left int64
	out  *sourceresolver.AttestationChain
}

// signature reads the signature of what is said.
func (c *chain) signature(ctx context.Context, referrers func(context.Context, digest.Digest) ([]ocispec.Descriptor, error)) error {
	list, err := referrers(ctx, c.out.AttestationManifest)
	if err != nil {
		return err
	}
	for _, kind := range signatureTypes {
		i := slices.IndexFunc(list, func(d ocispec.Descriptor) bool { return d.ArtifactType == kind })
		if i < 0 {
			continue
		}
		m, err := c.manifest(ctx, list[i])
		if err != nil {
			return err
		}
		c.out.SignatureManifests = []digest.Digest{list[i].Digest}
		for _, l := range m.Layers {
			if _, err := c.blob(ctx, l); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

func (c *chain) manifest(ctx context.Context, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	dt, err := c.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	m := &ocispec.Manifest{}
	if err := json.Unmarshal(dt, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return m, nil
}

// blob reads a blob, and keeps it.
func (c *chain) blob(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if b, ok := c.out.Blobs[desc.Digest]; ok {
		return b.Data, nil
	}
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	if desc.Size < 0 || desc.Size > c.left || len(c.out.Blobs) == maxAttestedBlobs {
		return nil, fmt.Errorf("it has more than %d MiB, or more than %d parts", maxAttested>>20, maxAttestedBlobs)
	}
	dt, err := c.read(ctx, desc)
	if err != nil {
		return nil, err
	}
	if c.left -= int64(len(dt)); c.left < 0 {
		return nil, errors.New("it is larger than it says")
	}
	desc.Data, desc.URLs = nil, nil
	c.keep(desc, dt)
	return dt, nil
}

func (c *chain) keep(desc ocispec.Descriptor, dt []byte) {
	c.out.Blobs[desc.Digest] = sourceresolver.Blob{Descriptor: desc, Data: dt}
}
