package solver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// prunable is a result storage from which results vanish.
type prunable struct {
	solver.CacheResultStorage
	mu    sync.Mutex // guards gone and asked
	gone  map[string]bool
	asked int
}

func newPrunable() *prunable {
	return &prunable{CacheResultStorage: solver.NewInMemoryResultStorage(), gone: map[string]bool{}}
}

func (p *prunable) Exists(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return !p.gone[id]
}

func (p *prunable) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	if !p.Exists(res.ID) {
		return nil, solver.ErrNotFound
	}
	return p.CacheResultStorage.Load(ctx, res)
}

func (p *prunable) prune(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone[id] = true
}

// plain hides the quicker ways of the storage in memory.
type plain struct{ solver.CacheKeyStorage }

func eachStorage(t *testing.T, run func(t *testing.T, s solver.CacheKeyStorage)) {
	t.Run("memory", func(t *testing.T) { run(t, solver.NewInMemoryCacheStorage()) })
	t.Run("other", func(t *testing.T) { run(t, plain{solver.NewInMemoryCacheStorage()}) })
}

func TestManagerRoot(t *testing.T) {
	eachStorage(t, func(t *testing.T, s solver.CacheKeyStorage) {
		ctx := context.Background()
		m := solver.NewCacheManager("m", s, nil)
		dgst := digest.FromString("op")
		if keys, err := m.Query(nil, 0, dgst, 1); len(keys) != 0 || err != nil {
			t.Fatal(keys, err)
		}
		saved, err := m.Save(solver.NewCacheKey(dgst, 1), value("v"))
		if err != nil || saved.Exporter == nil {
			t.Fatal(saved, err)
		}
		keys, err := m.Query(nil, 0, dgst, 1)
		if err != nil || len(keys) != 1 || keys[0].ID != saved.ID || keys[0].Digest() != dgst || keys[0].Output() != 1 {
			t.Fatal(keys, err)
		}
		recs, err := m.Records(keys[0])
		if err != nil || len(recs) != 1 || recs[0].ID != "v" {
			t.Fatal(recs, err)
		}
		res, err := m.Load(ctx, recs[0])
		if err != nil || res != solver.Result(value("v")) {
			t.Fatal(res, err)
		}
		// A record that somebody else has made is found by its ID.
		if res, err := m.Load(ctx, &solver.CacheRecord{ID: "v"}); err != nil || res.ID() != "v" {
			t.Fatal(res, err)
		}
		if _, err := m.Load(ctx, &solver.CacheRecord{ID: "w"}); !errors.Is(err, solver.ErrNotFound) {
			t.Fatal(err)
		}
	})
}

func TestManagerQueryThroughInputs(t *testing.T) {
	eachStorage(t, func(t *testing.T, s solver.CacheKeyStorage) {
		m := solver.NewCacheManager("m", s, nil)
		in1, in2 := solver.NewCacheKey("in", 0), solver.NewCacheKey("in", 1)
		info := solver.CacheInfoLink{Input: 2, Output: 3, Digest: "op", Selector: "sel"}
		for _, l := range []modelLink{{in1.ID, info, "b"}, {in2.ID, info, "b"}, {in2.ID, info, "a"}} {
			if err := s.AddLink(l.from, l.link, l.to); err != nil {
				t.Fatal(err)
			}
		}
		query := func(sel digest.Digest, inp ...*solver.CacheKey) string {
			var list []solver.CacheKeyWithSelector
			for _, k := range inp {
				list = append(list, solver.CacheKeyWithSelector{Selector: sel, CacheKey: solver.ExportableCacheKey{CacheKey: k}})
			}
			keys, err := m.Query(list, 2, "op", 3)
			if err != nil {
				t.Fatal(err)
			}
			var out string
			for _, k := range keys {
				out += k.ID
			}
			return out
		}
		// contract 10: the selector belongs to the key.
		for _, c := range []struct{ got, want string }{
			{query("sel", in1), "b"}, {query("sel", in2), "ab"}, {query("sel", in1, in2, nil), "ab"}, {query("", in1, in2), ""},
		} {
			if c.got != c.want {
				t.Errorf("got %q, want %q", c.got, c.want)
			}
		}
	})
}

// contract 14: the newest record comes first, then the order of IDs decides.
func TestManagerRecordsAreOrdered(t *testing.T) {
	s := solver.NewInMemoryCacheStorage()
	results := newPrunable()
	m := solver.NewCacheManager("m", s, results)
	now := time.Now()
	for id, age := range map[string]time.Duration{"old": time.Hour, "b": 0, "a": 0, "older": 2 * time.Hour} {
		_ = s.AddResult("k", solver.CacheResult{ID: id, CreatedAt: now.Add(-age)})
	}
	results.prune("old")
	recs, err := m.Records(&solver.CacheKey{ID: "k"})
	if err != nil || len(recs) != 3 || recs[0].ID != "a" || recs[1].ID != "b" || recs[2].ID != "older" {
		t.Fatal(recs, err)
	}
	// contract 15: the one that is gone is forgotten.
	if _, err := s.Load("k", "old"); !errors.Is(err, solver.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestManagerRefusesNonsense(t *testing.T) {
	m := solver.NewInMemoryCacheManager()
	if m.ID() == solver.NewInMemoryCacheManager().ID() {
		t.Error("two managers of one ID")
	}
	if _, err := m.Save(nil, value("v")); err == nil {
		t.Error("saved under no key")
	}
	if _, err := m.Save(&solver.CacheKey{}, value("v")); err == nil {
		t.Error("saved under a key without an ID")
	}
	if _, err := m.Save(solver.NewCacheKey("op", 0), nil); err == nil {
		t.Error("saved no result")
	}
	if recs, err := m.Records(nil); len(recs) != 0 || err != nil {
		t.Error(recs, err)
	}
	if _, err := m.Load(context.Background(), nil); !errors.Is(err, solver.ErrNotFound) {
		t.Error(err)
	}
}

// contract 24: cleaning asks once for each result, and takes out what led to it.
func TestReleaseUnreferenced(t *testing.T) {
	eachStorage(t, func(t *testing.T, s solver.CacheKeyStorage) {
		const n = 20_000
		results := newPrunable()
		m := solver.NewCacheManager("m", s, results)
		keys := ids(n)
		for i, k := range keys {
			_ = s.AddResult(k, solver.CacheResult{ID: fmt.Sprint("r", i/2)})
			addLink(s, "base", "op", "", k)
			if i > n/4 {
				results.prune(fmt.Sprint("r", i/2))
			}
		}
		if err := m.(solver.CachePruner).ReleaseUnreferenced(context.Background()); err != nil {
			t.Fatal(err)
		}
		left := 0
		_ = s.Walk(func(string) error { left++; return nil })
		if left != n/4+1 || results.asked != n/2 {
			t.Fatalf("%d left, asked %d times", left, results.asked)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := m.(solver.CachePruner).ReleaseUnreferenced(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

// A handle counts; what is saved of it is the result itself.
func TestMemoryResultsKeepTheResultItself(t *testing.T) {
	ctx := context.Background()
	s := solver.NewInMemoryResultStorage()
	main := &counted{id: "r"}
	shared := solver.NewSharedCachedResult(solver.NewCachedResult(main, nil))
	saved, err := s.Save(shared.Clone())
	if err != nil || saved.ID != "r" || saved.CreatedAt.IsZero() || !s.Exists("r") {
		t.Fatal(saved, err)
	}
	res, err := s.Load(ctx, saved)
	if err != nil || res != solver.Result(main) {
		t.Fatal(res, err)
	}
	if remote, err := s.LoadRemote(ctx, saved); remote != nil || err != nil {
		t.Fatal(remote, err)
	}
	if _, err := s.Load(ctx, solver.CacheResult{ID: "other"}); !errors.Is(err, solver.ErrNotFound) || s.Exists("other") {
		t.Fatal(err)
	}
	if _, err := s.Save(nil); err == nil {
		t.Fatal("saved nothing")
	}
}
