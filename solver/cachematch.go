package solver

import (
	"errors"

	"github.com/opencontainers/go-digest"
)

// countedTargets is how far the links of an input are counted in a storage that
// has to walk them, to see which input leads to the fewest keys.
const countedTargets = 64

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
	ids, err := m.targetsOf(&deps[best], Index(best), link, room[:0])
	if err != nil {
		return nil, err
	}
	for i := range deps {
		if i == best || len(ids) == 0 {
			continue
		}
		if ids, err = m.reached(&deps[i], Index(i), link, ids); err != nil {
			return nil, err
		}
	}
	return m.keys(ids, dgst, output), nil
}

// targetsOf appends to buf the targets of all alternatives of an input.
func (m *cacheManager) targetsOf(dep *keyDep, input Index, link CacheInfoLink, buf []string) ([]string, error) {
	link.Input = input
	var err error
	for j := range dep.alternatives() {
		from, selector := dep.alternative(j)
		link.Selector = selector
		if buf, err = m.targets(from.ID, &link, buf); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// targetSum counts them.
func (m *cacheManager) targetSum(dep *keyDep, input Index, link CacheInfoLink) (int, error) {
	link.Input = input
	sum := 0
	for j := range dep.alternatives() {
		from, selector := dep.alternative(j)
		link.Selector = selector
		n, err := m.targetCount(from.ID, &link)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// manyTargets is how many targets of one input are worth keeping.
const manyTargets = 8

// someTargets are the targets of an input, or more than manyTargets of them.
func (m *cacheManager) someTargets(dep *keyDep, op digest.Digest, input int32, output Index) (ids []string, err error) {
	defer recovered("looking keys up", &err)
	link := CacheInfoLink{Input: Index(input), Output: output, Digest: op}
	for j := range dep.alternatives() {
		from, selector := dep.alternative(j)
		link.Selector = selector
		err = m.storage.WalkLinks(from.ID, link, func(target string) error {
			if ids = append(ids, target); len(ids) > manyTargets {
				return errEnough
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return ids, err
}

// narrowest returns the input with the fewest targets; -1 if one has none.
func (m *cacheManager) narrowest(deps []keyDep, link CacheInfoLink) (int, error) {
	if len(deps) == 1 {
		return 0, nil
	}
	best, fewest := -1, 0
	for i := range deps {
		n, err := m.targetSum(&deps[i], Index(i), link)
		if n == 0 || err != nil {
			return -1, err
		}
		if best < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	return best, nil
}

// reached filters ids in place: those stay to which an input leads.
func (m *cacheManager) reached(dep *keyDep, input Index, link CacheInfoLink, ids []string) ([]string, error) {
	link.Input = input
	alternatives := dep.alternatives()
	if steps := len(ids) * alternatives; len(ids) > 1 && steps > countedTargets {
		// Where many meet many, listing all of them may be less than asking for each.
		n, err := m.targetSum(dep, input, link)
		if err != nil {
			return nil, err
		}
		if n+alternatives < steps {
			return m.among(dep, input, link, ids)
		}
	}
	stay := ids[:0]
	for _, id := range ids {
		for j := range alternatives {
			from, selector := dep.alternative(j)
			link.Selector = selector
			if m.storage.HasLink(from.ID, link, id) {
				stay = append(stay, id)
				break
			}
		}
	}
	return stay, nil
}

// among is reached by way of listing all targets of the input.
func (m *cacheManager) among(dep *keyDep, input Index, link CacheInfoLink, ids []string) ([]string, error) {
	targets, err := m.targetsOf(dep, input, link, nil)
	if err != nil {
		return nil, err
	}
	set := make(map[string]struct{}, len(targets))
	for _, id := range targets {
		set[id] = struct{}{}
	}
	stay := ids[:0]
	for _, id := range ids {
		if _, ok := set[id]; ok {
			stay = append(stay, id)
		}
	}
	return stay, nil
}

// targets appends to buf the targets of the links of a key that equal link.
func (m *cacheManager) targets(id string, link *CacheInfoLink, buf []string) ([]string, error) {
	if m.mem != nil {
		return m.mem.targets(id, link, buf), nil
	}
	var found []string // not buf: that would move the caller's to the heap
	err := m.storage.WalkLinks(id, *link, func(target string) error {
		found = append(found, target)
		return nil
	})
	return append(buf, found...), err
}

// targetCount counts the links of a key that equal link, up to countedTargets where
// counting is a walk.
func (m *cacheManager) targetCount(id string, link *CacheInfoLink) (int, error) {
	if m.mem != nil {
		return m.mem.targetCount(id, link), nil
	}
	return m.walkCount(id, link, countedTargets)
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
