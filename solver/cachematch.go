package solver

import (
	"errors"

	"github.com/opencontainers/go-digest"
)

// someTargets is how far the links of an input are counted in a storage that
// has to walk them, to see which input leads to the fewest keys.
const someTargets = 64

// errEnough ends a walk that has seen what it wanted.
var errEnough = errors.New("enough")

// alternatives is the number of keys that a dependency is known by.
func (d *keyDep) alternatives() int {
	if d.content != nil {
		return len(d.keys) + 1
	}
	return len(d.keys)
}

// alternative returns one of them with its selector. A content key has none: it
// stands for what was selected.
func (d *keyDep) alternative(i int) (*CacheKey, digest.Digest) {
	if i < len(d.keys) {
		return d.keys[i], d.selector
	}
	return d.content, ""
}

// probe reports whether a key has any link that equals link. Of a storage that
// fails the answer is no.
func (m *cacheManager) probe(key *CacheKey, link CacheInfoLink) bool {
	found, err := m.hasTargets(key, &link)
	return found && err == nil
}

// hasTargets is probe with the storage's error.
func (m *cacheManager) hasTargets(key *CacheKey, link *CacheInfoLink) (bool, error) {
	if m.mem != nil {
		return m.mem.probe(key.ID, link), nil
	}
	n, err := m.walkCount(key.ID, link, 1)
	return n > 0, err
}

// match returns the keys of an operation that are reached from each of its
// inputs, through at least one of what the input is known by, sorted by ID. Of a
// storage that fails there are none.
func (m *cacheManager) match(deps []keyDep, dgst digest.Digest, output Index) []*CacheKey {
	keys, err := m.findMatches(deps, dgst, output)
	if err != nil {
		return nil
	}
	return keys
}

// findMatches is match with the storage's error. Only the targets of one input,
// the one that has the fewest, are gone through: an input that everything uses
// costs nothing where another one tells more.
func (m *cacheManager) findMatches(deps []keyDep, dgst digest.Digest, output Index) ([]*CacheKey, error) {
	if len(deps) == 0 {
		return m.root(dgst, output), nil
	}
	link := CacheInfoLink{Output: output, Digest: dgst}
	best, err := m.narrowest(deps, link)
	if best < 0 || err != nil {
		return nil, err
	}
	var room [8]string
	ids := room[:0]
	link.Input = Index(best)
	for j := range deps[best].alternatives() {
		from, selector := deps[best].alternative(j)
		link.Selector = selector
		if ids, err = m.targets(from.ID, &link, ids); err != nil {
			return nil, err
		}
	}
	matched := ids[:0]
	for _, id := range ids {
		if m.reachedFromAll(deps, best, link, id) {
			matched = append(matched, id)
		}
	}
	return m.keys(matched, dgst, output), nil
}

// narrowest returns the input with the fewest targets; -1 if one has none.
func (m *cacheManager) narrowest(deps []keyDep, link CacheInfoLink) (int, error) {
	if len(deps) == 1 {
		return 0, nil
	}
	best, fewest := -1, 0
	for i := range deps {
		n := 0
		link.Input = Index(i)
		for j := range deps[i].alternatives() {
			from, selector := deps[i].alternative(j)
			link.Selector = selector
			c, err := m.targetCount(from.ID, &link)
			if err != nil {
				return -1, err
			}
			n += c
		}
		if n == 0 {
			return -1, nil
		}
		if best < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	return best, nil
}

// reachedFromAll reports whether target is reached from every input but the one
// that it was found from.
func (m *cacheManager) reachedFromAll(deps []keyDep, foundFrom int, link CacheInfoLink, target string) bool {
	for i := range deps {
		if i == foundFrom {
			continue
		}
		link.Input = Index(i)
		reached := false
		for j := 0; j < deps[i].alternatives() && !reached; j++ {
			from, selector := deps[i].alternative(j)
			link.Selector = selector
			reached = m.hasLink(from.ID, &link, target)
		}
		if !reached {
			return false
		}
	}
	return true
}

func (m *cacheManager) hasLink(id string, link *CacheInfoLink, target string) bool {
	return m.storage.HasLink(id, *link, target)
}

// targets appends to buf the targets of the links of a key that equal link.
func (m *cacheManager) targets(id string, link *CacheInfoLink, buf []string) ([]string, error) {
	if m.mem != nil {
		return m.mem.targets(id, link, buf), nil
	}
	err := m.storage.WalkLinks(id, *link, func(target string) error {
		buf = append(buf, target)
		return nil
	})
	return buf, err
}

// targetCount counts the links of a key that equal link, up to someTargets where
// counting is a walk.
func (m *cacheManager) targetCount(id string, link *CacheInfoLink) (int, error) {
	if m.mem != nil {
		return m.mem.targetCount(id, link), nil
	}
	return m.walkCount(id, link, someTargets)
}

// walkCount counts the links of a key that equal link, up to limit.
func (m *cacheManager) walkCount(id string, link *CacheInfoLink, limit int) (int, error) {
	n := 0
	err := m.storage.WalkLinks(id, *link, func(string) error {
		if n++; n == limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}
