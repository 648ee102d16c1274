package execop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// sharing has the store's words for LLB's.
var sharing = map[pb.CacheSharingOpt]string{
	pb.CacheSharingOpt_SHARED:  store.SharingShared,
	pb.CacheSharingOpt_PRIVATE: store.SharingPrivate,
	pb.CacheSharingOpt_LOCKED:  store.SharingLocked,
}

// strict orders the ways to share: the later leave less to others.
var strict = []string{store.SharingShared, store.SharingPrivate, store.SharingLocked}

// cache is a cache mount that an op wants, for one of its mounts or several.
type cache struct {
	base    *store.Ref // borrowed
	sharing string
	dest    string // of the first of them
}

// takeCaches takes the cache mounts of the op into m. Each is taken once, as the
// strictest of its mounts asks, and in the order of their IDs: otherwise an op that
// locks one twice would wait for itself, and two that lock the same ones for each
// other.
func (o *op) takeCaches(ctx context.Context, m *mounts, refs []*store.Ref) error {
	wanted := map[string]cache{}
	for _, s := range o.slots {
		if s.role != roleCache {
			continue
		}
		how := sharing[s.mount.CacheOpt.Sharing]
		id := s.cacheID(refs)
		w, ok := wanted[id]
		if !ok {
			w = cache{base: s.ref(refs), sharing: how, dest: s.dest}
		}
		if slices.Index(strict, how) > slices.Index(strict, w.sharing) {
			w.sharing = how
		}
		wanted[id] = w
	}
	m.caches = map[string]*store.CacheMount{}
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		w := wanted[id]
		c, err := o.takeCache(ctx, id, w)
		if err != nil {
			return fmt.Errorf("cache mount %s: %w", w.dest, err)
		}
		m.caches[id] = c
		m.held = append(m.held, c)
	}
	return nil
}

// CacheLender is a build that can have the contents of cache mounts from elsewhere.
type CacheLender interface {
	// Lend returns what a new cache mount of an ID begins with; nil if it has nothing. The
	// Ref is the caller's.
	Lend(ctx context.Context, id string) (*store.Ref, error)
	// Used is told that a step uses the cache mount of an ID.
	Used(id string)
}

// CacheLenders returns those of the jobs that an op works for, by the context of its run.
type CacheLenders func(ctx context.Context) []CacheLender

// takeCache takes one cache mount. One that is new and has no base begins with what a
// lender has.
func (o *op) takeCache(ctx context.Context, id string, w cache) (_ *store.CacheMount, err error) {
	if w.base != nil || o.Lenders == nil {
		return o.Store.CacheMount(ctx, id, w.base, w.sharing)
	}
	for _, l := range o.Lenders(ctx) {
		l.Used(id)
		if w.base != nil || o.Store.HasCacheMount(id) {
			continue
		}
		if w.base, err = l.Lend(ctx, id); err != nil {
			return nil, err
		}
	}
	if w.base == nil {
		return o.Store.CacheMount(ctx, id, nil, w.sharing)
	}
	c, err := o.Store.CacheMount(ctx, id, w.base, w.sharing)
	if rerr := w.base.Release(context.WithoutCancel(ctx)); err == nil && rerr != nil {
		return nil, errors.Join(rerr, c.Release(context.WithoutCancel(ctx)))
	}
	if err != nil && ctx.Err() == nil { // what a cache has fails no step
		text := fmt.Sprintf("cache mount %s begins empty, since what a cache has of it cannot be had: %v", w.dest, err)
		solver.ProgressFrom(ctx).Warn(client.VertexWarning{Level: 1, Short: []byte(text)})
		return o.Store.CacheMount(ctx, id, nil, w.sharing)
	}
	return c, err
}

// cacheID is the ID of a slot's cache mount. Each base has one of its own, as in
// BuildKit.
func (s slot) cacheID(refs []*store.Ref) string {
	id := s.mount.CacheOpt.ID
	if ref := s.ref(refs); ref != nil {
		id += ":" + ref.ID()
	}
	return id
}

// ref is the slot's input; nil if it has none, or the empty tree.
func (s slot) ref(refs []*store.Ref) *store.Ref {
	if s.input == none {
		return nil
	}
	return refs[s.input]
}
