// Package llb turns LLB definitions into the vertices that the solver solves. LLB is
// BuildKit's protocol for graphs of operations (github.com/moby/buildkit/solver/pb):
// a list of marshalled ops that name each other by the digests of their bytes.
//
// Everything that can be known of a definition without running it is checked here,
// so that an error comes before the first step and says which op is wrong and how.
//
// # Identity and cache keys
//
// The digest of a vertex says which ops are one while they are in memory. It is
// strict: the digest of the op as it was asked for, with the digests of the
// vertices it takes, and includes what belongs to one request only (local.unique,
// local.session, oci.session). Two builds that read different directories of one
// name are therefore never one vertex. What is on disk is found by cache keys, which
// ops compute from content and never from those attributes: see package ops. Two
// vertices that differ only in such attributes come out with equal keys, and the
// solver then runs one of them for both.
//
// What does not change what an op does is taken out of its digest, or made the same:
// the platform of ops that have none, different spellings of a platform, an empty
// list of constraints, and how a message was encoded.
package llb

import (
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// LoadOptions are what a request says about a definition.
type LoadOptions struct {
	// Allowed are the entitlements that are granted (network.host,
	// security.insecure). An op that needs another is an *EntitlementError.
	// HostNetwork is always granted by cmd/tenon.
	Allowed entitlements.Set
	// NoCache ignores the cache for every vertex.
	NoCache bool
	// DropCaches, if not nil, is called with the cache mounts of ops that ignore the
	// cache by themselves: they are to begin empty, or as their base. See MarkInherited.
	DropCaches func([]CacheMount) error
	// CacheSources are asked beside the default cache.
	CacheSources []solver.CacheManager
	// DefaultPlatform is put where an op that has a platform names none. Nil
	// stands for this machine's.
	DefaultPlatform *pb.Platform
	// SessionID is put into sources that read from the caller's machine and do not
	// say from which session (local.session, oci.session).
	SessionID string
	// GitAttrs are put into sources of git repositories.
	GitAttrs map[string]string
	// Policy, if not nil, decides about each source operation before anything is done with
	// it, and may change it. It is called for several at a time.
	Policy func(op *pb.Op) error
	// PolicyID names the policy. What a definition gives that a step makes is shared only
	// with builds under a policy of that name, and no cache has it: its sources are to be
	// decided about.
	PolicyID string
	// CheckSource, if not nil, is asked about each source operation. It should not
	// touch anything.
	CheckSource func(op *pb.SourceOp, platform *pb.Platform) error
	// CheckRun, if not nil, is asked about the platform of each op that runs a program:
	// whether it can be run.
	CheckRun func(platform *pb.Platform) error
	// Devices returns the devices that a step gets which asks for some. Nil stands for
	// none.
	Devices func(asked []*pb.CDIDevice) ([]*pb.CDIDevice, error)
	// TimesCount, if not nil, says of the name of a step whether what it writes is told
	// apart by its times, too: see TimesCount.
	TimesCount func(step string) bool
	// Proxy has steps reach others only by a proxy: see Proxied.
	Proxy bool
	// WorkerLabels are what worker constraints are matched with. Nil matches any
	// constraint that is well-formed.
	WorkerLabels map[string]string
}

// Graph is a definition that has been checked.
type Graph struct {
	// Edge is what the definition results in; its Vertex is nil for the empty tree
	// (scratch).
	Edge solver.Edge
	// Source holds the files the definition was made of, and where in them each
	// vertex comes from, by the digests of vertices. Nil if the definition has none.
	Source *pb.Source
	// Digests maps the digests of ops in the definition to those of their vertices.
	// They differ where something was normalised. Ops that the result does not
	// depend on are not in it.
	Digests map[digest.Digest]digest.Digest
	// Vertices are all that the result depends on, in no order.
	Vertices []solver.Vertex
}

// Load checks a definition and makes vertices of it, without I/O and in time linear
// in the definition. Sys() of a vertex is its *pb.Op, whose inputs name vertices; it
// must not be changed. A definition without ops is the empty tree. An op that is
// there twice is one vertex. The definition is only read.
//
// An error names the op it is about; it is a *CapError or an *EntitlementError where
// the op asks for what is not there or not granted.
func Load(def *pb.Definition, opt LoadOptions) (*Graph, error) {
	d, err := decode(def)
	if err != nil {
		return nil, err
	}
	if len(d.ops) == 0 {
		return &Graph{Digests: map[digest.Digest]digest.Digest{}}, nil
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	order, err := d.order()
	if err != nil {
		return nil, err
	}
	l := loader{def: d, opt: opt, vertices: make(map[int]*vertex, len(order))}
	if err := l.init(); err != nil {
		return nil, err
	}
	if err := l.decide(order); err != nil {
		return nil, err
	}
	for _, n := range order {
		if err := l.add(n); err != nil {
			return nil, err
		}
	}
	if err := l.dropCaches(); err != nil {
		return nil, err
	}
	return l.graph()
}
