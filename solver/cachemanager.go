package solver

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// cacheManager is the CacheManager of this package: a graph of keys in one
// storage, and the results they lead to in another. It has no state of its own.
//
// An ID means the same in every cache, so a key goes into the storage under its
// own ID. For each input of the key, each alternative has a link to it.
type cacheManager struct {
	id      string
	storage CacheKeyStorage
	results CacheResultStorage
	// store is storage as the manager asks it.
	store keyStore
	// alone has the manager itself: the caches of the keys it returns.
	alone *cacheSet
}

// CachePruner is implemented by the managers of this package.
type CachePruner interface {
	// ReleaseUnreferenced forgets every record whose result is gone. It looks at
	// each key once, and may run while builds do.
	ReleaseUnreferenced(context.Context) error
}

// NewCacheManager returns a manager that keeps keys in storage and results in
// results. Nil stands for a new one in memory. Managers of one ID are the same
// cache.
func NewCacheManager(id string, storage CacheKeyStorage, results CacheResultStorage) CacheManager {
	if storage == nil {
		storage = NewInMemoryCacheStorage()
	}
	if results == nil {
		results = NewInMemoryResultStorage()
	}
	m := &cacheManager{id: id, storage: storage, results: results, store: newKeyStore(storage)}
	m.alone = newCacheSet(m)
	return m
}

// NewInMemoryCacheManager returns a manager of its own ID that keeps everything
// in memory: see NewInMemoryResultStorage for what results it is for.
func NewInMemoryCacheManager() CacheManager {
	return NewCacheManager("memory-"+rand.Text(), nil, nil)
}

func (m *cacheManager) ID() string { return m.id }

// AnswersFromMemory implements MemoryAnswerer.
func (m *cacheManager) AnswersFromMemory() bool { return m.store.inMemory() }

// Query returns the keys sorted by ID.
func (m *cacheManager) Query(inp []CacheKeyWithSelector, inputIndex Index, dgst digest.Digest, outputIndex Index) ([]*CacheKey, error) {
	if len(inp) == 0 {
		return m.root(dgst, outputIndex), nil
	}
	var all []string
	for _, in := range inp {
		if in.CacheKey.CacheKey == nil {
			continue
		}
		dep := keyDep{keys: []*CacheKey{in.CacheKey.CacheKey}, selector: in.Selector}
		ids, err := m.store.targets(dep, dgst, inputIndex, outputIndex)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	return m.keys(all, dgst, outputIndex), nil
}

// leads reports whether any alternative of an input leads to the operation.
func (m *cacheManager) leads(dep keyDep, op digest.Digest, input, output Index) (found bool, err error) {
	defer recovered("looking keys up", &err)
	return m.store.leads(dep, op, input, output)
}

// match returns the keys of an operation that are reached from each of its inputs,
// through at least one of the keys that the input is known by, sorted by ID.
func (m *cacheManager) match(deps []keyDep, op digest.Digest, output Index) ([]*CacheKey, error) {
	if len(deps) == 0 {
		return m.root(op, output), nil
	}
	ids, err := m.store.match(deps, op, output)
	if err != nil {
		return nil, err
	}
	return m.keys(ids, op, output), nil
}

// root returns the key of an operation without inputs, if it is known.
func (m *cacheManager) root(dgst digest.Digest, output Index) []*CacheKey {
	id := string(rootKeyDigest(dgst, output))
	if !m.store.exists(id) {
		return nil
	}
	return m.keys([]string{id}, dgst, output)
}

// keys makes the keys of an operation that were found under ids, each once.
func (m *cacheManager) keys(ids []string, dgst digest.Digest, output Index) []*CacheKey {
	if len(ids) == 0 {
		return nil
	}
	if len(ids) > 1 {
		slices.Sort(ids)
		ids = slices.Compact(ids)
	}
	keys := make([]*CacheKey, len(ids))
	for i, id := range ids {
		keys[i] = &CacheKey{ID: id, digest: dgst, output: output, caches: m.alone}
	}
	return keys
}

// Records returns the records whose results exist, the newest first. Those whose
// results are gone are forgotten; if that fails, the error comes along with the
// records.
func (m *cacheManager) Records(ck *CacheKey) ([]*CacheRecord, error) {
	recs, gone, err := m.records(ck)
	for _, id := range gone {
		err = errors.Join(err, m.storage.Release(id))
	}
	return recs, err
}

// records is Records that forgets nothing: gone are the IDs of what is to be forgotten.
func (m *cacheManager) records(ck *CacheKey) (recs []*CacheRecord, gone []string, err error) {
	if ck == nil {
		return nil, nil, nil
	}
	var room [4]CacheResult
	stored, err := m.resultsOf(ck.ID, room[:0])
	if err != nil {
		return nil, nil, err
	}
	for _, res := range stored {
		if !m.results.Exists(res.ID) {
			gone = append(gone, res.ID)
			continue
		}
		recs = append(recs, &CacheRecord{ID: res.ID, CreatedAt: res.CreatedAt, manager: m, key: ck})
	}
	return recs, gone, nil
}

// resultsOf appends to buf what is stored under a key, the newest first.
func (m *cacheManager) resultsOf(id string, buf []CacheResult) ([]CacheResult, error) {
	buf, err := m.store.results(id, buf)
	if len(buf) > 1 {
		slices.SortFunc(buf, func(a, b CacheResult) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.ID, b.ID))
		})
	}
	return buf, err
}

// Load loads the result of a record, which may have been found by any manager of
// the same storage.
func (m *cacheManager) Load(ctx context.Context, rec *CacheRecord) (Result, error) {
	if rec == nil {
		return nil, ErrNotFound
	}
	res, err := m.stored(rec)
	if err != nil {
		return nil, err
	}
	return m.load(ctx, res)
}

// stored returns what the storage holds of a record now.
func (m *cacheManager) stored(rec *CacheRecord) (CacheResult, error) {
	if rec.key != nil {
		return m.storage.Load(rec.key.ID, rec.ID)
	}
	var id string
	err := m.storage.WalkIDsByResult(rec.ID, func(found string) error {
		id = found
		return nil
	})
	if err != nil {
		return CacheResult{}, err
	}
	return m.storage.Load(id, rec.ID)
}

func (m *cacheManager) load(ctx context.Context, res CacheResult) (Result, error) {
	r, err := m.results.Load(ctx, res)
	if err == nil && r == nil {
		err = fmt.Errorf("cache %s: result %s: %w", m.id, res.ID, ErrNotFound)
	}
	return r, err
}

// Save stores the result before the links, so that a link leads to something
// from its first moment.
func (m *cacheManager) Save(key *CacheKey, s Result) (*ExportableCacheKey, error) {
	saved, err := m.save(key, s)
	if err != nil {
		return nil, err
	}
	return &saved, nil
}

func (m *cacheManager) save(key *CacheKey, s Result) (saved ExportableCacheKey, err error) {
	if err := checkKey(key); err != nil {
		return saved, err
	}
	if isNil(s) {
		return saved, fmt.Errorf("cache key %s: no result to save", key.ID)
	}
	res, err := m.results.Save(s)
	if err != nil {
		return saved, err
	}
	if res.ID == "" {
		return saved, fmt.Errorf("cache key %s: the result storage gave the result no ID", key.ID)
	}
	if err := m.store.save(key, res); err != nil {
		return saved, err
	}
	return exportableIn(m, key), nil
}

// link adds the links from all that is known of a key's inputs to the key.
func (m *cacheManager) link(key *CacheKey) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return m.store.save(key, CacheResult{})
}

// forget removes the record's result from the storage, under every key.
func (m *cacheManager) forget(rec *CacheRecord) error {
	if rec == nil {
		return nil
	}
	return m.storage.Release(rec.ID)
}

// ReleaseUnreferenced implements CachePruner.
func (m *cacheManager) ReleaseUnreferenced(ctx context.Context) error {
	gone := map[string]bool{}
	err := m.storage.Walk(func(id string) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return m.storage.WalkResults(id, func(res CacheResult) error {
			if _, asked := gone[res.ID]; !asked {
				gone[res.ID] = !m.results.Exists(res.ID)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	// Only now: what is released while a walk is under way may or may not be seen
	// by it.
	for id, is := range gone {
		if !is {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := m.storage.Release(id); err != nil {
			return err
		}
	}
	return nil
}

// checkKey refuses a key that nothing can be stored under.
func checkKey(key *CacheKey) error {
	if key == nil {
		return errors.New("no cache key")
	}
	if key.ID == "" {
		return fmt.Errorf("cache key of %s: empty id", key.digest)
	}
	return nil
}
