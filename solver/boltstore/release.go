package boltstore

import "github.com/tenonbuild/tenon/solver"

// Release implements solver.CacheKeyStorage. It looks at each node that loses a
// result or a link, and at the links to those that go, once. Other calls wait
// for it, but it waits for no disk. It is admitted also where writes are not:
// it is how to make room.
func (s *Store) Release(resultID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return s.view(func(d *disk) error {
		s.within = d
		defer func() { s.within = nil }()
		return s.release(resultID)
	})
}

// release is Release. mu is held.
func (s *Store) release(resultID string) error {
	queue, err := s.holdersOf(resultID)
	if err != nil || len(queue) == 0 {
		return err
	}
	s.active.release(resultID)
	// The result is released whatever becomes of the rest.
	defer s.wrote()
	queued := make(map[string]struct{})
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		delete(queued, id)
		sources, err := s.prune(id)
		if err != nil {
			return err
		}
		for _, src := range sources {
			// A node that lost many links is looked at when all of them have gone.
			if _, ok := queued[src.id]; !ok {
				queued[src.id] = struct{}{}
				queue = append(queue, src.id)
			}
		}
	}
	return nil
}

// prune removes a node that has no results and no links from it, and returns
// the links that went with it. mu is held.
func (s *Store) prune(id string) ([]source, error) {
	h := s.hash.name(id)
	if ok, err := s.exists(h, id); err != nil || !ok {
		return nil, err
	}
	if used, err := s.hasResults(h, id); err != nil || used {
		return nil, err
	}
	if used, err := s.hasLinks(h, id); err != nil || used {
		return nil, err
	}
	sources, err := s.sourcesOf(h, id)
	if err != nil {
		return nil, err
	}
	p := s.active.find(h, id)
	if p == nil {
		p = s.active.add(h, id)
	}
	s.active.cut(p)
	return sources, nil
}

// scanKey names a search that may be repeated many times: for the results, or
// the links, of one node.
type scanKey struct {
	id    string
	links bool
}

// Searches of hasResults and hasLinks go on where the last one of the same node
// stopped. What was passed is hidden by the active or the frozen layer, and
// hidden it stays until a commit, which ends all scans. What a layer adds is
// never below the place, for layers are not part of the search.

func (s *Store) remember(k scanKey, place []byte) {
	if place == nil {
		return
	}
	if s.scans == nil {
		s.scans = make(map[scanKey][]byte)
	}
	s.scans[k] = append(s.scans[k][:0], place...)
}

// hasResults says whether a node has a result. mu is held.
func (s *Store) hasResults(h uint64, id string) (has bool, err error) {
	layers := s.layers()
	for i, l := range layers {
		p := l.find(h, id)
		if p == nil {
			continue
		}
		if n := len(p.results); n > 0 && (i == 0 || n > layers[i-1].hidden[p].results) {
			return true, nil
		}
		if p.cut {
			return false, nil
		}
	}
	err = s.lookup(h, id, func(d *disk, num uint64, rec []byte) error {
		scan := scanKey{id: id}
		var place []byte
		err := d.eachResult(num, rec, s.scans[scan], func(key []byte, res solver.CacheResult) bool {
			has, place = !released(layers, res.ID), key
			return !has
		})
		s.remember(scan, place)
		return err
	})
	return has, err
}

// hasLinks says whether there is a link from a node. mu is held.
func (s *Store) hasLinks(h uint64, id string) (has bool, err error) {
	layers := s.layers()
	for i, l := range layers {
		p := l.find(h, id)
		if p == nil {
			continue
		}
		if n := p.out.n; n > 0 && (i == 0 || n > layers[i-1].hidden[p].links) {
			return true, nil
		}
		if p.cut {
			return false, nil
		}
	}
	err = s.lookup(h, id, func(d *disk, num uint64, _ []byte) error {
		has, err = s.hasLinksOnDisk(d, layers, id, num)
		return err
	})
	return has, err
}

func (s *Store) hasLinksOnDisk(d *disk, layers []*layer, id string, num uint64) (has bool, err error) {
	scan := scanKey{id: id, links: true}
	prefix := appendNum(make([]byte, 0, 16), num)
	from, place := s.scans[scan], []byte(nil)
	if from == nil {
		from = prefix
	}
	err = d.scan(links, prefix, from, func(k, _ []byte) (bool, error) {
		_, _, dst, ok := takeLinkKey(k)
		if !ok {
			return false, errKey
		}
		target, err := d.nodeID(dst)
		if err != nil {
			return false, err
		}
		has, place = !cut(layers, s.hash.name(target), target), k
		return !has, nil
	})
	s.remember(scan, place)
	return has, err
}
