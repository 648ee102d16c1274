package solver

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// lookupCall asks caches that do not answer from memory. It does one of three
// things: probe inputs, find the keys that all inputs share, or list records.
type lookupCall struct {
	task
	e *edgeState

	set    *cacheSet
	skip   edge.Managers // were asked in line
	op     *CacheMap
	output Index

	probes []probeItem
	match  []keyDep    // nil: not that
	roots  []*CacheKey // match these keys, which have no inputs; nil: not that
	among  edge.Managers
	keys   []foundKey // list their records

	found      []foundKey
	candidates []candidate
	errs       []error
}

// probeItem is one input to probe, and what was found of it.
type probeItem struct {
	input   int32
	dep     keyDep // only what was not probed yet
	matched edge.Managers
	answers []answer // of managers that are not our own
}

// candidate is a record an edge's result may be loaded from.
type candidate struct {
	key     *CacheKey
	record  *CacheRecord
	manager int
}

// probe asks the caches whether any new key of an input leads to the operation.
func (s *Solver) probe(e *edgeState, i int32) {
	v, in := e.v, &e.ins[i]
	op, child := &v.op.first, v.inputs[i]
	item := probeItem{input: i}
	item.dep.selector = op.Deps[i].Selector
	item.dep.keys = child.keys[in.probed:len(child.keys):len(child.keys)]
	in.probed = int32(len(child.keys))
	if content := v.content(int(i)); content != nil && !in.content {
		item.dep.content, in.content = content, true
	}
	s.noteAsked(e)
	set := v.caches
	if n := len(item.dep.keys); n > 0 || item.dep.content != nil {
		for m := range set.own {
			if set.inline&(1<<m) == 0 {
				continue
			}
			found, err := s.leads(e, m, &item.dep, i)
			if err != nil {
				s.report(v, fmt.Errorf("cache %s: look-up: %w", managerID(set.list[m]), err))
			} else if found {
				in.matched |= 1 << m
			}
		}
		e.trace.add(traceEvent{kind: TraceProbe, input: i, asked: uint32(set.inline), answered: uint32(in.matched), n: int32(n), content: item.dep.content != nil})
		if set.inline != set.mask() {
			e.more().toLookUp = append(e.rare.toLookUp, item)
			s.lookUp(e)
			return
		}
	}
	if r := e.has(); e.settled() || r.lookup == nil || !pendingProbe(r.lookup.probes, i) && !pendingProbe(r.toLookUp, i) {
		s.tell(step{e: e, kind: edge.Probed, input: i})
	}
}

// noteAsked notes when the caches were asked, the first time.
func (s *Solver) noteAsked(e *edgeState) {
	if e.asked == 0 {
		e.asked = s.released
	}
}

// leads asks a manager of this package whether an input leads to the operation.
func (s *Solver) leads(e *edgeState, manager int, dep *keyDep, i int32) (bool, error) {
	own, op := e.v.caches.own[manager], e.v.op.first.Digest
	if own.mem != nil {
		return own.leads(*dep, op, i, e.index)
	}
	// Whoever finds out whether there are targets has found them. They are kept, so
	// that matching need not look them up again.
	ids, err := own.someTargets(dep, op, i, e.index)
	if len(ids) == 0 {
		return false, err
	}
	r := e.more()
	if len(ids) > manyTargets {
		r.tooMany |= 1 << manager
		return true, err
	}
	for _, id := range ids {
		r.answers = append(r.answers, answer{manager: manager, input: i, id: id})
	}
	return true, err
}

// leads reports whether any alternative of an input leads to the operation.
func (m *cacheManager) leads(d keyDep, op digest.Digest, input int32, output Index) (found bool, err error) {
	defer recovered("looking keys up", &err)
	link := CacheInfoLink{Input: Index(input), Output: output, Digest: op, Selector: d.selector}
	for _, k := range d.keys {
		if found, err := m.hasTargets(k, &link); found || err != nil {
			return found, err
		}
	}
	if d.content == nil {
		return false, nil
	}
	link.Selector = ""
	return m.hasTargets(d.content, &link)
}

// lookUp starts asking for what has been collected, if nothing is under way.
func (s *Solver) lookUp(e *edgeState) {
	if r := e.has(); e.settled() || r.lookup != nil || len(r.toLookUp) == 0 {
		return
	}
	c := s.newLookup(e)
	c.probes, e.rare.toLookUp = e.rare.toLookUp, nil
	s.enqueue(&c.task, c, e.v, lightLane, 1)
}

func (s *Solver) newLookup(e *edgeState) *lookupCall {
	c := &lookupCall{e: e, set: e.v.caches, skip: e.v.caches.inline, op: &e.v.op.first, output: e.index}
	e.more().lookup = c
	return c
}

func (s *Solver) leaveLookup(e *edgeState) {
	r := e.rare
	if r == nil {
		return
	}
	r.candidates = nil
	c := r.lookup
	if c == nil {
		return
	}
	s.drop(&c.task)
	r.lookup = nil
	// What was not answered will have to be asked again.
	for _, items := range [][]probeItem{c.probes, r.toLookUp} {
		for k := range items {
			item := &items[k] // the call may be writing what it found
			in := &e.ins[item.input]
			in.probed = max(0, in.probed-int32(len(item.dep.keys))) // 0: all are asked anew
			in.content = in.content && item.dep.content == nil
		}
	}
	r.toLookUp = nil
}

func (c *lookupCall) do(ctx context.Context) {
	for i := range c.probes {
		c.probe(&c.probes[i])
	}
	if c.match != nil || c.roots != nil {
		for m := range c.set.list {
			if c.among&(1<<m) != 0 && c.skip&(1<<m) == 0 {
				c.collect(m)
			}
		}
	}
	c.listRecords()
}

// probe asks every manager that was not asked in line.
func (c *lookupCall) probe(item *probeItem) {
	for m, manager := range c.set.list {
		if c.skip&(1<<m) != 0 {
			continue
		}
		if own := c.set.own[m]; own != nil {
			found, err := own.leads(item.dep, c.op.Digest, item.input, c.output)
			if err != nil {
				c.errs = append(c.errs, fmt.Errorf("cache %s: look-up: %w", managerID(manager), err))
			} else if found {
				item.matched |= 1 << m
			}
			continue
		}
		keys, err := query(manager, item.dep.exportable(), Index(item.input), c.op.Digest, c.output)
		if err != nil {
			c.errs = append(c.errs, err)
		} else if len(keys) > 0 {
			item.matched |= 1 << m
			for _, k := range keys {
				item.answers = append(item.answers, answer{manager: m, input: item.input, id: k.ID, key: k})
			}
		}
	}
}

func query(m CacheManager, inp []CacheKeyWithSelector, input Index, op digest.Digest, output Index) (keys []*CacheKey, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cache %s: query: %w", managerID(m), err)
		}
	}()
	defer recovered("Query", &err)
	keys, err = m.Query(inp, input, op, output)
	valid := keys[:0:0]
	for _, k := range keys {
		if k != nil && k.ID != "" {
			valid = append(valid, k)
		}
	}
	return valid, err
}

// collect asks one manager for the keys that all inputs share.
func (c *lookupCall) collect(m int) {
	keys, err := matchIn(c.set, m, c.op.Digest, c.output, c.match, c.roots)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	for _, k := range keys {
		c.found = append(c.found, foundKey{theirs: k, manager: m})
	}
}

// matchIn asks one manager for the keys that all inputs share, or for roots, keys
// without inputs. Of a foreign manager only the latter: its answers about inputs
// are known already.
func matchIn(set *cacheSet, m int, op digest.Digest, output Index, deps []keyDep, roots []*CacheKey) (keys []*CacheKey, err error) {
	own := set.own[m]
	if own == nil {
		for _, root := range roots {
			known, err := query(set.list[m], nil, 0, root.digest, output)
			if err != nil {
				return keys, err
			}
			keys = append(keys, known...)
		}
		return keys, nil
	}
	defer recovered("looking keys up", &err)
	if roots != nil {
		for _, root := range roots {
			if own.storage.Exists(root.ID) {
				keys = append(keys, root)
			}
		}
		return keys, nil
	}
	return own.findMatches(deps, op, output)
}

// listRecords lists the records of the keys, best first: the newest, then those
// of the default cache, then by ID.
func (c *lookupCall) listRecords() {
	for _, f := range c.keys {
		recs, err := records(c.set.list[f.manager], f.theirs)
		if err != nil {
			c.errs = append(c.errs, err)
		}
		for _, r := range recs {
			if r != nil {
				c.candidates = append(c.candidates, candidate{key: f.key, record: r, manager: f.manager})
			}
		}
	}
	sort.SliceStable(c.candidates, func(i, j int) bool {
		a, b := &c.candidates[i], &c.candidates[j]
		if !a.record.CreatedAt.Equal(b.record.CreatedAt) {
			return a.record.CreatedAt.After(b.record.CreatedAt)
		}
		if a.manager != b.manager {
			return a.manager < b.manager
		}
		return a.record.ID < b.record.ID
	})
}

func records(m CacheManager, k *CacheKey) (recs []*CacheRecord, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cache %s: records of %s: %w", managerID(m), k.ID, err)
		}
	}()
	defer recovered("Records", &err)
	return m.Records(k)
}

func (c *lookupCall) done() {
	s, e := c.solver(), c.e
	if c.dropped || e.settled() {
		return
	}
	r := e.rare
	r.lookup = nil
	if err := errors.Join(c.errs...); err != nil {
		s.report(e.v, err)
	}
	switch {
	case c.probes != nil:
		s.takeProbes(e, c)
	case c.keys != nil:
		r.tried = len(r.found)
		r.candidates = c.candidates
		s.loadNext(e)
	default:
		s.takeFound(e, c.found)
	}
	s.lookUp(e)
}

func (s *Solver) takeProbes(e *edgeState, c *lookupCall) {
	for _, item := range c.probes {
		in := &e.ins[item.input]
		in.matched |= item.matched
		e.trace.add(traceEvent{kind: TraceProbe, input: item.input, asked: uint32(c.set.mask() &^ c.skip), answered: uint32(item.matched), n: int32(len(item.dep.keys)), content: item.dep.content != nil})
		if len(item.answers) > 0 {
			e.more().answers = append(e.rare.answers, item.answers...)
		}
		if !pendingProbe(e.has().toLookUp, item.input) {
			s.tell(step{e: e, kind: edge.Probed, input: item.input})
		}
	}
}

func pendingProbe(items []probeItem, input int32) bool {
	for _, item := range items {
		if item.input == input {
			return true
		}
	}
	return false
}
