// Package image is the source of container images: the scheme "docker-image". An
// image is found by its name in the local image store or in a registry, and its
// layers become a tree that is pulled when it is first needed.
//
// Where a name is looked up depends on the resolve mode of the operation:
//
//	default  an image of this name in the local store, for the platform; otherwise
//	         the registry
//	local    the same, but before the registry is asked, what it last said, if that
//	         is still in the store
//	pull     the registry
//
// So what "build -t" made can be built upon, and --pull goes past it. What is old is
// used only where that is asked for. A reference with a digest is not resolved at all if
// its manifests have been pulled before.
package image

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
)

const scheme = "docker-image"

// Options are what a Source works with. All are needed.
type Options struct {
	Store    *store.Store
	Registry *registry.Registry
}

// Source serves docker-image://.
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
	name       reference.Named // with a tag or a digest
	platform   ocispec.Platform
	asked      ocispec.Platform // platform, before it was normalized
	mode       mode
	checksum   digest.Digest // "": any
	limit      int           // 0: all layers
	recordType string
}

// pinned says whether the name has a digest.
func (id *identifier) pinned() bool {
	_, ok := id.name.(reference.Digested)
	return ok
}

// mode is where a name is looked up.
type mode string

const (
	modeDefault mode = pb.AttrImageResolveModeDefault
	modePull    mode = pb.AttrImageResolveModeForcePull
	modeLocal   mode = pb.AttrImageResolveModePreferLocal
)

func parseMode(v string) (mode, error) {
	switch m := mode(v); m {
	case "":
		return modeDefault, nil
	case modeDefault, modePull, modeLocal:
		return m, nil
	}
	return "", fmt.Errorf("%s is %q: it may be %s, %s or %s", pb.AttrImageResolveMode, v, modeDefault, modePull, modeLocal)
}

// Parse implements source.Source.
func (s *Source) Parse(op *pb.SourceOp, platform *pb.Platform) (source.Instance, error) {
	id, err := parse(op)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op.GetIdentifier(), err)
	}
	if platform != nil {
		id.asked = platform.Spec()
		id.platform = platforms.Normalize(id.asked)
	}
	return &instance{s: s, id: id}, nil
}

func parse(op *pb.SourceOp) (identifier, error) {
	ref, ok := strings.CutPrefix(op.GetIdentifier(), scheme+"://")
	if !ok {
		return identifier{}, fmt.Errorf("it should begin with %s://", scheme)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return identifier{}, err
	}
	id := identifier{
		name:       reference.TagNameOnly(named),
		platform:   platforms.Normalize(platforms.DefaultSpec()),
		asked:      platforms.DefaultSpec(),
		mode:       modeDefault,
		recordType: "regular",
	}
	for k, v := range op.GetAttrs() {
		if err := id.set(k, v); err != nil {
			return identifier{}, err
		}
	}
	return id, nil
}

// set takes one attribute of an operation.
func (id *identifier) set(k, v string) (err error) {
	switch k {
	case pb.AttrImageResolveMode:
		id.mode, err = parseMode(v)
		return err
	case pb.AttrImageChecksum:
		if id.checksum, err = digest.Parse(v); err != nil {
			return fmt.Errorf("%s is %q: %w", k, v, err)
		}
		return nil
	case pb.AttrImageLayerLimit:
		if id.limit, err = strconv.Atoi(v); err != nil || id.limit <= 0 {
			return fmt.Errorf("invalid layer limit: %s is %q: it should be a number of layers, 1 or more", k, v)
		}
		return nil
	case pb.AttrImageRecordType:
		switch v {
		case "":
		case "regular", "internal", "frontend":
			id.recordType = v
		default:
			return fmt.Errorf("%s is %q: it may be regular, internal or frontend", k, v)
		}
		return nil
	}
	if strings.HasPrefix(k, "image.") {
		return fmt.Errorf("attribute %s=%q is not known", k, v)
	}
	return nil // a policy may have marked it
}
