package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
)

// Removal is what a Prune has taken from the cache.
type Removal struct {
	// By is the command or the rule: PruneOptions.By, or what it chooses in words.
	By string
	// Needed is how many bytes were to be freed; 0 if it was not for room.
	Needed int64
	// Keys are the IDs of the keys that led to the results.
	Keys []string
}

// String says what is removed, in words.
func (o PruneOptions) String() string {
	words := slices.Clone(o.Filters)
	if o.KeepDuration > 0 {
		words = append(words, "not used for "+units.HumanDuration(o.KeepDuration))
	}
	size := func(name string, n int64) {
		if n > 0 {
			words = append(words, name+" "+units.HumanSize(float64(n)))
		}
	}
	size("above", o.MaxUsedSpace)
	size("to leave free", o.MinFreeSpace)
	size("but for", o.ReservedSpace)
	if len(words) == 0 {
		return "all that is not in use"
	}
	return strings.Join(words, ", ")
}

// needed is how much has to be removed to be within the limits; 0 if there are none.
func (o PruneOptions) needed(all []*usedRecord, free int64) int64 {
	if o.MaxUsedSpace <= 0 && o.MinFreeSpace <= 0 && o.ReservedSpace <= 0 {
		return 0
	}
	var used int64
	for _, u := range all {
		used += u.evictable()
	}
	return max(0, used-o.keepBytes(used, free))
}

// findKeys notes which keys lead to records.
func (s *Store) findKeys(records []*usedRecord) {
	if s.removed == nil {
		return
	}
	for _, u := range records {
		// What cannot be read is missed when somebody asks why a step ran.
		_ = s.keys.WalkIDsByResult(u.ID, func(key string) error {
			u.keys = append(u.keys, key)
			return nil
		})
	}
}

// tellRemoved tells which keys have lost their results.
func (s *Store) tellRemoved(opt PruneOptions, needed int64, records []*usedRecord) {
	var keys []string
	for _, u := range records {
		keys = append(keys, u.keys...)
	}
	if s.removed == nil || len(keys) == 0 {
		return
	}
	if opt.By == "" {
		opt.By = fmt.Sprintf("a prune (%s)", opt)
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	s.removed(Removal{By: opt.By, Needed: needed, Keys: keys})
}
