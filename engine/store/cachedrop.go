package store

import (
	"context"
	"strings"
)

// DropCacheMounts forgets the cache mounts of an ID, and with bases those that
// execop keeps for it upon bases ("ID:BASE"): who asks next gets a new one. One in use
// stays with those who have it, and goes when the last of them lets go.
func (s *Store) DropCacheMounts(ctx context.Context, id string, bases bool) error {
	x := s.index
	var idle []*usedRecord
	x.mu.Lock()
	for name, records := range x.caches {
		if name != id && !(bases && strings.HasPrefix(name, id+":")) {
			continue
		}
		delete(x.caches, name)
		for _, r := range records {
			r.dropped = true
			if r.holds == 0 {
				idle = append(idle, &usedRecord{UsageInfo: UsageInfo{ID: r.id}, rec: r})
			}
		}
		if ch := x.freed[name]; ch != nil { // who waits for one can have a new one
			close(ch)
			delete(x.freed, name)
		}
	}
	x.mu.Unlock()
	_, err := s.removeRecords(s.Context(ctx), idle)
	return err
}
