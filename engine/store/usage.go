package store

import "context"

// size is what a record's snapshot takes on the disk.
func (s *Store) size(ctx context.Context, rec *record) (int64, error) {
	s.index.mu.Lock()
	key, size := rec.facts.Snapshot, rec.facts.Size
	s.index.mu.Unlock()
	if size != nil {
		return *size, nil
	}
	if key == "" {
		return 0, nil
	}
	u, err := s.back.snaps.Usage(ctx, key)
	if err != nil {
		return 0, err
	}
	if rec.facts.Kind != kindCacheMount {
		s.index.mu.Lock()
		rec.facts.Size = &u.Size
		s.index.dirty[rec.id] = rec
		s.index.mu.Unlock()
	}
	return u.Size, nil
}
