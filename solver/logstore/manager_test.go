package logstore

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// testManager runs the suite of managers over stores.
func testManager(t *testing.T, opt Options) {
	solvertest.CacheManager(t, func(t *testing.T) solvertest.Manager {
		s := openTest(t, storePath(t), opt)
		stats, now := &solvertest.Stats{}, &atomic.Int64{}
		results := &solvertest.Results{Stats: stats, Now: func() time.Time { return time.Unix(1_000_000+now.Add(1), 0) }}
		t.Cleanup(func() {
			if n := stats.Live.Load(); n != 0 || len(stats.Faults()) > 0 {
				t.Errorf("%d results were not released; %q", n, stats.Faults())
			}
		})
		open := func(*testing.T) solver.CacheManager { return solver.NewCacheManager("log", s, results) }
		return solvertest.Manager{
			Cache: open(t), Again: open,
			Prune: func(rec *solver.CacheRecord) { results.Prune(rec.ID) },
		}
	})
}

// contract 21
func TestManager(t *testing.T) { testManager(t, Options{}) }

// contract 21: with a file that is compacted again and again.
func TestManagerCompacted(t *testing.T) { testManager(t, Options{FlushEvery: 1, compactAt: 1}) }
