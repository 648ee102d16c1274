package solver

import (
	"runtime"
	"time"
)

// DefaultParallelism is how many slots there are for running ops unless
// SolverOpt.Parallelism says otherwise: enough to keep ops busy that wait for
// disks and networks.
func DefaultParallelism() int { return max(64, 8*runtime.GOMAXPROCS(0)) }

// DefaultCachePatience is how long a cache may take for a look-up unless
// SolverOpt.CachePatience says otherwise.
const DefaultCachePatience = 30 * time.Second
