package boltstore

// walkStep is how many nodes Walk takes from the file at once.
const walkStep = 1000

// Walk implements solver.CacheKeyStorage.
func (s *Store) Walk(fn func(id string) error) error {
	seen := make(map[string]struct{})
	found, last, err := s.walkLayers(seen)
	if err != nil {
		return err
	}
	from := uint64(1)
	for {
		for _, id := range found {
			if err := fn(id); err != nil {
				return err
			}
		}
		if from == 0 {
			return nil
		}
		if found, from, err = s.walkFile(seen, from, last); err != nil {
			return err
		}
	}
}

// walkLayers returns the nodes of the layers, and adds them to seen. It also
// returns the last number of the file: what gets a higher one is newer than the
// walk, or was seen.
func (s *Store) walkLayers(seen map[string]struct{}) (found []string, last uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, 0, ErrClosed
	}
	for _, l := range s.layers() {
		for _, p := range l.order {
			if _, ok := seen[p.id]; ok {
				continue
			}
			// A node that is gone may come back, and into the file, before the walk ends.
			seen[p.id] = struct{}{}
			if p.live {
				found = append(found, p.id)
			}
		}
	}
	err = s.view(func(d *disk) error {
		last = d.bucket(nodes).Sequence()
		return nil
	})
	return found, last, err
}

// walkFile returns some nodes of the file, up to the number last, that were not
// seen, and the number from which to go on: 0 at the end.
func (s *Store) walkFile(seen map[string]struct{}, from, last uint64) (found []string, next uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, 0, ErrClosed
	}
	layers, steps := s.layers(), 0
	err = s.view(func(d *disk) error {
		return d.scan(nodes, nil, appendNum(nil, from), func(k, v []byte) (bool, error) {
			num, _, ok := takeNum(k)
			r := reader{b: v}
			id := r.string()
			if !ok || r.bad {
				return false, errFormat
			}
			if num > last {
				return false, nil
			}
			if steps++; steps > walkStep {
				next = num
				return false, nil
			}
			if _, ok := seen[id]; !ok && !cut(layers, s.hash.name(id), id) {
				found = append(found, id)
			}
			return true, nil
		})
	})
	return found, next, err
}
