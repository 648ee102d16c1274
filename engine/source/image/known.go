package image

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/source/internal/manifest"
)

// What a registry last said that a tag stands for is noted as a label of that manifest or
// index. So it is known for as long as that is in the store, and there is but one.

// tagLabel is the label that notes a tag.
func tagLabel(name reference.Named) string {
	return "tenonbuild.com/resolved." + digest.FromString(name.String()).Encoded()[:32]
}

// knownRoot returns what a tag stood for when a registry was last asked, if that is in the
// store.
func (s *Source) knownRoot(ctx context.Context, name reference.Named) (root ocispec.Descriptor, err error) {
	err = s.eachKnown(ctx, name, func(info content.Info) error {
		root = ocispec.Descriptor{Digest: info.Digest, Size: info.Size}
		return nil
	})
	if err == nil && root.Digest == "" {
		err = fmt.Errorf("%s was not pulled before: %w", name, errdefs.ErrNotFound)
	}
	return root, err
}

func (s *Source) eachKnown(ctx context.Context, name reference.Named, fn content.WalkFunc) error {
	return s.opt.Store.Content().Walk(ctx, fn, fmt.Sprintf("labels.%q", tagLabel(name)))
}

// findKnown is findRemote without asking the registry: it reads what is in the store.
func (s *Source) findKnown(ctx context.Context, id identifier) (*found, error) {
	root, err := s.knownRoot(ctx, id.name)
	if err != nil {
		return nil, err
	}
	img, err := manifest.Load(ctx, manifest.FromProvider(s.opt.Store.Content()), root, id.platform)
	if err != nil {
		return nil, err
	}
	return s.pulled(id, img), nil
}

// noteTag notes what a tag stands for now.
func (s *Source) noteTag(ctx context.Context, name reference.Named, root digest.Digest) error {
	label := tagLabel(name)
	var before []digest.Digest
	err := s.eachKnown(ctx, name, func(info content.Info) error {
		if info.Digest != root {
			before = append(before, info.Digest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range append(before, root) {
		info := content.Info{Digest: d, Labels: map[string]string{}}
		if d == root {
			info.Labels[label] = "true"
		}
		if _, err := s.opt.Store.Content().Update(ctx, info, "labels."+label); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("note that %s is %s: %w", name, root, err)
		}
	}
	return nil
}
