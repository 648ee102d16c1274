package store

import (
	"context"
	"fmt"
	"time"
)

// Collecting says what is removed by itself: see Store.GC.
type Collecting struct {
	// Policies are what GC does, one after the other: each is what Prune does with it.
	// None: nothing is removed by itself.
	Policies []PruneOptions
}

// Cap is the most that the last of the policies keeps, which du shows; zero if there
// is none.
func (c Collecting) Cap() (most PruneOptions) {
	if len(c.Policies) == 0 {
		return PruneOptions{}
	}
	return c.Policies[len(c.Policies)-1]
}

// GC removes what the policies of Options.GC do not keep, and nothing that is in use. It
// calls each, if not nil, for every one that was removed. Builds may run meanwhile, and
// where another GC is under way it leaves that to it.
//
// If there is nothing to remove it does not look at files that were measured before:
// then it costs a look at each record and blob.
func (s *Store) GC(ctx context.Context, each func(UsageInfo)) error {
	if len(s.gc.Policies) == 0 || !s.capping.TryLock() {
		return nil
	}
	defer s.capping.Unlock()
	over, err := s.isOver(ctx)
	if err != nil || !over {
		return err
	}
	for i, p := range s.gc.Policies {
		p.By = fmt.Sprintf("rule %d of [gc] (%s)", i+1, p)
		if err := s.Prune(ctx, p, each); err != nil {
			return err
		}
	}
	return nil
}

// isOver says whether a policy finds something to remove. What trees share is counted
// more than once here, so that it says yes too often rather than too rarely.
func (s *Store) isOver(ctx context.Context) (bool, error) {
	inv, err := s.takeInventory(s.Context(ctx), false)
	if err != nil {
		return false, err
	}
	free, err := s.freeSpace()
	if err != nil {
		return false, err
	}
	for _, p := range s.gc.Policies {
		match, err := UsageFilter(p.Filters)
		if err != nil {
			return false, err
		}
		if len(choose(inv.all, p, match, free, time.Now())) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// Low says whether less is free on the root's disk than a policy asks for.
func (s *Store) Low() (bool, error) {
	var want int64
	for _, p := range s.gc.Policies {
		want = max(want, p.MinFreeSpace)
	}
	if want == 0 {
		return false, nil
	}
	free, err := s.freeSpace()
	return free < want, err
}
