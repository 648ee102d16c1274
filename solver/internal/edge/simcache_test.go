package edge

import "slices"

// simCache is a cache: keys, the links between them, and records.
type simCache struct {
	roots   map[string]bool
	links   map[link][]string
	records map[string][]simRecord
}

type simRecord struct {
	key     string
	manager int
	created int
	loads   bool
}

// dep is what is known of one input: keys, with a selector, and a content key,
// which has none.
type dep struct {
	keys     []string
	selector string
	content  string
}

func (d dep) each(fn func(key, selector string)) {
	for _, k := range d.keys {
		fn(k, d.selector)
	}
	if d.content != "" {
		fn(d.content, "")
	}
}

func newCaches(sp *spec) []*simCache {
	caches := make([]*simCache, 8)
	for i := range caches {
		caches[i] = &simCache{roots: map[string]bool{}, links: map[link][]string{}, records: map[string][]simRecord{}}
	}
	for _, s := range sp.Stored {
		c := caches[s.Manager]
		if s.Root {
			c.roots[s.Key] = true
		}
		for _, l := range s.Links {
			c.link(l, s.Key)
		}
		if s.Record {
			c.records[s.Key] = append(c.records[s.Key], simRecord{s.Key, s.Manager, s.Created, s.Loads})
		}
	}
	return caches
}

func (c *simCache) link(l link, key string) {
	if !slices.Contains(c.links[l], key) {
		c.links[l] = append(c.links[l], key)
	}
}

// leads reports whether an input leads to an operation.
func (c *simCache) leads(d dep, op string, input, output int) bool {
	return len(c.targets(d, op, input, output)) > 0
}

func (c *simCache) targets(d dep, op string, input, output int) (out []string) {
	d.each(func(key, selector string) {
		out = append(out, c.links[link{key, selector, op, input, output}]...)
	})
	return out
}

// match returns the keys that all inputs share.
func (c *simCache) match(deps []dep, op string, output int) []string {
	var shared []string
	for i, d := range deps {
		targets := c.targets(d, op, i, output)
		if i == 0 {
			shared = targets
		}
		shared = slices.DeleteFunc(slices.Clone(shared), func(k string) bool { return !slices.Contains(targets, k) })
	}
	slices.Sort(shared)
	return slices.Compact(shared)
}

// save stores a result with all that is known of its inputs.
func (c *simCache) save(deps []dep, op, key string, output int) {
	if deps == nil {
		c.roots[key] = true
	}
	c.linkAll(deps, op, key, output)
	for _, r := range c.records[key] {
		if r.loads {
			return
		}
	}
	c.records[key] = append(c.records[key], simRecord{key: key, created: 9, loads: true})
}

func (c *simCache) linkAll(deps []dep, op, key string, output int) {
	for i, d := range deps {
		d.each(func(from, selector string) { c.link(link{from, selector, op, i, output}, key) })
	}
}

// best sorts records: the newest first, then the default cache's, then by key.
func best(recs []simRecord) {
	slices.SortStableFunc(recs, func(a, b simRecord) int {
		switch {
		case a.created != b.created:
			return b.created - a.created
		case a.manager != b.manager:
			return a.manager - b.manager
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
}
