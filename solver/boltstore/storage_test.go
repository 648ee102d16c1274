package boltstore

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
		if opt.hooks.hashMask == 0 {
			if err := CheckFile(path); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

func storePath(t testing.TB) string { return filepath.Join(t.TempDir(), "cache.db") }

// TestStorage runs the suite as the store is used, with nearly all in memory.
func TestStorage(t *testing.T) {
	solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
		return openTest(t, storePath(t), Options{})
	})
}

// TestStorageSmallBatches runs it with batches so small that nearly all is on
// the disk, and being committed, while it is looked up.
func TestStorageSmallBatches(t *testing.T) {
	solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
		return openTest(t, storePath(t), Options{FlushSize: 100})
	})
}

// TestStorageCollisions runs it with hashes so short that they often collide.
func TestStorageCollisions(t *testing.T) {
	solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
		return openTest(t, storePath(t), Options{hooks: hooks{hashMask: 0xffff}})
	})
}
