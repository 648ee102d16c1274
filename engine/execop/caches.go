package execop

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/store"
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
		c, err := o.Store.CacheMount(ctx, id, w.base, w.sharing)
		if err != nil {
			return fmt.Errorf("cache mount %s: %w", w.dest, err)
		}
		m.caches[id] = c
		m.held = append(m.held, c)
	}
	return nil
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
