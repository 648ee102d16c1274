// Package ocilayout is the source of images in OCI layouts that a session lends:
// the scheme "oci-layout". A layout is read by digest, so an image is named by its
// digest; its tag, if it has one, is looked up by whoever writes the operation.
package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/internal/manifest"
	"github.com/tenonbuild/tenon/engine/store"
)

const scheme = "oci-layout"

// Options are what a Source works with. All are needed.
type Options struct {
	Store    *store.Store
	Sessions *session.Sessions
}

// Source serves oci-layout://.
type Source struct {
	opt Options
}

var (
	_ source.Source       = (*Source)(nil)
	_ source.MetaResolver = (*Source)(nil)
)

// New makes a Source.
func New(opt Options) *Source { return &Source{opt: opt} }

// Schemes implements source.Source.
func (s *Source) Schemes() []string { return []string{scheme} }

// identifier is what an operation asks for.
type identifier struct {
	ref      string // as it was given
	root     digest.Digest
	platform ocispec.Platform
	asked    ocispec.Platform // platform, before it was normalized
	limit    int              // 0: all layers
	layout   Layout
}

// Parse implements source.Source.
func (s *Source) Parse(op *pb.SourceOp, platform *pb.Platform) (source.Instance, error) {
	id, err := s.parse(op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.GetIdentifier(), err)
	}
	if platform != nil {
		id.asked = platform.Spec()
		id.platform = platforms.Normalize(id.asked)
	}
	return &instance{s: s, id: id}, nil
}

func (s *Source) parse(op *pb.SourceOp) (identifier, error) {
	ref, ok := strings.CutPrefix(op.GetIdentifier(), scheme+"://")
	if !ok {
		return identifier{}, fmt.Errorf("it should begin with %s://", scheme)
	}
	name, dgst, ok := strings.Cut(ref, "@")
	if !ok {
		return identifier{}, errors.New("it should be name@digest, with the digest of an image in the layout")
	}
	root, err := digest.Parse(dgst)
	if err != nil {
		return identifier{}, fmt.Errorf("digest %q: %w", dgst, err)
	}
	id := identifier{
		ref:      ref,
		root:     root,
		platform: platforms.Normalize(platforms.DefaultSpec()),
		asked:    platforms.DefaultSpec(),
		layout:   Layout{Sessions: s.opt.Sessions, Name: Untagged(name)},
	}
	for k, v := range op.GetAttrs() {
		switch k {
		case pb.AttrOCILayoutSessionID:
			id.layout.Session = v
		case pb.AttrOCILayoutStoreID:
			if v != "" {
				id.layout.Name = v
			}
		case pb.AttrOCILayoutLayerLimit:
			if id.limit, err = strconv.Atoi(v); err != nil || id.limit <= 0 {
				return identifier{}, fmt.Errorf("invalid layer limit: %s is %q: it should be a number of layers, 1 or more", k, v)
			}
		default:
			return identifier{}, fmt.Errorf("attribute %s=%q is not known", k, v)
		}
	}
	if id.layout.Name == "" {
		return identifier{}, fmt.Errorf("it names no layout, and has no attribute %s", pb.AttrOCILayoutStoreID)
	}
	return id, nil
}

// Untagged is a name without its tag: the last colon, if no slash follows.
func Untagged(name string) string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.Contains(name[i:], "/") {
		return name[:i]
	}
	return name
}

func (s *Source) load(ctx context.Context, id identifier) (*manifest.Image, error) {
	img, err := manifest.Load(ctx, manifest.FromProvider(id.layout), ocispec.Descriptor{Digest: id.root}, id.platform)
	if err != nil {
		return nil, fmt.Errorf("image %s in OCI layout %q: %w", id.root, id.layout.Name, err)
	}
	return img, nil
}

// ResolveMetadata implements source.MetaResolver.
func (s *Source) ResolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	id, err := s.parse(op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.GetIdentifier(), err)
	}
	if o := opt.OCILayoutOpt; o != nil {
		if o.Platform != nil {
			id.platform = platforms.Normalize(*o.Platform)
		}
		if o.Store.SessionID != "" {
			id.layout.Session = o.Store.SessionID
		}
		if o.Store.StoreID != "" {
			id.layout.Name = o.Store.StoreID
		}
	}
	img, err := s.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.MetaResponse{Op: op, Image: &sourceresolver.ResolveImageResponse{
		Digest: id.root, Config: img.ConfigBytes(),
	}}, nil
}

// instance is one image of one operation.
type instance struct {
	s  *Source
	id identifier

	mu  sync.Mutex // guards img
	img *manifest.Image
}

func (i *instance) image(ctx context.Context) (*manifest.Image, []ocispec.Descriptor, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.img == nil {
		img, err := i.s.load(ctx, i.id)
		if err != nil {
			return nil, nil, err
		}
		i.img = img
	}
	layers, err := i.img.Limit(i.id.limit)
	return i.img, layers, err
}

// CacheKey implements source.Instance. The keys are those of manifest.Image.Keys:
// the same image from a registry has the same.
func (i *instance) CacheKey(ctx context.Context, index int) (key string, done bool, err error) {
	img, layers, err := i.image(ctx)
	if err != nil {
		return "", false, err
	}
	keys, err := img.Keys(layers)
	if err != nil {
		return "", false, err
	}
	if index < 0 || index >= len(keys) {
		return "", false, fmt.Errorf("image %s has no key %d", i.id.root, index)
	}
	return keys[index], index == len(keys)-1, nil
}

// BuildKitKey implements source.BuildKitKeyer.
func (i *instance) BuildKitKey(ctx context.Context) (key string, whole bool, err error) {
	img, _, err := i.image(ctx)
	if err != nil {
		return "", false, err
	}
	key, err = img.BuildKitKey(i.id.asked, i.id.limit)
	return key, true, err
}

// Describe implements source.Describer.
func (i *instance) Describe(_ context.Context, to *provenance.Capture) error {
	to.AddImage(types.ImageSource{Ref: i.id.ref, Platform: &i.id.platform, Digest: i.id.root, Local: true})
	return nil
}

// Imagine implements source.Imaginer.
func (i *instance) Imagine(ctx context.Context) (*store.Ref, error) {
	_, layers, err := i.image(ctx)
	if err != nil {
		return nil, err
	}
	return i.s.opt.Store.ImagineLayers(ctx, layers)
}

// Snapshot implements source.Instance. Layers are read when they are needed, from a
// session that has the layout then.
func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	img, layers, err := i.image(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := img.Tree(ctx, i.s.opt.Store, layers, i.id.layout, nil, store.NewOptions{
		Description: fmt.Sprintf("from OCI layout %s@%s", i.id.layout.Name, i.id.root),
		RecordType:  "regular",
	})
	if err != nil {
		return nil, fmt.Errorf("image %s in OCI layout %q: %w", i.id.root, i.id.layout.Name, err)
	}
	return ref, nil
}
