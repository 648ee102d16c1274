package solver

import (
	"fmt"
	"reflect"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// maxManagers is how many caches one vertex can be looked up in: the bits that a
// trace keeps of them. Further ones are not asked.
const maxManagers = 32

// maxWider is how many sets are remembered for others to share.
const maxWider = 64

// sameManager reports whether two managers are one object. Managers of one ID need
// not be: a later one may stand for the same cache as it is now.
func sameManager(a, b CacheManager) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}

// cacheSet is the caches of a vertex: the default one, and the sources of the
// requests for it. It is immutable, and shared by all vertices that have the same.
type cacheSet struct {
	list []CacheManager
	// own has, where a manager is of this package, the manager itself: it is asked
	// more sparingly than the interface allows.
	own []*cacheManager
	// inline has the managers that answer from memory.
	inline edge.Managers
	// wider are the sets with one manager more, by its ID. Guarded by Solver.mu.
	wider map[string]*cacheSet
}

func newCacheSet(managers ...CacheManager) *cacheSet {
	set := &cacheSet{list: managers}
	for i, m := range managers {
		own, _ := m.(*cacheManager)
		set.own = append(set.own, own)
		if own != nil && own.answersFromMemory() {
			set.inline |= 1 << i
		}
	}
	return set
}

// managers are those of the set; nil has none.
func (c *cacheSet) managers() []CacheManager {
	if c == nil {
		return nil
	}
	return c.list
}

func (c *cacheSet) mask() edge.Managers {
	return edge.Managers(1)<<len(c.list) - 1
}

// with returns the set that has m too. Solver.mu is held.
func (c *cacheSet) with(m CacheManager) *cacheSet {
	id := managerID(m)
	for _, o := range c.list {
		if managerID(o) == id {
			return c
		}
	}
	if len(c.list) == maxManagers {
		return c
	}
	if set := c.wider[id]; set != nil && sameManager(set.list[len(c.list)], m) {
		return set
	}
	list := append(append(make([]CacheManager, 0, len(c.list)+1), c.list...), m)
	set := newCacheSet(list...)
	if c.wider == nil || len(c.wider) == maxWider {
		c.wider = map[string]*cacheSet{}
	}
	c.wider[id] = set
	return set
}

// managerID is a manager's ID. One that panics is known by what it is.
func managerID(m CacheManager) (id string) {
	defer func() {
		if recover() != nil {
			id = fmt.Sprintf("%T %p", m, m)
		}
	}()
	return m.ID()
}
