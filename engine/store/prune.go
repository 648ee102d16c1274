package store

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// PruneOptions choose what Prune removes. The zero value removes all that is not in
// use, but for what All says.
type PruneOptions struct {
	// All removes also what is internal, a frontend's, or shared with an image.
	All bool
	// Filters are conditions that a record must meet: see UsageFilter.
	Filters []string
	// KeepDuration keeps what was used since so long.
	KeepDuration time.Duration
	// ReservedSpace is so many bytes that are kept in any case. MaxUsedSpace is the
	// most that is kept beside what images with a name hold, and MinFreeSpace what should be free on the disk: for
	// these, only as much is removed as has to be, and cache mounts last. 0 stands
	// for none.
	ReservedSpace, MaxUsedSpace, MinFreeSpace int64
	// DryRun removes nothing.
	DryRun bool
	// By names who prunes, for Options.Removed: a command, a rule.
	By string
}

// Prune removes records and what components keep (see Kept), the least recently used
// first, and never what is in use or what others are made of. It calls each, if not nil, for every one that was
// removed, and then frees what nothing holds any more, what deleted images held
// among it. Builds may run meanwhile. It looks at each record once.
func (s *Store) Prune(ctx context.Context, opt PruneOptions, each func(UsageInfo)) error {
	match, err := UsageFilter(opt.Filters)
	if err != nil {
		return err
	}
	ctx = s.Context(ctx)
	inv, err := s.takeInventory(ctx, true)
	if err != nil {
		return err
	}
	free, err := s.freeSpace()
	if err != nil {
		return err
	}
	unheld, needed := inv.unheld(), opt.needed(inv.all, free)
	chosen := choose(inv.all, opt, match, free, time.Now())
	var failed error // what was removed is told all the same
	if !opt.DryRun {
		records, err := s.removeRecords(ctx, chosen)
		s.tellRemoved(opt, needed, records)
		if err != nil {
			return err
		}
		rest, err := s.removeOthers(ctx, chosen)
		failed = err
		chosen = append(records, rest...)
	}
	if each != nil {
		for _, u := range chosen {
			each(u.UsageInfo)
		}
		if unheld > 0 {
			each(UsageInfo{ID: "unheld", Type: TypeInternal, Description: "what nothing holds any more: removed images", Size: unheld})
		}
	}
	if opt.DryRun {
		return nil
	}
	s.garbage.Add(1) // what a deleted image held is not counted
	return errors.Join(failed, s.collectGarbage(ctx))
}

// keepBytes is how much of what is used may stay.
func (o PruneOptions) keepBytes(used, free int64) int64 {
	var keep int64
	if o.MaxUsedSpace > 0 || o.MinFreeSpace > 0 {
		keep = used
	}
	if o.MaxUsedSpace > 0 {
		keep = min(keep, o.MaxUsedSpace)
	}
	if o.MinFreeSpace > 0 {
		keep = min(keep, used-max(0, o.MinFreeSpace-free))
	}
	return max(keep, o.ReservedSpace)
}

// choose decides what goes, in this order: the children of a record before it. The
// Size of each becomes what removing it frees, once those before it have gone.
func choose(all []*usedRecord, opt PruneOptions, match func(UsageInfo) bool, free int64, now time.Time) []*usedRecord {
	byRecord := map[*record]*usedRecord{}
	var used int64
	for _, u := range all {
		if u.rec != nil {
			byRecord[u.rec] = u
		}
		used += u.evictable()
	}
	may := func(u *usedRecord) bool {
		if u.InUse || u.children > 0 || !match(u.UsageInfo) {
			return false
		}
		if !opt.All && (u.Shared || u.Type == TypeInternal || u.Type == TypeFrontend) {
			return false
		}
		return opt.KeepDuration <= 0 || now.Sub(u.LastUsedAt) >= opt.KeepDuration
	}
	limited := opt.MaxUsedSpace > 0 || opt.MinFreeSpace > 0 || opt.ReservedSpace > 0
	keep := opt.keepBytes(used, free)
	queue := &byAge{cachesLast: limited}
	for _, u := range all {
		if may(u) {
			queue.list = append(queue.list, u)
		}
	}
	heap.Init(queue)
	var out []*usedRecord
	for queue.Len() > 0 && (!limited || used > keep) {
		u := heap.Pop(queue).(*usedRecord)
		out = append(out, u)
		u.Size = u.give()
		used -= u.Size
		if u.rec == nil {
			continue
		}
		for _, p := range u.rec.parents {
			if p == nil {
				continue
			}
			parent := byRecord[p]
			if parent.children--; may(parent) {
				heap.Push(queue, parent)
			}
		}
	}
	return out
}

// removeRecords removes the records among what was chosen that are still not in use,
// and returns those. Keys
// of the cache go after the records: a key without a record is a miss.
func (s *Store) removeRecords(ctx context.Context, chosen []*usedRecord) ([]*usedRecord, error) {
	s.chains.Lock()
	defer s.chains.Unlock()
	var gone []*usedRecord
	var ids []string
	s.index.mu.Lock()
	for _, u := range chosen {
		if u.rec != nil && u.rec.holds == 0 && u.rec.children == 0 && s.index.records[u.ID] == u.rec {
			s.index.remove(u.rec)
			gone = append(gone, u)
			ids = append(ids, u.ID)
		}
	}
	s.index.mu.Unlock()
	if len(gone) == 0 {
		return nil, nil
	}
	if err := s.erase(ctx, ids); err != nil {
		s.index.mu.Lock()
		for _, u := range slices.Backward(gone) {
			s.index.insert(u.rec)
		}
		s.index.mu.Unlock()
		return nil, fmt.Errorf("records cannot be removed: %w", err)
	}
	s.findKeys(gone)
	s.garbage.Add(int64(len(gone)))
	var errs []error
	for _, id := range ids {
		if err := s.keys.Release(id); err != nil && !unusable(err) { // then they are put aside by Close
			errs = append(errs, fmt.Errorf("keys of record %s: %w", id, err))
		}
	}
	return gone, errors.Join(errs...)
}

// byAge is a heap with the least recently used record on top.
type byAge struct {
	list []*usedRecord
	// cachesLast puts cache mounts below all others.
	cachesLast bool
}

func (q *byAge) Len() int { return len(q.list) }

func (q *byAge) Less(i, j int) bool {
	a, b := q.list[i], q.list[j]
	if q.cachesLast && a.Mutable != b.Mutable {
		return b.Mutable
	}
	return a.LastUsedAt.Before(b.LastUsedAt)
}

func (q *byAge) Swap(i, j int) { q.list[i], q.list[j] = q.list[j], q.list[i] }

func (q *byAge) Push(u any) { q.list = append(q.list, u.(*usedRecord)) }

func (q *byAge) Pop() any {
	last := q.list[len(q.list)-1]
	q.list = q.list[:len(q.list)-1]
	return last
}
