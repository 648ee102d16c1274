package solver_test

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// What follows does not compile unless every exported name that the library
// promises is there, with its signature. Conversions of struct types without tags
// demand the same fields, in the same order where none may be added.
var (
	_ error = solver.ErrNotFound
	_       = errors.Is(nil, solver.ErrNotFound)

	// Functions.
	_ func(digest.Digest, solver.Index) *solver.CacheKey                                  = solver.NewCacheKey
	_ func() solver.CacheKeyStorage                                                       = solver.NewInMemoryCacheStorage
	_ func(string, solver.CacheKeyStorage, solver.CacheResultStorage) solver.CacheManager = solver.NewCacheManager
	_ func() solver.CacheManager                                                          = solver.NewInMemoryCacheManager
	_ func() solver.CacheResultStorage                                                    = solver.NewInMemoryResultStorage
	_ func(solver.Result, []solver.ExportableCacheKey) solver.CachedResult                = solver.NewCachedResult
	_ func(solver.CachedResult) *solver.SharedCachedResult                                = solver.NewSharedCachedResult
	_ func(solver.Result) *solver.SharedResult                                            = solver.NewSharedResult
	_ func(solver.SolverOpt) *solver.Solver                                               = solver.NewSolver
	_ func(*solver.Solver, string) (*solver.Job, error)                                   = (*solver.Solver).NewJob
	_ func(*solver.Solver, string) (*solver.Job, error)                                   = (*solver.Solver).Get
	_ func(*solver.Solver)                                                                = (*solver.Solver).Close
	_ func(*solver.Job, context.Context, solver.Edge) (solver.CachedResult, error)        = (*solver.Job).Build
	_ func(*solver.Job, context.Context) context.Context                                  = (*solver.Job).Context
	_ func(*solver.Job) error                                                             = (*solver.Job).Discard
	_ func(*solver.Job, context.Context, string, func(interface{}) error) error           = (*solver.Job).EachValue
	_ func(*solver.Job, string, interface{})                                              = (*solver.Job).SetValue
	_ func(*solver.Job, context.Context, chan *client.SolveStatus) error                  = (*solver.Job).Status
	_ func(*solver.CacheKey) [][]solver.CacheKeyWithSelector                              = (*solver.CacheKey).Deps
	_ func(*solver.CacheKey) digest.Digest                                                = (*solver.CacheKey).Digest
	_ func(*solver.CacheKey) solver.Index                                                 = (*solver.CacheKey).Output
	_ func(*solver.SharedResult) solver.Result                                            = (*solver.SharedResult).Clone
	_ func(*solver.SharedResult, context.Context) error                                   = (*solver.SharedResult).Release
	_ func(*solver.SharedCachedResult) solver.CachedResult                                = (*solver.SharedCachedResult).Clone
	_ func(*solver.SharedCachedResult, context.Context) error                             = (*solver.SharedCachedResult).Release
	_ solver.ResolveOpFunc                                                                = func(solver.Vertex, solver.Builder) (solver.Op, error) { return nil, nil }
	_ solver.ResultBasedCacheFunc                                                         = func(context.Context, solver.Result) (digest.Digest, error) { return "", nil }
	_ func(context.Context, solver.Result) (digest.Digest, error)                         = solver.ResultBasedCacheFunc(nil)
	_ func(solver.Vertex, solver.Builder) (solver.Op, error)                              = solver.ResolveOpFunc(nil)
	_ [3]struct{}                                                                         = [solver.CacheExportModeRemoteOnly + 1]struct{}{}
	_ [2]struct{}                                                                         = [solver.CacheExportModeMax + 1]struct{}{}
	_ [1]struct{}                                                                         = [solver.CacheExportModeMin + 1]struct{}{}
	_ solver.CacheExportMode                                                              = solver.CacheExportModeMin
	_ int                                                                                 = int(solver.CacheExportModeMin) + int(solver.Index(0))

	// Structs: by the names and types of their fields.
	_ = solver.CacheExportOpt{Convert: (func(context.Context, solver.Result) (*solver.Remote, error))(nil), Mode: solver.CacheExportModeMax}
	_ = solver.CacheInfoLink(struct {
		Input    solver.Index  `json:"Input,omitempty"`
		Output   solver.Index  `json:"Output,omitempty"`
		Digest   digest.Digest `json:"Digest,omitempty"`
		Selector digest.Digest `json:"Selector,omitempty"`
	}{})
	_ = solver.CacheLink(struct {
		Source   digest.Digest `json:",omitempty"`
		Input    solver.Index  `json:",omitempty"`
		Output   solver.Index  `json:",omitempty"`
		Base     digest.Digest `json:",omitempty"`
		Selector digest.Digest `json:",omitempty"`
	}{})
	_ = solver.CacheKey{ID: ""}
	_ = solver.CacheKeyWithSelector{Selector: digest.Digest(""), CacheKey: solver.ExportableCacheKey{}}
	_ = solver.CacheMap(struct {
		Digest digest.Digest
		Deps   []struct {
			Selector          digest.Digest
			ComputeDigestFunc solver.ResultBasedCacheFunc
		}
	}{})
	// An alias: code that spells the type out, as the seed does, and code that names it mix.
	_ []solver.CacheMapDep = []struct {
		Selector          digest.Digest
		ComputeDigestFunc solver.ResultBasedCacheFunc
	}{}
	_ = solver.CacheRecord{ID: "", Size: int(0), CreatedAt: time.Time{}, Priority: int(0)}
	_ = solver.CacheResult(struct {
		CreatedAt time.Time
		ID        string
	}{})
	_ = solver.Edge(struct {
		Index  solver.Index
		Vertex solver.Vertex
	}{})
	_ = solver.ExportableCacheKey{CacheKey: (*solver.CacheKey)(nil), Exporter: solver.CacheExporter(nil)}
	_ = solver.Job{SessionID: ""}
	_ = solver.Remote{Descriptors: []ocispec.Descriptor(nil), Provider: content.Provider(nil)}
	_ = solver.SharedCachedResult{SharedResult: (*solver.SharedResult)(nil), CachedResult: solver.CachedResult(nil)}
	_ = solver.SolverOpt{ResolveOpFunc: solver.ResolveOpFunc(nil), DefaultCache: solver.CacheManager(nil)}
	_ = solver.VertexOptions{IgnoreCache: false, CacheSources: []solver.CacheManager(nil), Description: map[string]string(nil), ExportCache: (*bool)(nil)}

	// The status stream has the fields of the peer's client package.
	_ = client.SolveStatus{Vertexes: []*client.Vertex(nil), Statuses: []*client.VertexStatus(nil), Logs: []*client.VertexLog(nil), Warnings: []*client.VertexWarning(nil)}
	_ = client.Vertex{Digest: digest.Digest(""), Inputs: []digest.Digest(nil), Name: "", Started: (*time.Time)(nil), Completed: (*time.Time)(nil), Cached: false, Error: "", ProgressGroup: (*client.ProgressGroup)(nil)}
	_ = client.VertexStatus{ID: "", Vertex: digest.Digest(""), Name: "", Total: int64(0), Current: int64(0), Timestamp: time.Time{}, Started: (*time.Time)(nil), Completed: (*time.Time)(nil)}
	_ = client.VertexLog{Vertex: digest.Digest(""), Stream: int(0), Data: []byte(nil), Timestamp: time.Time{}}
	_ = client.VertexWarning{Vertex: digest.Digest(""), Level: int(0), Short: []byte(nil), Detail: [][]byte(nil), URL: "", SourceInfo: (*client.SourceInfo)(nil), Range: []*client.Range(nil)}
)

// The interfaces have these methods and no more: each can be implemented by a type
// that has no others, and has all of them.
type (
	apiVertex interface {
		Digest() digest.Digest
		Sys() interface{}
		Options() solver.VertexOptions
		Inputs() []solver.Edge
		Name() string
	}
	apiOp interface {
		CacheMap(context.Context, int) (*solver.CacheMap, bool, error)
		Exec(ctx context.Context, inputs []solver.Result) (outputs []solver.Result, err error)
	}
	apiResult interface {
		ID() string
		Release(context.Context) error
		Sys() interface{}
	}
	apiCachedResult interface {
		apiResult
		CacheKeys() []solver.ExportableCacheKey
	}
	apiBuilder interface {
		Build(ctx context.Context, e solver.Edge) (solver.CachedResult, error)
		Context(ctx context.Context) context.Context
		EachValue(ctx context.Context, key string, fn func(interface{}) error) error
	}
	apiCacheManager interface {
		ID() string
		Query(inp []solver.CacheKeyWithSelector, inputIndex solver.Index, dgst digest.Digest, outputIndex solver.Index) ([]*solver.CacheKey, error)
		Records(ck *solver.CacheKey) ([]*solver.CacheRecord, error)
		Load(ctx context.Context, rec *solver.CacheRecord) (solver.Result, error)
		Save(key *solver.CacheKey, s solver.Result) (*solver.ExportableCacheKey, error)
	}
	apiCacheKeyStorage interface {
		Exists(id string) bool
		Walk(fn func(id string) error) error
		WalkResults(id string, fn func(solver.CacheResult) error) error
		Load(id string, resultID string) (solver.CacheResult, error)
		AddResult(id string, res solver.CacheResult) error
		Release(resultID string) error
		WalkIDsByResult(resultID string, fn func(string) error) error
		AddLink(id string, link solver.CacheInfoLink, target string) error
		WalkLinks(id string, link solver.CacheInfoLink, fn func(id string) error) error
		HasLink(id string, link solver.CacheInfoLink, target string) bool
		WalkBacklinks(id string, fn func(id string, link solver.CacheInfoLink) error) error
	}
	apiCacheResultStorage interface {
		Save(solver.Result) (solver.CacheResult, error)
		Load(ctx context.Context, res solver.CacheResult) (solver.Result, error)
		LoadRemote(ctx context.Context, res solver.CacheResult) (*solver.Remote, error)
		Exists(id string) bool
	}
	apiCacheExporter interface {
		ExportTo(ctx context.Context, t solver.CacheExporterTarget, opt solver.CacheExportOpt) ([]solver.CacheExporterRecord, error)
	}
	apiCacheExporterTarget interface {
		Add(dgst digest.Digest) solver.CacheExporterRecord
		Visit(interface{})
		Visited(interface{}) bool
	}
	apiCacheExporterRecord interface {
		AddResult(createdAt time.Time, result *solver.Remote)
		LinkFrom(src solver.CacheExporterRecord, index int, selector string)
	}
)

// Assignable in both directions: the same methods.
var (
	_ solver.Vertex              = apiVertex(nil)
	_ apiVertex                  = solver.Vertex(nil)
	_ solver.Op                  = apiOp(nil)
	_ apiOp                      = solver.Op(nil)
	_ solver.Result              = apiResult(nil)
	_ apiResult                  = solver.Result(nil)
	_ solver.CachedResult        = apiCachedResult(nil)
	_ apiCachedResult            = solver.CachedResult(nil)
	_ solver.Builder             = apiBuilder(nil)
	_ apiBuilder                 = solver.Builder(nil)
	_ solver.CacheManager        = apiCacheManager(nil)
	_ apiCacheManager            = solver.CacheManager(nil)
	_ solver.CacheKeyStorage     = apiCacheKeyStorage(nil)
	_ apiCacheKeyStorage         = solver.CacheKeyStorage(nil)
	_ solver.CacheResultStorage  = apiCacheResultStorage(nil)
	_ apiCacheResultStorage      = solver.CacheResultStorage(nil)
	_ solver.CacheExporter       = apiCacheExporter(nil)
	_ apiCacheExporter           = solver.CacheExporter(nil)
	_ solver.CacheExporterTarget = apiCacheExporterTarget(nil)
	_ apiCacheExporterTarget     = solver.CacheExporterTarget(nil)
	_ solver.CacheExporterRecord = apiCacheExporterRecord(nil)
	_ apiCacheExporterRecord     = solver.CacheExporterRecord(nil)
)
