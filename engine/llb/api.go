// Package llb turns LLB definitions into the vertices that the solver solves.
package llb

import (
	"errors"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// LoadOptions are what a request says about a definition.
type LoadOptions struct {
	// Allowed are the entitlements that are granted (network.host,
	// security.insecure). An op that needs another is an error. HostNetwork is always granted by cmd/tenon.
	Allowed entitlements.Set
	// NoCache ignores the cache for every vertex.
	NoCache bool
	// CacheSources are asked beside the default cache.
	CacheSources []solver.CacheManager
	// DefaultPlatform is put where an op names none.
	DefaultPlatform *pb.Platform
}

// Graph is a definition that has been checked.
type Graph struct {
	Edge   solver.Edge // what the definition results in; Vertex nil for the empty tree (scratch)
	Source *pb.Source  // the files the definition was made of, and where each op is in them
	// Digests maps the digests of ops in the definition to those of vertices, which
	// differ where something was normalised (local.unique, platforms).
	Digests map[digest.Digest]digest.Digest
}

// Load checks a definition and makes vertices of it. Sys() of a vertex is its *pb.Op, which must not be changed.
func Load(def *pb.Definition, opt LoadOptions) (*Graph, error) {
	return nil, errors.New("not there yet")
}
