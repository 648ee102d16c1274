package solver_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// plainResults makes results that stay valid after their release, as the storage
// in memory wants them.
var plainResults = solvertest.ResultMaker{
	New:   func() solver.Result { return value(solvertest.NewResult("", nil).ID()) },
	Value: solvertest.Value,
}

// countedResults is a storage for results whose holds are counted, and a maker of
// such. When the test ends, each must have been released once.
func countedResults(t *testing.T) (*solvertest.Results, solvertest.ResultMaker) {
	w := newWorld(t)
	w.results.Now = (&clock{}).now
	t.Cleanup(w.released)
	return w.results, solvertest.ResultMaker{
		New: func() solver.Result { return solvertest.NewResult(fmt.Sprint("made-", w.jobs.Add(1)), w.stats) },
	}
}

// contract 21, 24
func TestMemoryResultsSuite(t *testing.T) {
	solvertest.CacheResultStorage(t, func(*testing.T) solvertest.ResultStorage {
		return solvertest.ResultStorage{Storage: solver.NewInMemoryResultStorage(), Results: plainResults}
	})
}

// contract 21, 24
func TestCountedResultsSuite(t *testing.T) {
	t.Run("Local", func(t *testing.T) {
		solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
			results, maker := countedResults(t)
			return solvertest.ResultStorage{Storage: results, Results: maker, Prune: results.Prune}
		})
	})
	t.Run("Transferable", func(t *testing.T) {
		solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
			results, maker := countedResults(t)
			results.Remote = blobOf
			return solvertest.ResultStorage{Storage: results, Results: maker, Prune: results.Prune}
		})
	})
}

// contract 21, 24: the storage of the examples is one too.
func TestExampleResultsSuite(t *testing.T) {
	solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
		s := &shelf{texts: map[string]string{}}
		return solvertest.ResultStorage{
			Storage: s,
			Results: solvertest.ResultMaker{New: func() solver.Result { return text(solvertest.NewResult("", nil).ID()) }, Value: textOf},
			Prune:   func(id string) { delete(s.texts, id) },
		}
	})
}

// blobOf is a value in transferable form.
func blobOf(value string) *solver.Remote {
	return &solver.Remote{
		Descriptors: []ocispec.Descriptor{{MediaType: "text/plain", Digest: digest.FromString(value), Size: int64(len(value))}},
		Provider:    blob(value),
	}
}

// blob provides itself.
type blob string

func (b blob) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return &blobReader{bytes.NewReader([]byte(b))}, nil
}

type blobReader struct{ *bytes.Reader }

func (*blobReader) Close() error { return nil }

// suiteManager is a manager over a storage for keys, as the suite wants it.
func suiteManager(t *testing.T, s solver.CacheKeyStorage) solvertest.Manager {
	results, maker := countedResults(t)
	open := func(*testing.T) solver.CacheManager { return solver.NewCacheManager("suite", s, results) }
	return solvertest.Manager{
		Cache: open(t), Again: open, Results: maker,
		Prune: func(rec *solver.CacheRecord) { results.Prune(rec.ID) },
	}
}

// contract 21: a manager is the same over the storage in memory, which it knows,
// and over any other.
func TestManagerSuite(t *testing.T) {
	t.Run("Memory", func(t *testing.T) {
		solvertest.CacheManager(t, func(t *testing.T) solvertest.Manager {
			return suiteManager(t, solver.NewInMemoryCacheStorage())
		})
	})
	t.Run("OtherStorage", func(t *testing.T) {
		solvertest.CacheManager(t, func(t *testing.T) solvertest.Manager {
			return suiteManager(t, plain{solver.NewInMemoryCacheStorage()})
		})
	})
	t.Run("Default", func(t *testing.T) {
		solvertest.CacheManager(t, func(*testing.T) solvertest.Manager {
			return solvertest.Manager{Cache: solver.NewInMemoryCacheManager(), Results: plainResults}
		})
	})
}

// contract 21: so is one that implements the interface and nothing else, whether
// its keys and records have more than an ID or not.
func TestForeignManagerSuite(t *testing.T) {
	for name, bare := range map[string]bool{"Foreign": false, "Bare": true} {
		t.Run(name, func(t *testing.T) {
			solvertest.CacheManager(t, func(t *testing.T) solvertest.Manager {
				m := suiteManager(t, solver.NewInMemoryCacheStorage())
				wrap := func(inner solver.CacheManager) solver.CacheManager {
					return &simManager{inner: inner, w: &simWorld{c: &simCase{}}, bare: bare}
				}
				m.Cache = wrap(m.Cache)
				again := m.Again
				m.Again = func(t *testing.T) solver.CacheManager { return wrap(again(t)) }
				return m
			})
		})
	}
}
