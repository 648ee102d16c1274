package store

import (
	"sync"
	"time"
)

// index is the records in memory: all there are.
type index struct {
	// mu guards the maps, and what record says. It is not held over I/O.
	mu      sync.Mutex
	records map[string]*record
	// dirty are records whose facts have changed in a way that may be lost in a
	// crash. They go to the disk with the next write.
	dirty map[string]*record
	// chains are records that were built here, by the chain ID of their layers: one of
	// each.
	chains map[string]*record
	// caches are the cache mounts by their cache ID.
	caches map[string][]*record
	// freed has, by cache ID, what is closed when one of them is free again.
	freed map[string]chan struct{}
}

func newIndex() *index {
	return &index{records: map[string]*record{}, dirty: map[string]*record{}, chains: map[string]*record{}, caches: map[string][]*record{}, freed: map[string]chan struct{}{}}
}

// load puts in what was read from the disk, and returns the IDs of what cannot be
// right: records whose parents are missing, or that are their own ancestors.
func (x *index) load(all map[string]facts) (bad []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	waiting := map[string]int{}       // parents not loaded yet
	children := map[string][]string{} // by parent
	var ready []string
	for id, f := range all {
		for _, p := range f.Parents {
			if p != "" {
				waiting[id]++
				children[p] = append(children[p], id)
			}
		}
		if waiting[id] == 0 {
			ready = append(ready, id)
		}
	}
	for len(ready) > 0 {
		id := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		r := &record{id: id, facts: all[id]}
		for _, p := range r.facts.Parents {
			r.parents = append(r.parents, x.records[p])
		}
		x.insert(r)
		for _, c := range children[id] {
			if waiting[c]--; waiting[c] == 0 {
				ready = append(ready, c)
			}
		}
	}
	for id := range all {
		if x.records[id] == nil {
			bad = append(bad, id)
		}
	}
	return bad
}

// insert puts in a new record. The caller has mu.
func (x *index) insert(r *record) {
	x.records[r.id] = r
	r.layers = r.countLayers()
	x.addChain(r)
	for _, p := range r.parents {
		if p != nil {
			p.children++
		}
	}
	if r.facts.Kind == kindCacheMount && !r.dropped {
		x.caches[r.facts.CacheID] = append(x.caches[r.facts.CacheID], r)
	}
}

// addChain makes a record known by its chain ID, if it has one, and no other has it.
// The caller has mu.
func (x *index) addChain(r *record) {
	if c := r.facts.Chain.String(); c != "" && x.chains[c] == nil {
		x.chains[c] = r
	}
}

// remove takes out a record without holds and children. The caller has mu.
func (x *index) remove(r *record) {
	delete(x.records, r.id)
	delete(x.dirty, r.id)
	if x.chains[r.facts.Chain.String()] == r {
		delete(x.chains, r.facts.Chain.String())
	}
	for _, p := range r.parents {
		if p != nil {
			p.children--
		}
	}
	if r.facts.Kind == kindCacheMount {
		rest := x.caches[r.facts.CacheID]
		for i, other := range rest {
			if other == r {
				rest = append(rest[:i:i], rest[i+1:]...)
				break
			}
		}
		if len(rest) == 0 {
			delete(x.caches, r.facts.CacheID)
		} else {
			x.caches[r.facts.CacheID] = rest
		}
	}
}

// markDirty has a record written with the next write, if it is still there. The
// caller has mu.
func (x *index) markDirty(r *record) {
	if x.records[r.id] == r {
		x.dirty[r.id] = r
	}
}

// lend notes of a record that another shares files of it. The caller has mu.
func (x *index) lend(id string) {
	if r := x.records[id]; r != nil && !r.facts.Lent {
		r.facts.Lent = true
		x.markDirty(r)
	}
}

// hold takes a hold of a record, and of what it is made of. The caller has mu.
func (x *index) hold(r *record) {
	r.facts.LastUsed = time.Now()
	r.facts.Uses++
	if r.facts.Kind == kindCacheMount {
		r.facts.Size = nil // it is about to be written to
	}
	x.markDirty(r)
	x.pin(r)
}

// pin is hold, where that is no use of the record. The caller has mu.
func (x *index) pin(r *record) {
	todo := []*record{r}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if r.holds++; r.holds > 1 {
			continue
		}
		for _, p := range r.parents {
			if p != nil {
				todo = append(todo, p)
			}
		}
	}
}

// unhold gives a hold up, and returns the views that nobody needs any more, to be
// dropped without mu. Used says that the record was in use until now. The caller has mu.
func (x *index) unhold(r *record, used bool) []*view {
	now := time.Now()
	var idle []*view
	todo := []*record{r}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if r.holds--; r.holds > 0 {
			continue
		}
		if used && r.facts.LastUsed.Before(now) {
			r.facts.LastUsed = now
			x.markDirty(r)
		}
		if r.view != nil {
			idle = append(idle, r.view)
			r.view = nil
		}
		r.providers, r.teller = nil, nil
		for _, p := range r.parents {
			if p != nil {
				todo = append(todo, p)
			}
		}
	}
	return idle
}

// lose notes that the snapshot of a record is gone from the disk, and by that those of all
// that was made upon it. What is made of others is without a snapshot from now on, until
// it is needed; the rest is lost. The caller has mu.
func (x *index) lose(gone *record) {
	upon := map[*record]bool{gone: true, nil: false}
	var is func(r *record) bool
	is = func(r *record) bool {
		known, ok := upon[r]
		if !ok {
			for _, p := range r.parents {
				known = is(p) || known
			}
			upon[r] = known
		}
		return known
	}
	for _, r := range x.records {
		if !is(r) || r.facts.Snapshot == "" {
			continue
		}
		if r.facts.Kind == kindCommitted || r.facts.Kind == kindCacheMount {
			r.lost = true
			continue
		}
		r.facts.Snapshot, r.facts.Flat, r.facts.Size, r.dir = "", "", nil, ""
		x.markDirty(r)
	}
}
