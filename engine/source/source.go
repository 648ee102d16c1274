// Package source turns LLB source operations into trees of files. Each kind of
// source (an image, a git repository, ...) is a package below this one and serves
// one or more schemes of identifiers.
package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/store"
)

// Source serves the identifiers of some schemes.
type Source interface {
	// Schemes are what identifiers begin with, before "://".
	Schemes() []string
	// Parse checks an operation without touching anything. Platform may be nil.
	// An unknown attribute is ignored only if it cannot change the result.
	Parse(op *pb.SourceOp, platform *pb.Platform) (Instance, error)
}

// Instance is one source operation that is being solved. Its methods are those of
// a solver.Op, and called accordingly: CacheKey once an index until done, Snapshot
// when the tree is needed. The session is found by the context.
type Instance interface {
	// CacheKey returns what the tree depends on: two instances of one key have the
	// same tree. It is made of content (a manifest's digest, a commit, a tree's
	// digest), never of time. It resolves what moves (a tag, a branch) at most once.
	// A later index gives a further key by which the tree may be known; done ends
	// them.
	CacheKey(ctx context.Context, index int) (key string, done bool, err error)
	// Snapshot returns the tree. The Ref is the caller's; nil stands for an empty
	// tree.
	Snapshot(ctx context.Context) (*store.Ref, error)
}

// BuildKitKeyer is implemented by an Instance of a kind that BuildKit has, too. By its key the
// steps that stand on the tree are found in caches that BuildKit has written, and BuildKit
// finds them in ours.
type BuildKitKeyer interface {
	// BuildKitKey returns what BuildKit v0.33 keys the source by. Whole says that the key
	// tells all that the tree depends on: two instances of one key have the same tree. One
	// that tells less is looked up in caches that were imported, and goes with what is
	// exported, and decides nothing here.
	BuildKitKey(ctx context.Context) (key string, whole bool, err error)
}

// Describer is implemented by an Instance that can tell what it stands for: in provenance.
type Describer interface {
	// Describe notes the source, as it was resolved in the build that ctx is of.
	Describe(ctx context.Context, to *provenance.Capture) error
}

// Lister is implemented by an Instance that knows what is in its tree before that is made.
type Lister interface {
	// Listing returns the tree that CacheKey's last key stands for; nil if that is not known.
	// It does not change any more.
	Listing() *contenthash.Node
}

// Imaginer is implemented by an Instance that can tell what is in its tree without making it.
type Imaginer interface {
	// Imagine returns the tree of CacheKey's last key, to be looked at (store.Store.Look). The
	// Ref is the caller's; nil stands for an empty tree.
	Imagine(ctx context.Context) (*store.Ref, error)
}

type lookingKey struct{}

// Looking returns a context in which nothing is remembered of what a source has found out.
func Looking(ctx context.Context) context.Context {
	return context.WithValue(ctx, lookingKey{}, true)
}

// IsLooking says whether a context is one of Looking.
func IsLooking(ctx context.Context) bool { return ctx.Value(lookingKey{}) != nil }

// Holder is implemented by a Source that keeps what a build has fetched until the build ends:
// it cannot be had again, or could be something else. A build is named by its job's session
// ID, which is its own.
type Holder interface {
	BeginBuild(build string)
	EndBuild(ctx context.Context, build string) error
}

// MetaResolver is implemented by a Source that can tell about an identifier
// without fetching what is behind it.
type MetaResolver interface {
	ResolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error)
}

// Set finds the Source of an identifier.
type Set struct {
	byScheme map[string]Source
}

// NewSet makes a Set. A later source takes the schemes of an earlier one.
func NewSet(sources ...Source) *Set {
	s := &Set{byScheme: map[string]Source{}}
	for _, src := range sources {
		for _, scheme := range src.Schemes() {
			s.byScheme[scheme] = src
		}
	}
	return s
}

// For returns the source of an identifier.
func (s *Set) For(identifier string) (Source, error) {
	scheme, _, ok := strings.Cut(identifier, "://")
	if !ok {
		return nil, fmt.Errorf("source %q has no scheme: it should begin with docker-image://, local:// or https://, say", identifier)
	}
	src, ok := s.byScheme[scheme]
	if !ok {
		return nil, fmt.Errorf("source %q: nothing serves the scheme %q", identifier, scheme)
	}
	return src, nil
}

// BeginBuild tells the sources that a build begins. End is to be called once, when it has
// ended.
func (s *Set) BeginBuild(build string) (end func(context.Context) error) {
	holders := map[Holder]bool{}
	for _, src := range s.byScheme {
		if h, ok := src.(Holder); ok && !holders[h] {
			h.BeginBuild(build)
			holders[h] = true
		}
	}
	return func(ctx context.Context) (err error) {
		for h := range holders {
			err = errors.Join(err, h.EndBuild(ctx, build))
		}
		return err
	}
}

// ResolveMetadata asks the source of op.
func (s *Set) ResolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	src, err := s.For(op.GetIdentifier())
	if err != nil {
		return nil, err
	}
	if m, ok := src.(MetaResolver); ok {
		return m.ResolveMetadata(ctx, op, opt)
	}
	return &sourceresolver.MetaResponse{Op: op}, nil
}
