package solver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// exportLog is a target that notes what it is told.
type exportLog struct {
	visited map[any]bool
	records []*exportLogRecord
}

type exportLogRecord struct {
	dgst    digest.Digest
	results int
	links   []string
}

func (t *exportLog) Visit(v any)        { t.visited[v] = true }
func (t *exportLog) Visited(v any) bool { return t.visited[v] }

func (t *exportLog) Add(dgst digest.Digest) CacheExporterRecord {
	r := &exportLogRecord{dgst: dgst}
	t.records = append(t.records, r)
	return r
}

func (r *exportLogRecord) AddResult(time.Time, *Remote) { r.results++ }

func (r *exportLogRecord) LinkFrom(src CacheExporterRecord, index int, selector string) {
	r.links = append(r.links, fmt.Sprintf("%s %d %s", src.(*exportLogRecord).dgst, index, selector))
}

// of returns the records of a key's operation.
func (t *exportLog) of(k *CacheKey) (out []*exportLogRecord) {
	for _, r := range t.records {
		if r.dgst == rootKeyDigest(k.digest, k.output) {
			out = append(out, r)
		}
	}
	return out
}

func exportTo(t *testing.T, k ExportableCacheKey, mode CacheExportMode) *exportLog {
	t.Helper()
	log := &exportLog{visited: map[any]bool{}}
	opt := CacheExportOpt{Mode: mode, Convert: func(context.Context, Result) (*Remote, error) { return &Remote{}, nil }}
	if _, err := k.Exporter.ExportTo(context.Background(), log, opt); err != nil {
		t.Fatal(err)
	}
	return log
}

// contract 25: a vertex's ExportCache overrides the mode.
func TestExportOverride(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		mode     CacheExportMode
		low, top *bool
		want     string
	}{
		{CacheExportModeMax, nil, nil, "low top"},
		{CacheExportModeMax, &no, nil, "top"},
		{CacheExportModeMin, nil, nil, "top"},
		{CacheExportModeMin, &yes, nil, "low top"},
		{CacheExportModeMin, nil, &no, "low"},
		{CacheExportModeMin, &no, &no, ""},
		{CacheExportModeRemoteOnly, &yes, &yes, ""},
	} {
		m := NewInMemoryCacheManager().(*cacheManager)
		low := testKey("low", dep(NewCacheKey("root", 0)))
		top := testKey("top", dep(low))
		low.export, top.export, top.caches = c.low, c.top, m.alone
		saveIn(t, m, low, "r-low")
		saveIn(t, m, top, "r-top")
		log := exportTo(t, newExportableKey(top), c.mode)
		var got []string
		for name, k := range map[string]*CacheKey{"low": low, "top": top} {
			if log.of(k)[0].results > 0 {
				got = append(got, name)
			}
		}
		if slices.Sort(got); strings.Join(got, " ") != c.want {
			t.Errorf("%d, %v: got %q, want %q", c.mode, c, got, c.want)
		}
	}
}

// contract 25: what the keys know and what several caches know is united, each
// link told once.
func TestExportUnitesKeysAndCaches(t *testing.T) {
	m1, m2 := NewInMemoryCacheManager().(*cacheManager), NewInMemoryCacheManager().(*cacheManager)
	a, b, content := NewCacheKey("a", 0), NewCacheKey("b", 0), NewCacheKey("content", contentOutput)
	k := testKey("op", keyDep{keys: []*CacheKey{a}, selector: "sel", content: content})
	saveIn(t, m1, k, "r")
	if err := m2.link(&CacheKey{ID: k.ID, digest: "op", deps: []keyDep{dep(b)}}); err != nil {
		t.Fatal(err)
	}
	// The second cache is named by a key of the same ID further down.
	again := &CacheKey{ID: k.ID, digest: "op", caches: m2.alone}
	top := testKey("top", dep(k, again))
	top.caches = m1.alone
	log := exportTo(t, newExportableKey(top), CacheExportModeMax)
	recs := log.of(k)
	want := []string{
		fmt.Sprintf("%s 0 sel", a.ID), fmt.Sprintf("%s 0 ", content.ID), fmt.Sprintf("%s 0 ", b.ID),
	}
	if len(recs) != 1 || len(recs[0].links) != 3 || recs[0].results != 1 || len(log.of(top)[0].links) != 1 {
		t.Fatalf("%+v", recs)
	}
	for _, l := range want {
		if !slices.Contains(recs[0].links, l) {
			t.Errorf("%q is missing in %q", l, recs[0].links)
		}
	}
	// It is the same each time.
	next := exportTo(t, newExportableKey(top), CacheExportModeMax)
	for i, r := range next.records {
		if o := log.records[i]; o.dgst != r.dgst || !slices.Equal(o.links, r.links) {
			t.Errorf("record %d: %+v, then %+v", i, o, r)
		}
	}
}

// A key that was saved in a cache it does not name is exported from that cache.
func TestExportOfSavedKey(t *testing.T) {
	m := NewInMemoryCacheManager().(*cacheManager)
	k := testKey("op", dep(NewCacheKey("a", 0)))
	saved, err := m.Save(k, testResult("r"))
	if err != nil {
		t.Fatal(err)
	}
	if log := exportTo(t, *saved, CacheExportModeMin); log.of(k)[0].results != 1 {
		t.Error("exported without its result")
	}
	k.caches = m.alone
	if saved, err = m.Save(k, testResult("r")); err != nil || saved.Exporter != CacheExporter((*keyExporter)(k)) {
		t.Error("a key that names its cache needs no more than itself")
	}
}

// foreign is a manager of another make.
type foreign struct{ CacheManager }

func (f *foreign) ID() string { return "foreign" }

// Of a manager of another make only records are known.
func TestExportFromForeignManager(t *testing.T) {
	m := NewInMemoryCacheManager().(*cacheManager)
	k := testKey("op", dep(NewCacheKey("a", 0)))
	saveIn(t, m, k, "r")
	k.caches = newCacheSet(&foreign{m}, &foreign{m}, nil)
	log := exportTo(t, newExportableKey(k), CacheExportModeMax)
	if log.of(k)[0].results != 1 || len(log.records) != 2 {
		t.Errorf("%+v", log.records)
	}
}

// contract 4: what an op has built is exported with its result, also where that stands
// below.
func TestExportBuiltKeys(t *testing.T) {
	m := NewInMemoryCacheManager().(*cacheManager)
	k, sub := testKey("op", dep(NewCacheKey("a", 0))), testKey("sub", dep(NewCacheKey("b", 0)))
	k.caches, sub.caches = m.alone, m.alone
	saveIn(t, m, k, "r")
	saveIn(t, m, sub, "s")
	far := &farExporter{}
	k.along.Store(&[]ExportableCacheKey{{}, newExportableKey(sub), {Exporter: far}})
	above := testKey("above", dep(k))
	calls := 0
	log := &exportLog{visited: map[any]bool{}}
	opt := CacheExportOpt{Convert: func(context.Context, Result) (*Remote, error) { calls++; return &Remote{}, nil }}
	for _, key := range newExportGroup([]*CacheKey{k, above}) {
		if recs, err := key.Exporter.ExportTo(context.Background(), log, opt); err != nil || len(recs) != 1 {
			t.Fatal(recs, err)
		}
	}
	if calls != 1 || len(log.of(sub)) != 1 || far.calls != 2 {
		t.Errorf("%d calls, %+v, %d of another's", calls, log.of(sub), far.calls)
	}
	far.err = errors.New("far away")
	if _, err := newExportableKey(k).Exporter.ExportTo(context.Background(), log, opt); !errors.Is(err, far.err) {
		t.Error("the error of what another exports was dropped")
	}
}

// farExporter is an exporter of another make.
type farExporter struct {
	calls int
	err   error
}

func (e *farExporter) ExportTo(context.Context, CacheExporterTarget, CacheExportOpt) ([]CacheExporterRecord, error) {
	e.calls++
	return nil, e.err
}

// forgetful is a target that keeps nothing that it visits, and makes no records.
type forgetful struct{}

func (forgetful) Visit(any)                              {}
func (forgetful) Visited(any) bool                       { return false }
func (*forgetful) Add(digest.Digest) CacheExporterRecord { return nil }

func TestExportToOddTargets(t *testing.T) {
	k := newExportableKey(NewCacheKey("a", 0))
	if _, err := k.Exporter.ExportTo(context.Background(), nil, CacheExportOpt{}); err == nil {
		t.Error("exported to nothing")
	}
	if _, err := k.Exporter.ExportTo(context.Background(), &forgetful{}, CacheExportOpt{}); err == nil {
		t.Error("exported to no record")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough of it"))
	if _, err := k.Exporter.ExportTo(ctx, &exportLog{visited: map[any]bool{}}, CacheExportOpt{}); err == nil || err.Error() != "enough of it" {
		t.Error(err)
	}
}
