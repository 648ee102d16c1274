package boltstore

import (
	"github.com/tenonbuild/tenon/solver"
)

// Look-ups ask the active layer, then the frozen one, then the file, and stop
// where one hides what is below it. They collect their answer, and call back
// when they hold nothing any more.

// layers are those there are, from the top. mu is held.
func (s *Store) layers() []*layer {
	if s.frozen == nil {
		return []*layer{s.active}
	}
	return []*layer{s.active, s.frozen}
}

// released says whether any of the layers hides a result below them.
func released(layers []*layer, resultID string) bool {
	for _, l := range layers {
		if _, ok := l.released[resultID]; ok {
			return true
		}
	}
	return false
}

// cut says whether any of the layers hides a node below them.
func cut(layers []*layer, h uint64, id string) bool {
	for _, l := range layers {
		if p := l.find(h, id); p != nil && p.cut {
			return true
		}
	}
	return false
}

// lookup begins a look-up at the file: it runs fn if the file has the node. mu
// is held.
func (s *Store) lookup(h uint64, id string, fn func(d *disk, num uint64, rec []byte) error) error {
	if !s.known.has(h) {
		return nil
	}
	return s.view(func(d *disk) error {
		num, rec, err := d.lookup(h, id)
		if err != nil || num == 0 {
			return err
		}
		return fn(d, num, rec)
	})
}

// Exists implements solver.CacheKeyStorage.
func (s *Store) Exists(id string) bool {
	h := s.hash.name(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	ok, err := s.exists(h, id)
	s.quiet(err)
	return ok
}

// exists is Exists. mu is held.
func (s *Store) exists(h uint64, id string) (ok bool, err error) {
	if p := s.active.find(h, id); p != nil {
		return p.live, nil
	}
	if s.frozen != nil {
		if p := s.frozen.find(h, id); p != nil {
			return p.live, nil
		}
	}
	err = s.lookup(h, id, func(*disk, uint64, []byte) error {
		ok = true
		return nil
	})
	return ok, err
}

// resultSet collects results, each once.
type resultSet struct {
	list []solver.CacheResult
	seen map[string]struct{}
}

func (rs *resultSet) add(res solver.CacheResult) {
	if rs.seen == nil && len(rs.list) < few {
		for i := range rs.list {
			if rs.list[i].ID == res.ID {
				return
			}
		}
	} else {
		if rs.seen == nil {
			rs.seen = make(map[string]struct{})
			for i := range rs.list {
				rs.seen[rs.list[i].ID] = struct{}{}
			}
		}
		if _, ok := rs.seen[res.ID]; ok {
			return
		}
		rs.seen[res.ID] = struct{}{}
	}
	rs.list = append(rs.list, res)
}

// WalkResults implements solver.CacheKeyStorage.
func (s *Store) WalkResults(id string, fn func(solver.CacheResult) error) error {
	found, err := s.collectResults(s.hash.name(id), id)
	if err != nil {
		return err
	}
	for _, res := range found {
		if err := fn(res); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) collectResults(h uint64, id string) ([]solver.CacheResult, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	var set resultSet
	layers := s.layers()
	for i, l := range layers {
		p := l.find(h, id)
		if p == nil {
			continue
		}
		for _, res := range p.results {
			if !released(layers[:i], res.ID) {
				set.add(res)
			}
		}
		if p.cut {
			return set.list, nil
		}
	}
	err := s.lookup(h, id, func(d *disk, num uint64, rec []byte) error {
		return d.eachResult(num, rec, nil, func(_ []byte, res solver.CacheResult) bool {
			if !released(layers, res.ID) {
				set.add(res)
			}
			return true
		})
	})
	return set.list, err
}

// Load implements solver.CacheKeyStorage.
func (s *Store) Load(id string, resultID string) (res solver.CacheResult, err error) {
	h := s.hash.name(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return solver.CacheResult{}, ErrClosed
	}
	for _, l := range s.layers() {
		p := l.find(h, id)
		if p != nil {
			if i := p.findResult(resultID); i >= 0 {
				return p.results[i], nil
			}
		}
		if _, gone := l.released[resultID]; gone || p != nil && p.cut {
			return solver.CacheResult{}, solver.ErrNotFound
		}
	}
	found := false
	err = s.lookup(h, id, func(d *disk, num uint64, rec []byte) (err error) {
		res, err = d.result(num, rec, resultID)
		found = true
		return err
	})
	if err == nil && !found {
		err = solver.ErrNotFound
	}
	return res, err
}

// WalkIDsByResult implements solver.CacheKeyStorage.
func (s *Store) WalkIDsByResult(resultID string, fn func(string) error) error {
	found, err := s.collectHolders(resultID)
	if err != nil {
		return err
	}
	for _, id := range found {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) collectHolders(resultID string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	return s.holdersOf(resultID)
}

// holdersOf returns the nodes that hold a result. mu is held.
func (s *Store) holdersOf(resultID string) (found []string, err error) {
	layers := s.layers()
	seen := make(map[string]struct{})
	add := func(above []*layer, h uint64, id string) {
		if _, ok := seen[id]; !ok && !cut(above, h, id) {
			seen[id] = struct{}{}
			found = append(found, id)
		}
	}
	for i, l := range layers {
		for _, p := range l.holders[resultID] {
			add(layers[:i], p.hash, p.id)
		}
		if _, ok := l.released[resultID]; ok {
			return found, nil
		}
	}
	err = s.view(func(d *disk) error {
		return d.eachHolder(resultID, func(_ uint64, rec []byte) error {
			r := reader{b: rec}
			id := r.string()
			add(layers, s.hash.name(id), id)
			return nil
		})
	})
	return found, err
}

// HasLink implements solver.CacheKeyStorage.
func (s *Store) HasLink(id string, link solver.CacheInfoLink, target string) bool {
	hs, ht := s.hash.name(id), s.hash.name(target)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	for _, l := range s.layers() {
		src, dst := l.find(hs, id), l.find(ht, target)
		if src != nil && dst != nil && src.out.find(link, dst) != nil {
			return true
		}
		if src != nil && src.cut || dst != nil && dst.cut {
			return false
		}
	}
	has, err := s.hasLinkOnDisk(hs, id, link, ht, target)
	s.quiet(err)
	return has
}

func (s *Store) hasLinkOnDisk(hs uint64, id string, link solver.CacheInfoLink, ht uint64, target string) (has bool, err error) {
	if !s.known.has(ht) {
		return false, nil
	}
	err = s.lookup(hs, id, func(d *disk, src uint64, _ []byte) error {
		dst, rec, err := d.lookup(ht, target)
		if err != nil || dst == 0 {
			return err
		}
		h := d.hash.link(link)
		if d.bucket(links).Get(linkKey(d.key[:0], src, h, dst)) == nil {
			return nil
		}
		var room [128]byte
		has, err = d.hasBacklink(dst, rec, src, h, appendLink(room[:0], link))
		return err
	})
	return has, err
}

// WalkLinks implements solver.CacheKeyStorage.
func (s *Store) WalkLinks(id string, link solver.CacheInfoLink, fn func(id string) error) error {
	found, err := s.collectTargets(s.hash.name(id), id, link)
	if err != nil {
		return err
	}
	for _, target := range found {
		if err := fn(target); err != nil {
			return err
		}
	}
	return nil
}

// idSet collects IDs, each once.
type idSet struct {
	list []string
	seen map[string]struct{}
}

func (set *idSet) add(id string) {
	if set.seen == nil && len(set.list) < few {
		for _, old := range set.list {
			if old == id {
				return
			}
		}
	} else {
		if set.seen == nil {
			set.seen = make(map[string]struct{})
			for _, old := range set.list {
				set.seen[old] = struct{}{}
			}
		}
		if _, ok := set.seen[id]; ok {
			return
		}
		set.seen[id] = struct{}{}
	}
	set.list = append(set.list, id)
}

func (s *Store) collectTargets(h uint64, id string, link solver.CacheInfoLink) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	var set idSet
	layers := s.layers()
	for i, l := range layers {
		p := l.find(h, id)
		if p == nil {
			continue
		}
		p.out.each(link, func(e *edge) {
			if !cut(layers[:i], e.dst.hash, e.dst.id) {
				set.add(e.dst.id)
			}
		})
		if p.cut {
			return set.list, nil
		}
	}
	err := s.lookup(h, id, func(d *disk, num uint64, _ []byte) error {
		return d.eachTarget(num, link, func(target string) {
			if !cut(layers, s.hash.name(target), target) {
				set.add(target)
			}
		})
	})
	return set.list, err
}

// source is a link to a node, with the node it comes from.
type source struct {
	id   string
	link solver.CacheInfoLink
}

// WalkBacklinks implements solver.CacheKeyStorage.
func (s *Store) WalkBacklinks(id string, fn func(id string, link solver.CacheInfoLink) error) error {
	found, err := s.collectSources(s.hash.name(id), id)
	if err != nil {
		return err
	}
	for _, src := range found {
		if err := fn(src.id, src.link); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) collectSources(h uint64, id string) ([]source, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	return s.sourcesOf(h, id)
}

// sourcesOf returns the links to a node, each once. mu is held.
func (s *Store) sourcesOf(h uint64, id string) (found []source, err error) {
	// A layer repeats no link of its own, but may repeat one from below.
	var above map[source]struct{}
	for _, l := range s.layers() {
		p := l.find(h, id)
		if p == nil {
			continue
		}
		for e := p.in; e != nil; e = e.nextIn {
			src := source{id: e.src.id, link: e.link}
			if _, ok := above[src]; ok {
				continue
			}
			found = append(found, src)
		}
		if p.cut {
			return found, nil
		}
		if above == nil && len(found) > 0 {
			above = make(map[source]struct{}, len(found))
		}
		for _, src := range found {
			above[src] = struct{}{}
		}
	}
	err = s.lookup(h, id, func(d *disk, num uint64, rec []byte) error {
		return d.eachBacklink(num, rec, func(from uint64, link []byte) error {
			id, err := d.nodeID(from)
			src := source{id: id, link: unpackLink(link)}
			if _, ok := above[src]; !ok {
				found = append(found, src)
			}
			return err
		})
	})
	return found, err
}
