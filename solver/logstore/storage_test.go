package logstore

import (
	"path/filepath"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// openTest opens a store, and closes and checks it when the test ends.
func openTest(t testing.TB, path string, opt Options) *Store {
	t.Helper()
	s, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := CheckFile(path); err != nil {
			t.Error(err)
		}
	})
	return s
}

func storePath(t testing.TB) string { return filepath.Join(t.TempDir(), "cache.db") }

// contract 21
func TestStorage(t *testing.T) {
	solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
		return openTest(t, storePath(t), Options{})
	})
}

// contract 21: with a file that is written, and compacted, all the time.
func TestStorageCompacted(t *testing.T) {
	solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
		return openTest(t, storePath(t), Options{FlushEvery: 1, compactAt: 1})
	})
}
