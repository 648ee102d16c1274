package history

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Append opens or makes a history, in a directory that nobody else changes, for builds to be
// recorded in and nothing else: what there is is not read, unless there is much too much of it.
func Append(dir string, limits Limits) (*Store, error) {
	s, err := newStore(dir, limits)
	if err != nil {
		return nil, err
	}
	s.appends = true
	return s, os.MkdirAll(s.unfinished(), 0o700)
}

// crowded says whether so many records have been appended that it is worth to read all of
// them, and to remove some.
func (s *Store) crowded(now time.Time) bool {
	entries, err := os.ReadDir(filepath.Join(s.dir, recordsDir))
	if err == nil && len(entries) > s.limits.Most {
		return true
	}
	if err != nil || len(entries) <= s.limits.Entries+max(16, s.limits.Entries/4) {
		return false
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && now.Sub(fi.ModTime()) > s.limits.Age {
			return true
		}
	}
	return false
}

// settle reads what there is, and removes what is too much. The caller has mu.
func (s *Store) settle(now time.Time) error {
	if s.appends {
		if !s.crowded(now) {
			return nil
		}
		if err := s.load(); err != nil {
			return err
		}
		s.appends = false
	}
	before := len(s.ended)
	err := s.limit(now)
	if s.unswept += before - len(s.ended); s.unswept > sweepAfter {
		err = errors.Join(err, s.sweepTrees())
		s.unswept = 0
	}
	return err
}

// sweepAfter is how many records are removed before the trees are looked through that they
// had: for that, all accounts are read.
const sweepAfter = 12
