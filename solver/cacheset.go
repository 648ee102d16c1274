package solver

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/slots"
)

// maxManagers is how many caches one vertex can be looked up in: the bits that a
// trace keeps of them. Further ones are not asked.
const maxManagers = 32

// maxKnown is how many sources, and wider sets of a set, are remembered for others to
// share.
const maxKnown = 64

// sourceSlots is how many calls are made to one cache at the same time.
const sourceSlots = 16

// source is a cache as the solver asks it.
type source struct {
	manager CacheManager
	id      string
	// own is the manager if it is one of this package: it is asked more sparingly than
	// the interface allows.
	own *cacheManager
	// inline: it answers from memory, and is asked with the solver's lock held. For the
	// calls to others there is a lane.
	inline bool
	lane   *slots.Lane
	// late: it is asked later than others.
	late bool
	// quick: it keeps results in memory, too, so that no call of it takes long.
	quick bool
	// hung counts its calls that did not return in time, and still run. While there are
	// any it is neither asked nor written to.
	hung atomic.Int32
}

func newSource(m CacheManager) *source {
	src := &source{manager: m, id: managerID(m), lane: slots.NewLane(sourceSlots, true)}
	src.own, _ = m.(*cacheManager)
	if l, ok := m.(LateCache); ok {
		src.late = l.AskedLate()
	}
	src.inline = src.own != nil && src.own.AnswersFromMemory()
	if src.inline {
		_, src.quick = src.own.results.(*memResults)
	}
	return src
}

// leftOut says that a cache is not asked since it hangs.
func (src *source) leftOut(patience time.Duration) error {
	return fmt.Errorf("cache %s is left out: it has not returned from an earlier call within %v", src.id, patience)
}

// source finds the source of a manager, or makes it. Managers of one ID need not be one
// object: a later one may stand for the same cache as it is now.
func (s *Solver) source(m CacheManager) *source {
	id := managerID(m)
	if src := s.sources[id]; src != nil && sameManager(src.manager, m) {
		return src
	}
	if s.sources == nil || len(s.sources) == maxKnown {
		s.sources = map[string]*source{}
	}
	src := newSource(m)
	s.sources[id] = src
	return src
}

func sameManager(a, b CacheManager) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}

// cacheSet is the caches of a vertex: the default one, and the sources of the
// requests for it. It is immutable, and shared by all vertices that have the same.
type cacheSet struct {
	list []*source
	all  []CacheManager // those of list
	// inline has the managers that answer from memory.
	inline edge.Managers
	// late has the managers that are asked later.
	late edge.Managers
	// wider are the sets with one manager more, by its ID. Guarded by Solver.mu.
	wider map[string]*cacheSet
}

// newCacheSet returns a set with sources of its own.
func newCacheSet(managers ...CacheManager) *cacheSet {
	var list []*source
	for _, m := range managers {
		list = append(list, newSource(m))
	}
	return setOf(list)
}

func setOf(list []*source) *cacheSet {
	set := &cacheSet{list: list}
	for i, src := range list {
		set.all = append(set.all, src.manager)
		if src.inline {
			set.inline |= 1 << i
		}
		if src.late {
			set.late |= 1 << i
		}
	}
	return set
}

// managers are those of the set; nil has none.
func (c *cacheSet) managers() []CacheManager {
	if c == nil {
		return nil
	}
	return c.all
}

// among are some of the caches, as a machine asks them. The default one is asked first.
func (c *cacheSet) among(mask edge.Managers) edge.Caches {
	later := c.late &^ 1
	return edge.Caches{First: mask &^ later, Later: mask & later}
}

func (c *cacheSet) mask() edge.Managers {
	return edge.Managers(1)<<len(c.list) - 1
}

// with returns the set that has a source too. Solver.mu is held.
func (c *cacheSet) with(src *source) *cacheSet {
	for _, o := range c.list {
		if o.id == src.id {
			return c
		}
	}
	if len(c.list) == maxManagers {
		return c
	}
	if set := c.wider[src.id]; set != nil && set.list[len(c.list)] == src {
		return set
	}
	set := setOf(append(append(make([]*source, 0, len(c.list)+1), c.list...), src))
	if c.wider == nil || len(c.wider) == maxKnown {
		c.wider = map[string]*cacheSet{}
	}
	c.wider[src.id] = set
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
