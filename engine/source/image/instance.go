package image

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/source/internal/manifest"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// instance is one image of one operation.
type instance struct {
	s  *Source
	id identifier

	mu  sync.Mutex // guards img
	img *found     // nil until found
}

func (i *instance) image(ctx context.Context) (*found, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.img != nil {
		return i.img, nil
	}
	img, err := i.s.resolve(ctx, i.id)
	if err != nil {
		return nil, err
	}
	i.img = img
	return img, nil
}

// resolve is find with progress.
func (s *Source) resolve(ctx context.Context, id identifier) (*found, error) {
	progress := solver.ProgressFrom(ctx)
	started := time.Now()
	st := client.VertexStatus{ID: "resolve " + id.name.String(), Started: &started}
	progress.Status(st)
	img, err := s.find(ctx, id)
	if err == nil {
		now := time.Now()
		st.Completed = &now
	}
	progress.Status(st)
	return img, err
}

// CacheKey implements source.Instance. The keys are those of manifest.Image.Keys.
func (i *instance) CacheKey(ctx context.Context, index int) (key string, done bool, err error) {
	img, err := i.image(ctx)
	if err != nil {
		return "", false, err
	}
	layers, err := img.Limit(i.id.limit)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", i.id.name, err)
	}
	keys, err := img.Keys(layers)
	if err != nil {
		return "", false, err
	}
	if index < 0 || index >= len(keys) {
		return "", false, fmt.Errorf("image %s has no key %d", i.id.name, index)
	}
	return keys[index], index == len(keys)-1, nil
}

// BuildKitKey implements source.BuildKitKeyer.
func (i *instance) BuildKitKey(ctx context.Context) (key string, whole bool, err error) {
	img, err := i.image(ctx)
	if err != nil {
		return "", false, err
	}
	key, err = img.BuildKitKey(i.id.asked, i.id.limit)
	return key, true, err
}

// limited is the image with those of its layers that are asked for.
func (i *instance) limited(ctx context.Context) (*found, []ocispec.Descriptor, error) {
	img, err := i.image(ctx)
	if err != nil {
		return nil, nil, err
	}
	layers, err := img.Limit(i.id.limit)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", i.id.name, err)
	}
	return img, layers, nil
}

// Snapshot implements source.Instance. Nothing is pulled.
func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	img, layers, err := i.limited(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := img.Tree(ctx, i.s.opt.Store, layers, img.provider, img.labels, store.NewOptions{
		Description: "pulled from " + i.id.name.String(),
		RecordType:  i.id.recordType,
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.id.name, err)
	}
	return ref, nil
}

// Imagine implements source.Imaginer.
func (i *instance) Imagine(ctx context.Context) (*store.Ref, error) {
	_, layers, err := i.limited(ctx)
	if err != nil {
		return nil, err
	}
	return i.s.opt.Store.ImagineLayers(ctx, layers)
}

// Describe implements source.Describer.
func (i *instance) Describe(ctx context.Context, to *provenance.Capture) error {
	img, err := i.image(ctx)
	if err == nil {
		to.AddImage(types.ImageSource{Ref: i.id.name.String(), Platform: &i.id.platform, Digest: img.Root.Digest})
	}
	return err
}

// ResolveMetadata implements source.MetaResolver. The digest is that of what the
// reference stands for, of all platforms, and the configuration that of one. The
// operation is returned as it is: whoever wants to be sure of the same image later
// adds the digest.
func (s *Source) ResolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	id, err := parse(op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.GetIdentifier(), err)
	}
	image := opt.ImageOpt
	if image == nil {
		image = &sourceresolver.ResolveImageOpt{}
	}
	if image.ResolveMode != "" {
		if id.mode, err = parseMode(image.ResolveMode); err != nil {
			return nil, err
		}
	}
	if image.Platform != nil {
		id.platform = platforms.Normalize(*image.Platform)
	}
	resp, err := s.metadata(ctx, id, image)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.MetaResponse{Op: op, Image: resp}, nil
}

func (s *Source) metadata(ctx context.Context, id identifier, opt *sourceresolver.ResolveImageOpt) (*sourceresolver.ResolveImageResponse, error) {
	resp := &sourceresolver.ResolveImageResponse{}
	attested := opt.AttestationChain || len(opt.ResolveAttestations) > 0
	if opt.NoConfig && !attested {
		var err error
		resp.Digest, err = s.digest(ctx, id)
		return resp, err
	}
	img, err := s.resolve(ctx, id)
	if err != nil {
		return nil, err
	}
	resp.Digest = img.Root.Digest
	if !opt.NoConfig {
		resp.Config = img.ConfigBytes()
	}
	if attested {
		resp.AttestationChain, err = s.attested(ctx, id, img, opt.ResolveAttestations)
	}
	return resp, err
}

// attested is what an image says of itself. Who has signed that is asked of the registry,
// unless the image was made here.
func (s *Source) attested(ctx context.Context, id identifier, img *found, kinds []string) (*sourceresolver.AttestationChain, error) {
	referrers := func(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
		if img.labels == nil {
			return nil, nil
		}
		return s.opt.Registry.Referrers(ctx, id.name.String(), subject)
	}
	chain, err := img.Attested(ctx, manifest.FromProvider(localFirst{s.opt.Store.Content(), img.provider}), referrers, kinds)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", id.name, err)
	}
	return chain, nil
}
