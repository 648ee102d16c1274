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

// otherStorage hides the quicker ways of the storage in memory.
type otherStorage struct {
	CacheKeyStorage
	err error
}

func (s *otherStorage) WalkLinks(id string, l CacheInfoLink, fn func(string) error) error {
	if s.err != nil {
		return s.err
	}
	return s.CacheKeyStorage.WalkLinks(id, l, fn)
}

func eachManager(t *testing.T, run func(t *testing.T, m *cacheManager)) {
	t.Run("memory", func(t *testing.T) { run(t, NewInMemoryCacheManager().(*cacheManager)) })
	t.Run("other", func(t *testing.T) {
		run(t, NewCacheManager("other", &otherStorage{CacheKeyStorage: NewInMemoryCacheStorage()}, nil).(*cacheManager))
	})
}

// testResult is a result that is no more than its ID.
type testResult string

func (r testResult) ID() string                    { return string(r) }
func (r testResult) Sys() any                      { return nil }
func (r testResult) Release(context.Context) error { return nil }

// testKey makes the key of an operation with these inputs.
func testKey(op digest.Digest, deps ...keyDep) *CacheKey {
	return &CacheKey{ID: definitionID(op, len(deps), func(i int) (string, digest.Digest) {
		return deps[i].keys[0].ID, deps[i].selector
	}), digest: op, deps: deps}
}

func dep(keys ...*CacheKey) keyDep { return keyDep{keys: keys} }

func saveIn(t *testing.T, m *cacheManager, k *CacheKey, res string) {
	t.Helper()
	if _, err := m.Save(k, testResult(res)); err != nil {
		t.Fatal(err)
	}
}

// matchesIn are the keys that all inputs lead to; none of a storage that fails.
func matchesIn(m *cacheManager, op digest.Digest, deps ...keyDep) []*CacheKey {
	keys, err := m.match(deps, op, 0)
	if err != nil {
		return nil
	}
	return keys
}

// leads reports whether a key leads to an operation, seen through a selector.
func leads(m *cacheManager, k *CacheKey, op, selector digest.Digest) bool {
	found, err := m.leads(keyDep{keys: []*CacheKey{k}, selector: selector}, op, 0, 0)
	return found && err == nil
}

func matchedIn(m *cacheManager, op digest.Digest, deps ...keyDep) string {
	var out []string
	for _, k := range matchesIn(m, op, deps...) {
		out = append(out, k.ID)
	}
	return strings.Join(out, " ")
}

// contract 7, 10: a match needs every input, through any of its alternatives and
// with its selector.
func TestMatch(t *testing.T) {
	eachManager(t, func(t *testing.T, m *cacheManager) {
		a, b, c, content := NewCacheKey("a", 0), NewCacheKey("b", 0), NewCacheKey("c", 0), NewCacheKey("content", contentOutput)
		k := testKey("op", keyDep{keys: []*CacheKey{a}, selector: "sel", content: content}, dep(b, c))
		saveIn(t, m, k, "r")
		sel := func(k *CacheKey) keyDep { return keyDep{keys: []*CacheKey{k}, selector: "sel"} }
		for _, q := range []struct {
			deps []keyDep
			want string
		}{
			{[]keyDep{sel(a), dep(b)}, k.ID},
			{[]keyDep{sel(a), dep(c)}, k.ID},
			{[]keyDep{dep(a), dep(c)}, ""},
			{[]keyDep{sel(a), dep(a)}, ""},
			{[]keyDep{sel(a), {}}, ""},
			{[]keyDep{{keys: []*CacheKey{b}, content: content}, dep(a, b)}, k.ID},
			{[]keyDep{sel(b), dep(b)}, ""},
		} {
			if got := matchedIn(m, "op", q.deps...); got != q.want {
				t.Errorf("%v: got %q", q, got)
			}
		}
		if !leads(m, a, "op", "sel") || leads(m, a, "op", "") {
			t.Error("leads")
		}
		found := matchesIn(m, "op", sel(a), dep(b))
		if len(found) != 1 || found[0].Digest() != "op" || len(found[0].caches.all) != 1 || found[0].caches.all[0] != CacheManager(m) {
			t.Errorf("found %+v", found)
		}
		// One input with one key is the common case.
		one := testKey("one", dep(a))
		saveIn(t, m, one, "r")
		if got := matchedIn(m, "one", dep(a)); got != one.ID {
			t.Errorf("got %q", got)
		}
		if got := matchedIn(m, "one", dep(b)); got != "" {
			t.Errorf("got %q", got)
		}
		root := NewCacheKey("root", 0)
		if matchedIn(m, "root") != "" {
			t.Error("a root that is not there")
		}
		if saveIn(t, m, root, "r"); matchedIn(m, "root") != root.ID {
			t.Error("no root")
		}
	})
}

// lesson 23: what one input has 100,000 of is not gone through when another one
// has few; and a fan-in of 100,000 is matched once through.
func TestMatchHubs(t *testing.T) {
	const n = 100_000
	m := NewInMemoryCacheManager().(*cacheManager)
	hub := NewCacheKey("hub", 0)
	leaves := make([]*CacheKey, n)
	for i := range leaves {
		leaves[i] = NewCacheKey(digest.Digest(fmt.Sprint("leaf", i)), 0)
		saveIn(t, m, testKey("op", dep(hub), dep(leaves[i])), "r")
	}
	start := time.Now()
	for _, l := range leaves {
		if len(matchesIn(m, "op", dep(hub), dep(l))) != 1 {
			t.Fatal("no match")
		}
	}
	wide := make([]keyDep, n)
	for i := range wide {
		wide[i] = dep(leaves[i])
	}
	k := testKey("wide", wide...)
	saveIn(t, m, k, "r")
	if matchedIn(m, "wide", wide...) != k.ID {
		t.Fatal("no match")
	}
	if got := matchedIn(m, "op", dep(hub), dep(leaves...)); strings.Count(got, " ") != n-1 || !slices.IsSorted(strings.Fields(got)) {
		t.Fatal("not all")
	}
	if took := time.Since(start); took > time.Minute {
		t.Fatalf("took %v", took)
	}
}

// contract 9: links alone lead to a record that is there.
func TestLinkWithoutResult(t *testing.T) {
	eachManager(t, func(t *testing.T, m *cacheManager) {
		a, b := NewCacheKey("a", 0), NewCacheKey("b", 0)
		k := testKey("op", dep(a))
		saveIn(t, m, k, "r")
		for range 2 {
			if err := m.link(&CacheKey{ID: k.ID, digest: "op", deps: []keyDep{dep(b)}}); err != nil {
				t.Fatal(err)
			}
		}
		if got := matchedIn(m, "op", dep(b)); got != k.ID {
			t.Fatalf("got %q", got)
		}
		recs, err := m.Records(k)
		if err != nil || len(recs) != 1 {
			t.Fatal(recs, err)
		}
		// contract 15: a record that cannot be loaded is forgotten, and what led to it.
		if err := m.forget(recs[0]); err != nil || matchedIn(m, "op", dep(b)) != "" {
			t.Fatal(err)
		}
	})
}

func TestStorageErrorsAreReturned(t *testing.T) {
	broken := errors.New("broken")
	s := &otherStorage{CacheKeyStorage: NewInMemoryCacheStorage(), err: broken}
	m := NewCacheManager("m", s, nil).(*cacheManager)
	a := NewCacheKey("a", 0)
	if _, err := m.match([]keyDep{dep(a)}, "op", 0); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := m.match([]keyDep{dep(a), dep(a)}, "op", 0); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := m.leads(dep(a), "op", 0, 0); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := m.Query([]CacheKeyWithSelector{{CacheKey: newExportableKey(a)}}, 0, "op", 0); !errors.Is(err, broken) {
		t.Error(err)
	}
	if leads(m, a, "op", "") || matchedIn(m, "op", dep(a)) != "" {
		t.Error("an answer from a broken storage")
	}
	if m.AnswersFromMemory() || !NewInMemoryCacheManager().(*cacheManager).AnswersFromMemory() {
		t.Error("AnswersFromMemory")
	}
}

func BenchmarkManager(b *testing.B) {
	const n = 100_000
	keys := make([]*CacheKey, n+1)
	keys[0] = NewCacheKey("root", 0)
	for i := range n {
		keys[i+1] = testKey("op", dep(keys[i]))
	}
	b.Run("Save", func(b *testing.B) {
		for b.Loop() {
			m := NewInMemoryCacheManager().(*cacheManager)
			for _, k := range keys[1:] {
				if _, err := m.Save(k, testResult(k.ID)); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
	})
	m := NewInMemoryCacheManager().(*cacheManager)
	for _, k := range keys[1:] {
		_, _ = m.Save(k, testResult(k.ID))
	}
	b.Run("match", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if i++; len(matchesIn(m, "op", keys[i%n+1].deps...)) != 1 {
				b.Fatal("no match")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if i++; leads(m, keys[i%n+1], "other", "") {
				b.Fatal("match")
			}
		}
	})
	b.Run("Records", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if i++; i > 0 {
				if recs, _ := m.Records(keys[i%n+1]); len(recs) != 1 {
					b.Fatal("no record")
				}
			}
		}
	})
}
