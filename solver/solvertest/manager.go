package solvertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// Manager is what the suite CacheManager tries.
type Manager struct {
	Cache solver.CacheManager
	// Results are of the kind that the cache is for.
	Results ResultMaker
	// Again, if set, opens a further manager of the same ID: it is the same cache.
	Again func(t *testing.T) solver.CacheManager
	// Prune, if set, has the result of a record vanish, as a garbage collector
	// would.
	Prune func(rec *solver.CacheRecord)
}

// CacheManager proves an implementation of solver.CacheManager. open returns a
// cache that is empty, and sees to it that it is closed when the test ends: by
// then the suite has released every result, made or loaded, once. It is called
// many times.
//
//	func TestCache(t *testing.T) {
//		solvertest.CacheManager(t, func(t *testing.T) solvertest.Manager {
//			return solvertest.Manager{Cache: NewMyCache(t.TempDir())}
//		})
//	}
//
// Run it with -race too. The keys that are saved are those that a solver makes.
// What a key is called is the cache's own affair: the suite asks what it leads to.
func CacheManager(t *testing.T, open func(t *testing.T) Manager) {
	tests := []struct {
		name string
		run  func(*testing.T, Manager)
	}{
		{"Identity", testIdentity},
		{"Root", testRoot},
		{"RootOutputs", testRootOutputs},
		{"QueryIsExact", testQueryIsExact},
		{"QueryBySelector", testQueryBySelector},
		{"QueryUnion", testQueryUnion},
		{"SeveralInputs", testSeveralInputs},
		{"ContentKeys", testContentKeys},
		{"SavedKeyIsUsable", testSavedKeyIsUsable},
		{"EqualKeysSavedTwice", testEqualKeysSavedTwice},
		{"SeveralUnderOneKey", testSeveralUnderOneKey},
		{"UnknownRecord", testUnknownRecord},
		{"Borrowed", testManagerBorrows},
		{"Chain", testChain},
		{"Pruned", testRecordPruned},
		{"PrunedChain", testChainPruned},
		{"OfOneID", testManagersOfOneID},
		{"Concurrent", testConcurrentManager},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// recorder is a cache that notes the keys that are saved in it.
type recorder struct {
	solver.CacheManager
	mu    sync.Mutex // guards saved
	saved []*solver.CacheKey
}

func (r *recorder) Save(key *solver.CacheKey, _ solver.Result) (*solver.ExportableCacheKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved = append(r.saved, key)
	return &solver.ExportableCacheKey{CacheKey: key}, nil
}

// keyOf has a solver build an output of a node, and returns the key that it saves.
func keyOf(t *testing.T, n *Node, output int) *solver.CacheKey {
	t.Helper()
	rec := &recorder{CacheManager: solver.NewInMemoryCacheManager()}
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: Resolve, DefaultCache: rec})
	defer s.Close()
	j, err := s.NewJob("key")
	noError(t, err)
	r, err := j.Build(context.Background(), n.Edge(output))
	noError(t, err)
	noError(t, r.Release(context.Background()))
	for _, k := range slices.Backward(rec.saved) {
		if k.Digest() == opDigest(n) && k.Output() == solver.Index(output) {
			return k
		}
	}
	t.Fatalf("no key of %s was saved", n.ID)
	return nil
}

// opDigest is the digest of a node's cache map.
func opDigest(n *Node) digest.Digest { return digest.FromString("op " + n.key()) }

// keys are cache keys seen through a selector.
func keys(selector digest.Digest, list ...*solver.CacheKey) []solver.CacheKeyWithSelector {
	var out []solver.CacheKeyWithSelector
	for _, k := range list {
		out = append(out, solver.CacheKeyWithSelector{Selector: selector, CacheKey: solver.ExportableCacheKey{CacheKey: k}})
	}
	return out
}

// save saves a new result under a key, and returns its value.
func (m Manager) save(key *solver.CacheKey) (saved *solver.ExportableCacheKey, value string, err error) {
	l := m.Results.lend()
	saved, err = m.Cache.Save(key, l.handle)
	if err == nil && (saved == nil || saved.CacheKey == nil || saved.ID == "") {
		err = fmt.Errorf("Save returned the key %v", saved)
	}
	return saved, l.value, errors.Join(err, l.kept(), l.giveBack())
}

func (m Manager) mustSave(t *testing.T, key *solver.CacheKey) (value string) {
	t.Helper()
	_, value, err := m.save(key)
	noError(t, err)
	return value
}

// records are the records of a key, which must be newest first.
func (m Manager) records(key *solver.CacheKey) ([]*solver.CacheRecord, error) {
	recs, err := m.Cache.Records(key)
	if err != nil {
		return nil, err
	}
	for i := range recs {
		if i > 0 && recs[i].CreatedAt.After(recs[i-1].CreatedAt) {
			return nil, fmt.Errorf("records of %q: %v comes before %v", key.ID, recs[i-1].CreatedAt, recs[i].CreatedAt)
		}
	}
	return recs, nil
}

// load loads a record and releases it.
func (m Manager) load(rec *solver.CacheRecord) (value string, err error) {
	r, err := m.Cache.Load(context.Background(), rec)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", errors.New("Load returned neither a result nor an error")
	}
	return m.Results.value(r), r.Release(context.Background())
}

// values are what keys lead to. A record whose result is gone leads to nothing.
func (m Manager) values(list []*solver.CacheKey) ([]string, error) {
	var values []string
	seen := map[string]bool{}
	for _, k := range list {
		if k == nil || k.ID == "" {
			return nil, fmt.Errorf("the key %v", k)
		}
		if seen[k.ID] {
			return nil, fmt.Errorf("the key %q is there twice", k.ID)
		}
		seen[k.ID] = true
		recs, err := m.records(k)
		if err != nil {
			return nil, err
		}
		for _, rec := range recs {
			value, err := m.load(rec)
			if errors.Is(err, solver.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
	}
	return values, nil
}

// wantQuery queries an output of an operation, and wants the keys to lead to some
// values. It returns the keys.
func (m Manager) wantQuery(t *testing.T, inp []solver.CacheKeyWithSelector, input solver.Index, op digest.Digest, output solver.Index, want ...string) []*solver.CacheKey {
	t.Helper()
	found, err := m.Cache.Query(inp, input, op, output)
	noError(t, err)
	got, err := m.values(found)
	wantIDs(t, fmt.Sprintf("output %d of %s, by input %d", output, op, input), got, err, want...)
	return found
}

func wantIDs(t *testing.T, what string, got []string, err error, want ...string) {
	t.Helper()
	noError(t, differ(what, slices.Sorted(slices.Values(got)), err, slices.Sorted(slices.Values(want)), nil))
}
