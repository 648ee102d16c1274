package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/identity"
)

// The ways to share a cache mount: LLB's.
const (
	SharingShared  = "shared"
	SharingPrivate = "private"
	SharingLocked  = "locked"
)

// CacheMount is a hold of a persistent directory that steps share by its name. It
// has one owner, who releases it once; what was written stays.
type CacheMount struct {
	s   *Store
	rec *record
	// released is guarded by the index's lock.
	released bool
}

// CacheMount finds or makes the cache mount of an ID. A new one begins as base,
// which is borrowed (nil: empty, mode 0755); one that is there stays as it is,
// whatever its base was: who wants one for each base puts base.ID() into the ID.
//
// Sharing says with whom: "shared" with all who say so, "locked" with nobody,
// "private" with nobody, too, but if it is taken there is another one. Shared and
// locked wait for one who has it for himself, until ctx ends.
func (s *Store) CacheMount(ctx context.Context, id string, base *Ref, sharing string) (*CacheMount, error) {
	if id == "" {
		return nil, fmt.Errorf("a cache mount needs an ID")
	}
	switch sharing {
	case "":
		sharing = SharingShared
	case SharingShared, SharingPrivate, SharingLocked:
	default:
		return nil, fmt.Errorf("cache mount %q: sharing %q is not known: there are shared, private and locked", id, sharing)
	}
	for {
		c, wait := s.takeCache(id, sharing)
		if c != nil {
			return c, nil
		}
		if wait == nil {
			if err := s.newCache(ctx, id, base, sharing); err != nil {
				return nil, fmt.Errorf("cache mount %q: %w", id, err)
			}
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("cache mount %q is in use: %w", id, context.Cause(ctx))
		}
	}
}

// takeCache takes one of the cache mounts of an ID. If that must wait, it returns
// what is closed when it should be tried again; if there is none to be had, nothing.
func (s *Store) takeCache(id, sharing string) (*CacheMount, <-chan struct{}) {
	x := s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	var found *record
	there := 0
	for _, r := range x.caches[id] {
		if r.lost {
			continue
		}
		there++
		// One that others share goes before one that is free.
		if r.holds > 0 && sharing == SharingShared && r.sharing == SharingShared {
			found = r
			break
		}
		if r.holds == 0 && found == nil {
			found = r
		}
	}
	if found != nil {
		x.hold(found)
		found.sharing = sharing
		return &CacheMount{s: s, rec: found}, nil
	}
	if there == 0 || sharing == SharingPrivate {
		return nil, nil
	}
	if x.freed[id] == nil {
		x.freed[id] = make(chan struct{})
	}
	return nil, x.freed[id]
}

// newCache makes a cache mount. Of several that are being made at the same time for
// one ID, only private ones come about beside others.
func (s *Store) newCache(ctx context.Context, id string, base *Ref, sharing string) error {
	below, err := base.use()
	if err != nil {
		return err
	}
	ctx = s.Context(ctx)
	var parent string
	if below != nil {
		if parent, err = s.base(ctx, below); err != nil {
			return err
		}
	}
	s.chains.Lock()
	defer s.chains.Unlock()
	s.index.mu.Lock()
	made := slices.ContainsFunc(s.index.caches[id], func(r *record) bool { return !r.lost })
	s.index.mu.Unlock()
	if made && sharing != SharingPrivate {
		return nil
	}
	rec := &record{id: identity.NewID()}
	if below != nil {
		rec.parents = []*record{below}
	}
	rec.facts = NewOptions{RecordType: TypeCacheMount, Description: "cache mount " + id}.facts(kindCacheMount, rec.parents...)
	rec.facts.CacheID = id
	rec.facts.Snapshot = rec.id
	if err := s.prepare(ctx, rec.id, rec.id, parent); err != nil {
		return err
	}
	return s.create(ctx, rec)
}

// Mount returns how to mount the directory, as often as is wanted. It implements
// executor.Mountable.
func (c *CacheMount) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	c.s.index.mu.Lock()
	released := c.released
	c.s.index.mu.Unlock()
	if released {
		return nil, fmt.Errorf("cache mount %q: %w", c.rec.facts.CacheID, ErrReleased)
	}
	key := c.rec.facts.Snapshot
	mounts, err := c.s.active(c.s.Context(ctx), key, false)
	if err != nil {
		return nil, err
	}
	if mounts[0].Type != "overlay" {
		if readonly {
			mounts = asReadonly(mounts)
		}
		return always(mounts...), nil
	}
	return mountable(func() ([]mount.Mount, func() error, error) { return c.s.shared.open(key, mounts, readonly) }), nil
}

// ID names the record of the directory.
func (c *CacheMount) ID() string { return c.rec.id }

// Release gives the hold back. The second time is an error, ErrReleased.
func (c *CacheMount) Release(ctx context.Context) error {
	x := c.s.index
	x.mu.Lock()
	if c.released {
		x.mu.Unlock()
		return fmt.Errorf("cache mount %q: %w", c.rec.facts.CacheID, ErrReleased)
	}
	c.released = true
	idle := x.unhold(c.rec, true)
	if ch := x.freed[c.rec.facts.CacheID]; ch != nil && c.rec.holds == 0 && !c.rec.dropped {
		close(ch)
		delete(x.freed, c.rec.facts.CacheID)
	}
	gone := c.rec.dropped && c.rec.holds == 0
	x.mu.Unlock()
	err := c.s.dropViews(ctx, idle)
	if gone {
		_, failed := c.s.removeRecords(c.s.Context(ctx), []*usedRecord{{UsageInfo: UsageInfo{ID: c.rec.id}, rec: c.rec}})
		err = errors.Join(err, failed)
	}
	return err
}
