package solver_test

import (
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 21: the storage in memory passes the suite of all storages.
func TestMemoryStorageSuite(t *testing.T) {
	solvertest.CacheKeyStorage(t, func(*testing.T) solver.CacheKeyStorage { return solver.NewInMemoryCacheStorage() })
}
