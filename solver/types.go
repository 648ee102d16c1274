package solver

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Vertex is one node in the build graph. A vertex must not change once it has
// been given to the solver: its methods answer the same at every call. The
// solver reads each of them once when a job loads the vertex.
type Vertex interface {
	// Digest identifies what the vertex does, together with all that is below
	// it. Vertices of one digest are one vertex, whoever loads them. Compute it once, from
	// the digests of the inputs: where vertices share inputs, a method that goes down
	// to the leaves at each call takes time exponential in the depth of the graph.
	Digest() digest.Digest
	// Sys returns the value that ResolveOpFunc turns into an Op. The solver does
	// not look at it.
	Sys() interface{}
	Options() VertexOptions
	// Inputs are the edges the vertex depends on.
	Inputs() []Edge
	// Name is shown to people.
	Name() string
}

// VertexOptions is what a request says about a vertex that is not part of the
// vertex's digest.
type VertexOptions struct {
	// IgnoreCache runs the vertex even where a cache holds its result. The
	// result is saved all the same. What depends on the vertex is not found by its
	// definition in this request, only by the content of the new result.
	IgnoreCache bool
	// CacheSources are asked beside SolverOpt.DefaultCache. What the vertex's op
	// builds through its Builder inherits them.
	CacheSources []CacheManager
	// Description holds text values with no meaning to the solver.
	Description map[string]string
	// ExportCache overrides whether the result is exported with the cache: nil
	// leaves it to the mode, true and false decide.
	ExportCache *bool
	// Weight is how many of SolverOpt.Parallelism's slots the op takes while it
	// runs; 0 stands for 1. More than there are takes all of them.
	Weight int
}

// Edge is one output of a vertex. What is solved is always an edge.
type Edge struct {
	Index  Index
	Vertex Vertex
}

// Index is the number of a vertex's output or input, from 0.
type Index int

// Result is what an op returns for one of its outputs. The solver releases each
// Result it was handed exactly once.
type Result interface {
	// ID names the value that the result stands for. An ID must be unique: results of one
	// ID must stand for one value, as long as the process runs, since a cache may give one
	// for the other. A storage that keeps IDs on a disk needs them to be unique for as
	// long as it keeps them.
	ID() string
	// Release gives the result back. It is not called concurrently with itself.
	Release(context.Context) error
	// Sys returns the value the result stands for.
	Sys() interface{}
}

// CachedResult is a result together with the cache keys that lead to it.
// Whoever is handed one owns it, and releases it once.
type CachedResult interface {
	Result
	// CacheKeys are the keys the result can be found by, each with what exports
	// the chain of records behind it.
	CacheKeys() []ExportableCacheKey
}

// CacheExportMode is the extent of a cache export.
type CacheExportMode int

const (
	// CacheExportModeMin exports the topmost record that may be exported and what
	// it depends on that is transferable already.
	CacheExportModeMin CacheExportMode = iota
	// CacheExportModeMax exports every record that is not a root's.
	CacheExportModeMax
	// CacheExportModeRemoteOnly exports the records that are transferable already.
	CacheExportModeRemoteOnly
)

// CacheExportOpt are the options of a cache export.
type CacheExportOpt struct {
	// Convert makes a result transferable. It borrows the result for the call. It
	// is called at most once a result. Nil exports as CacheExportModeRemoteOnly.
	Convert func(context.Context, Result) (*Remote, error)
	// Mode is the extent of the export.
	Mode CacheExportMode
}

// CacheExporter exports the chain of cache records behind a key.
type CacheExporter interface {
	// ExportTo adds the records to t and returns those that stand for the key
	// itself. Exports may run concurrently.
	ExportTo(ctx context.Context, t CacheExporterTarget, opt CacheExportOpt) ([]CacheExporterRecord, error)
}

// CacheExporterTarget receives an export. The solver calls one target from one
// goroutine at a time within one ExportTo.
type CacheExporterTarget interface {
	// Add makes a record for an operation's digest. Two records of one digest may
	// exist: they differ by what is linked to them.
	Add(dgst digest.Digest) CacheExporterRecord
	// Visit and Visited let an exporter mark what it has been through.
	Visit(interface{})
	Visited(interface{}) bool
}

// CacheExporterRecord is one record being exported.
type CacheExporterRecord interface {
	// AddResult says that the record holds result, made at createdAt.
	AddResult(createdAt time.Time, result *Remote)
	// LinkFrom says that the record's input index can be src, seen through
	// selector ("" for none).
	LinkFrom(src CacheExporterRecord, index int, selector string)
}

// Remote is a descriptor, or a stack of them, that can be pulled from a content
// provider.
type Remote struct {
	Descriptors []ocispec.Descriptor
	Provider    content.Provider
}

// CacheLink is a link between two records of an exported cache.
type CacheLink struct {
	Source   digest.Digest `json:",omitempty"`
	Input    Index         `json:",omitempty"`
	Output   Index         `json:",omitempty"`
	Base     digest.Digest `json:",omitempty"`
	Selector digest.Digest `json:",omitempty"`
}

// Op runs a vertex. Its methods may be called again after a cancelled call, also
// while that one is still returning.
type Op interface {
	// CacheMap says how the operation is cached. Only an op without inputs may
	// have several cache maps: it returns one an index until it returns true.
	// It is not called again for an index that it has answered.
	CacheMap(context.Context, int) (*CacheMap, bool, error)
	// Exec runs the operation. The inputs are borrowed for the call. The outputs
	// become the solver's. An output may be one of the inputs: it is then a hold of its
	// own. A LostInputError says that an input's result is gone.
	Exec(ctx context.Context, inputs []Result) (outputs []Result, err error)
}

// ResolveOpFunc finds the Op that runs a vertex. The Builder lets the op solve
// further edges while it runs.
type ResolveOpFunc func(Vertex, Builder) (Op, error)

// ResultBasedCacheFunc computes a content key: a digest of what a result is. It
// borrows the result for the call.
type ResultBasedCacheFunc func(context.Context, Result) (digest.Digest, error)

// CacheMap says how an operation is cached.
type CacheMap struct {
	// Digest stands for the operation itself, without its inputs. That of an operation that
	// has none is for the default cache alone if it begins with LocalPrefix.
	Digest digest.Digest
	// Deps holds one element for each input of the vertex.
	Deps []CacheMapDep
}

// CacheMapDep says how one input counts for the cache. The zero value lets the input
// count by its definition alone.
type CacheMapDep = struct {
	// Selector is an optional digest of the part of the input that the
	// operation uses. It is combined with the input's definition key.
	Selector digest.Digest
	// ComputeDigestFunc optionally computes a content key of the input. A
	// content key stands without the selector. One that begins with LocalPrefix is
	// for the default cache alone.
	ComputeDigestFunc ResultBasedCacheFunc
}

// NewCacheMap returns the CacheMap of an operation with a number of inputs, each with a
// zero CacheMapDep.
func NewCacheMap(dgst digest.Digest, inputs int) *CacheMap {
	return &CacheMap{Digest: dgst, Deps: make([]CacheMapDep, max(inputs, 0))}
}

// Preparer is implemented by an Op that may have to wait before it can run, for what its
// inputs stand for. Prepare is called before Exec, with the same inputs, which it
// borrows; the vertex counts as begun when it has returned. Its error is that of the
// vertex, and Exec is then not called.
type Preparer interface {
	Prepare(ctx context.Context, inputs []Result) error
}

// ExportableCacheKey is a cache key with what exports the chain of records that
// lead to it.
type ExportableCacheKey struct {
	*CacheKey
	Exporter CacheExporter
}

// CacheKeyWithSelector is a cache key seen through an optional selector.
type CacheKeyWithSelector struct {
	Selector digest.Digest
	CacheKey ExportableCacheKey
}

// CacheRecord names a stored result.
type CacheRecord struct {
	ID        string
	Size      int
	CreatedAt time.Time
	Priority  int

	// manager and key say where the record was found.
	manager *cacheManager
	key     *CacheKey
}

// CacheManager is a cache the solver asks. Its methods may be called
// concurrently. A failure of any of them is reported on the vertex and never
// fails a build.
type CacheManager interface {
	// ID identifies the cache: managers of one ID are asked once.
	ID() string
	// Query returns the keys of the operation dgst, output outputIndex, that can
	// be reached when its input inputIndex has any of the keys inp. Without inp
	// it returns the key of an operation that has no inputs, if it is known.
	Query(inp []CacheKeyWithSelector, inputIndex Index, dgst digest.Digest, outputIndex Index) ([]*CacheKey, error)
	// Records returns the results stored under a key. There may be none.
	Records(ck *CacheKey) ([]*CacheRecord, error)
	// Load loads a record's result, which becomes the caller's. ErrNotFound says
	// that it is gone.
	Load(ctx context.Context, rec *CacheRecord) (Result, error)
	// Save stores a result under a key, and links the keys of the key's inputs to
	// it. The result is borrowed for the call.
	Save(key *CacheKey, s Result) (*ExportableCacheKey, error)
}

// LateCache is implemented by a CacheManager that is slow to answer. It is asked about an
// operation when SolverOpt.DefaultCache has no record of it by its definition, and before
// an input is solved for its content; never about an operation without inputs. So what the
// default cache has by its definition does not wait for it, and is taken also where the late
// cache has something newer.
type LateCache interface {
	// AskedLate is asked once.
	AskedLate() bool
}

// SolverOpt are the options of a Solver.
type SolverOpt struct {
	// ResolveOpFunc finds the op of a vertex. Required.
	ResolveOpFunc ResolveOpFunc
	// DefaultCache is where results are looked up and saved. Nil stands for a
	// cache in memory of the solver's own.
	DefaultCache CacheManager
	// Parallelism is how many ops run at the same time: how many slots there are
	// for the weights of their vertices. 0 stands for DefaultParallelism, which suits ops
	// that wait. Where ops compute, see the package comment.
	Parallelism int
	// CachePatience is how long a cache that does not keep everything in memory may take
	// for a look-up, or to save a result. One that takes longer is left out until it has
	// returned, with a warning on each vertex that goes without it. 0 stands for
	// DefaultCachePatience.
	CachePatience time.Duration
}
