package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
)

// Types of the built-in exporters, as --output names them.
const (
	TypeImage     = "image"
	TypeDocker    = "docker"
	TypeOCI       = "oci"
	TypeLocal     = "local"
	TypeTar       = "tar"
	TypeCacheOnly = "cacheonly"
)

// metaEpoch is BuildKit's key for the epoch in the frontend's metadata.
const metaEpoch = "source.date.epoch"

// Deps are what the built-in exporters work with.
type Deps struct {
	Store *store.Store
	// Pusher is needed for push=true; without one that is refused.
	Pusher Pusher
}

// Pusher writes images to registries.
type Pusher interface {
	// Push sends desc and all that it refers to, which provider reads, to ref: a full
	// name, with a tag unless it is pushed by digest ("registry.example/a/b:tag").
	// Which registry failed and why is in the error.
	Push(ctx context.Context, provider content.Provider, desc ocispec.Descriptor, ref string, opt PushOptions) error
}

// PushOptions say how to push.
type PushOptions struct {
	// Insecure allows plain http and certificates that do not verify.
	Insecure bool
	// ByDigest pushes without a tag, which ref then does not have.
	ByDigest bool
	// Annotations tell where layers come from (containerd.io/distribution.source.*),
	// so that a registry may take them from there.
	Annotations map[digest.Digest]map[string]string
}

// ViaRegistry is the Pusher that pushes with r. Credentials are those of the session
// that the context belongs to.
func ViaRegistry(r *registry.Registry) Pusher { return viaRegistry{r} }

type viaRegistry struct{ r *registry.Registry }

func (v viaRegistry) Push(ctx context.Context, provider content.Provider, desc ocispec.Descriptor, ref string, opt PushOptions) error {
	return v.r.Push(ctx, provider, desc, ref, registry.PushOptions{
		ByDigest: opt.ByDigest, Insecure: opt.Insecure, Annotations: opt.Annotations,
	})
}

// Builtin returns the factories of the exporters that are built in, by type.
func Builtin(deps Deps) map[string]Factory {
	return map[string]Factory{
		TypeImage:     func(r Request) (Exporter, error) { return newImage(deps, r) },
		TypeOCI:       func(r Request) (Exporter, error) { return newArchive(deps, r) },
		TypeDocker:    func(r Request) (Exporter, error) { return newArchive(deps, r) },
		TypeLocal:     func(r Request) (Exporter, error) { return newLocal(r) },
		TypeTar:       func(r Request) (Exporter, error) { return newTarball(r) },
		TypeCacheOnly: newNothing,
	}
}

// New makes the exporter of a request. An unknown type is an error that names those
// that there are.
func New(factories map[string]Factory, req Request) (Exporter, error) {
	f, ok := factories[req.Type]
	if !ok {
		return nil, fmt.Errorf("output type=%s is not known: there are %s",
			req.Type, strings.Join(sortedKeys(factories), ", "))
	}
	x, err := f(req)
	unknown, ok := errors.AsType[*UnknownAttributeError](err)
	if !ok || !req.Lenient {
		return x, err
	}
	more := map[string]string{}
	known := maps.Clone(req.Attrs)
	for _, name := range unknown.Names {
		more[name] = known[name]
		delete(known, name)
	}
	req.Attrs = known
	if x, err = f(req); err != nil {
		return nil, err
	}
	return withMetadata{x, more}, nil
}

// withMetadata is an exporter of results that have more metadata.
type withMetadata struct {
	Exporter
	more map[string]string
}

func (x withMetadata) Export(ctx context.Context, src *Source, sess session.Session) (map[string]string, error) {
	own := *src
	own.Metadata = maps.Clone(src.Metadata)
	if own.Metadata == nil {
		own.Metadata = map[string][]byte{}
	}
	for k, v := range x.more {
		own.Metadata[k] = []byte(v)
	}
	return x.Exporter.Export(ctx, &own, sess)
}

// checkAttrs checks the attributes of a built-in type, and nothing of other types.
func checkAttrs(typ string, m map[string]string) error {
	var err error
	switch typ {
	case TypeImage:
		_, err = parseImageOptions(m)
	case TypeOCI, TypeDocker:
		_, err = parseArchiveOptions(typ, m, false)
	case TypeLocal, TypeTar:
		_, err = parseTreeOptions(typ, m)
	case TypeCacheOnly:
		err = newAttrs(typ, m).done()
	}
	return err
}

// nothing is the exporter of cacheonly: what was built is in the cache already.
type nothing struct{}

func newNothing(req Request) (Exporter, error) {
	if err := checkAttrs(TypeCacheOnly, req.Attrs); err != nil {
		return nil, err
	}
	return nothing{}, nil
}

func (nothing) Name() string { return "exporting nothing but the cache" }

func (nothing) Export(context.Context, *Source, session.Session) (map[string]string, error) {
	return map[string]string{}, nil
}

// check refuses a source that does not say which platform is which.
func (s *Source) check() error {
	if len(s.Platforms) == 0 {
		return fmt.Errorf("nothing to export: the build has no result")
	}
	if !s.isMap() {
		return nil
	}
	seen := map[string]bool{}
	for _, p := range s.Platforms {
		switch {
		case p.ID == "" || p.Platform == nil:
			return fmt.Errorf("the build has %d results, but the frontend does not say for which platforms (%s)",
				len(s.Platforms), exptypes.ExporterPlatformsKey)
		case seen[p.ID]:
			return fmt.Errorf("the build has two results for platform %s", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}

// isMap says whether the result is one for each platform, rather than the only one.
func (s *Source) isMap() bool { return s.MultiPlatform || len(s.Platforms) > 1 }
