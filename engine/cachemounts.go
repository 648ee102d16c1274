package engine

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// lender has the contents of cache mounts that the caches have which a build reads.
type lender struct {
	imports *imports

	mu   sync.Mutex // guards used
	used map[string]bool
}

var _ execop.CacheLender = (*lender)(nil)

// Lend implements execop.CacheLender.
func (l *lender) Lend(ctx context.Context, id string) (*store.Ref, error) {
	return remotecache.LendMount(ctx, l.imports.all(), id)
}

// Used implements execop.CacheLender.
func (l *lender) Used(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil {
		l.used = map[string]bool{}
	}
	l.used[id] = true
}

// mountsToExport are the cache mounts of a build. Those on a base are not among them: there is
// one for each base of this store.
func (b *build) mountsToExport(ctx context.Context) remotecache.Mounts {
	warn := func(format string, args ...any) {
		solver.ProgressFrom(ctx).Warn(client.VertexWarning{Level: 1, Short: fmt.Appendf(nil, format, args...)})
	}
	m := remotecache.Mounts{
		Named: map[string]bool{},
		Skipped: func(id string, err error) {
			warn("what the cache has of the cache mount %q stays as it is: %v", id, err)
		},
		Lacks: func(id string, names []string) {
			warn("of the cache mount %q, %d files do not go along, since in a layer their names remove others (.wh.*): %q is the first", id, len(names), names[0])
		},
	}
	b.lender.mu.Lock()
	m.Used = maps.Clone(b.lender.used)
	b.lender.mu.Unlock()
	b.vertices.mu.Lock()
	defer b.vertices.mu.Unlock()
	for _, v := range b.vertices.byDigest {
		op, _ := v.Sys().(*pb.Op)
		for _, mount := range op.GetExec().GetMounts() {
			if id := mount.GetCacheOpt().GetID(); id != "" && mount.Input == int64(pb.Empty) {
				m.Named[id] = true
			}
		}
	}
	return m
}
