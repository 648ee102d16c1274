package solver_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
)

// target is an export target that keeps what it is told.
type target struct {
	visited map[any]bool
	records []*record
}

type record struct {
	dgst    digest.Digest
	results []string
	links   []recordLink
}

type recordLink struct {
	src      *record
	index    int
	selector string
}

func newTarget() *target { return &target{visited: map[any]bool{}} }

func (t *target) Visit(v any)        { t.visited[v] = true }
func (t *target) Visited(v any) bool { return t.visited[v] }

func (t *target) Add(dgst digest.Digest) solver.CacheExporterRecord {
	r := &record{dgst: dgst}
	t.records = append(t.records, r)
	return r
}

func (r *record) AddResult(_ time.Time, remote *solver.Remote) {
	r.results = append(r.results, string(remote.Descriptors[0].Digest))
}

func (r *record) LinkFrom(src solver.CacheExporterRecord, index int, selector string) {
	r.links = append(r.links, recordLink{src.(*record), index, selector})
}

// of returns the one record of a digest.
func (t *target) of(tb testing.TB, dgst digest.Digest) *record {
	tb.Helper()
	var found *record
	for _, r := range t.records {
		if r.dgst == dgst {
			if found != nil {
				tb.Fatalf("two records of %s", dgst)
			}
			found = r
		}
	}
	if found == nil {
		tb.Fatalf("no record of %s", dgst)
	}
	return found
}

// remoteOf is the transferable form of a result.
func remoteOf(id string) *solver.Remote {
	return &solver.Remote{Descriptors: []ocispec.Descriptor{{Digest: digest.Digest(id)}}}
}

// transferable is a result storage in which some results are transferable as
// they are, and some fail.
type transferable struct {
	solver.CacheResultStorage
	remotes map[string]bool
	errs    map[string]error
}

func (s *transferable) LoadRemote(_ context.Context, res solver.CacheResult) (*solver.Remote, error) {
	if s.remotes[res.ID] {
		return remoteOf(res.ID), nil
	}
	return nil, s.errs[res.ID]
}

// cacheGraph is a cache whose keys are made in the storage. A key "a" belongs to the
// operation "op-a"; its result is "a".
type cacheGraph struct {
	t       testing.TB
	storage solver.CacheKeyStorage
	results *transferable
	cache   solver.CacheManager
	anchor  *counted // a result that is gone

	mu        sync.Mutex // guards converted
	converted []string
}

func newCacheGraph(t testing.TB) *cacheGraph {
	g := &cacheGraph{t: t, storage: solver.NewInMemoryCacheStorage()}
	g.results = &transferable{CacheResultStorage: solver.NewInMemoryResultStorage(), remotes: map[string]bool{}, errs: map[string]error{}}
	g.anchor = &counted{id: "anchor"}
	g.results.errs["anchor"] = solver.ErrNotFound
	g.cache = solver.NewCacheManager("graph", g.storage, g.results)
	return g
}

// rec gives a key a result of an age.
func (g *cacheGraph) rec(key, result string, age time.Duration) {
	g.t.Helper()
	res, err := g.results.Save(&counted{id: result})
	if err != nil {
		g.t.Fatal(err)
	}
	res.CreatedAt = time.Unix(1_000_000, 0).Add(-age)
	if err := g.storage.AddResult(key, res); err != nil {
		g.t.Fatal(err)
	}
}

// recs gives keys results of their own names.
func (g *cacheGraph) recs(keys ...string) {
	g.t.Helper()
	for _, k := range keys {
		g.rec(k, k, 0)
	}
}

// link makes from an input of the operation of to.
func (g *cacheGraph) link(input int, from, to string, selector digest.Digest) {
	g.t.Helper()
	err := g.storage.AddLink(from, solver.CacheInfoLink{Input: solver.Index(input), Digest: digest.Digest("op-" + to), Selector: selector}, to)
	if err != nil {
		g.t.Fatal(err)
	}
}

// op is what a key's record is called in an export.
func op(key string) digest.Digest { return digest.FromString("op-" + key + "@0") }

func (g *cacheGraph) convert(_ context.Context, res solver.Result) (*solver.Remote, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.converted = append(g.converted, res.ID())
	return remoteOf("converted-" + res.ID()), nil
}

// key is the exportable key of a key in the storage. It gets a record for that,
// which then is gone.
func (g *cacheGraph) key(id string) *solver.ExportableCacheKey {
	g.t.Helper()
	k, err := g.cache.Save(&solver.CacheKey{ID: id}, g.anchor)
	if err != nil {
		g.t.Fatal(err)
	}
	return k
}

func (g *cacheGraph) export(mode solver.CacheExportMode, id string) *target {
	g.t.Helper()
	t := newTarget()
	recs, err := g.key(id).Exporter.ExportTo(context.Background(), t, solver.CacheExportOpt{Mode: mode, Convert: g.convert})
	if err != nil {
		g.t.Fatal(err)
	}
	if len(recs) != 1 || !slices.Contains(t.records, recs[0].(*record)) {
		g.t.Fatalf("%d records for one key", len(recs))
	}
	return t
}

// exported lists what has results: "key=result".
func (t *target) exported(keys ...string) string {
	var out []string
	for _, k := range keys {
		for _, r := range t.records {
			if r.dgst == op(k) {
				out = append(out, k+"="+strings.Join(r.results, "+"))
			}
		}
	}
	return strings.Join(out, " ")
}
