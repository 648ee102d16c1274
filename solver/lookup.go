package solver

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// asking is what the caches elsewhere are to find out for an edge: whether inputs lead
// to its operation, which keys all inputs share, or what records keys have.
type asking struct {
	// probes are the inputs being asked about.
	probes map[int32]*probing
	// left counts the caches that have not answered what is not a probe; found and
	// candidates are their answers.
	left       int
	found      []foundKey
	candidates []candidate
	// then goes on once they have.
	then func(*Solver, *edgeState, *asking)
}

// probing is one input that caches elsewhere are asked about.
type probing struct {
	left    int           // caches that have not answered
	matched edge.Managers // those that have led to the operation
	// from is the first key asked about, and content that the content key was: both are
	// to be asked about again where the answer is given up.
	from    int
	content bool
}

// lookupCall asks one cache that does not answer from memory.
type lookupCall struct {
	task
	e       *edgeState
	src     *source
	manager int // in the vertex's caches
	op      *CacheMap
	output  Index
	limit   *time.Timer
	turn    uint64 // Solver.turns as it was made
	hangs   bool   // it counts in src.hung

	probes []probeItem
	match  []keyDep    // find the keys that these share; nil: not that
	roots  []*CacheKey // match these keys, which have no inputs; nil: not that
	keys   []foundKey  // list their records; nil: not that

	found      []foundKey
	candidates []candidate
}

// probeItem is one input to probe, and what was found of it.
type probeItem struct {
	input   int32
	dep     keyDep // only what was not probed yet
	matched bool
	answers []answer // of a manager that is not our own
}

// candidate is a record an edge's result may be loaded from.
type candidate struct {
	key     *CacheKey
	record  *CacheRecord
	manager int
}

// probe asks the caches whether any new key of an input leads to the operation.
func (s *Solver) probe(e *edgeState, i int32) (edge.Event, bool) {
	v := e.v
	content := v.content(int(i))
	from, to, withContent := s.g.Probing(e.id, int(i), content != nil)
	s.noteAsked(e)
	ev := edge.Event{Kind: edge.Probed, Input: i}
	if from == to && !withContent {
		return ev, true
	}
	item := probeItem{input: i}
	item.dep.selector = v.op.first.Deps[i].Selector
	item.dep.keys = s.input(v, int(i)).lookups()[from:to:to]
	if withContent {
		item.dep.content = content
	}
	set, asked := v.caches, s.g.Asked(e.id)
	for m, src := range set.list {
		if !src.inline || asked&(1<<m) == 0 {
			continue
		}
		dep := item.dep
		if m > 0 {
			dep = dep.abroad()
		}
		found, err := src.own.leads(dep, v.op.first.Digest, Index(i), e.index)
		if err != nil {
			s.report(v, fmt.Errorf("cache %s: look-up: %w", src.id, err))
		} else if found {
			ev.Mask |= 1 << m
		}
	}
	if set.inline&asked != 0 {
		e.trace.add(traceEvent{kind: TraceProbe, input: i, asked: uint32(set.inline & asked), answered: uint32(ev.Mask), n: int32(to - from), content: withContent})
	}
	elsewhere := s.elsewhere(v, asked)
	if elsewhere == 0 {
		return ev, true
	}
	p := &probing{matched: ev.Mask, from: from, content: withContent}
	ask := e.ask()
	if ask.probes == nil {
		ask.probes = map[int32]*probing{}
	}
	ask.probes[i] = p
	for m := range set.list {
		if elsewhere&(1<<m) != 0 {
			p.left++
			s.askAbout(e, m, item)
		}
	}
	return ev, false
}

// askAbout asks a cache elsewhere about an input, together with others that are asked
// about in this turn.
func (s *Solver) askAbout(e *edgeState, m int, item probeItem) {
	for _, c := range e.extra.lookups {
		if c.manager == m && c.probes != nil && c.turn == s.turns {
			c.probes = append(c.probes, item)
			return
		}
	}
	s.lookUp(e, m, &lookupCall{probes: []probeItem{item}})
}

// elsewhere are those of some caches of a vertex that do not answer from memory. That some
// of them are left out is reported.
func (s *Solver) elsewhere(v *vertex, among edge.Managers) edge.Managers {
	all := among & v.caches.mask() &^ v.caches.inline
	if all == 0 {
		return 0
	}
	for i, src := range v.caches.list {
		if all&(1<<i) != 0 && src.hung.Load() > 0 {
			all &^= 1 << i
			s.report(v, src.leftOut(s.patience))
		}
	}
	return all
}

// noteAsked notes when the caches were asked, the first time.
func (s *Solver) noteAsked(e *edgeState) {
	if e.asked == 0 {
		e.asked = s.released
	}
}

// ask returns what an edge asks caches elsewhere.
func (e *edgeState) ask() *asking {
	r := e.needExtra()
	if r.asking == nil {
		r.asking = &asking{}
	}
	return r.asking
}

// lookUp has a cache elsewhere be asked.
func (s *Solver) lookUp(e *edgeState, m int, c *lookupCall) {
	c.e, c.manager, c.src, c.output, c.turn = e, m, e.v.caches.list[m], e.index, s.turns
	if c.op == nil {
		c.op = &e.v.op.first
	}
	r := e.needExtra()
	r.lookups = append(r.lookups, c)
	s.enqueue(c, e.v, c.src.lane, 1)
	c.limit = time.AfterFunc(s.patience, func() { s.leaveOut(c) })
}

// gather asks caches elsewhere for something that is needed of all of them to go on.
func (s *Solver) gather(e *edgeState, among edge.Managers, make func(m int) *lookupCall, then func(*Solver, *edgeState, *asking)) *asking {
	ask := e.ask()
	ask.left, ask.found, ask.candidates, ask.then = 0, nil, nil, then
	for m := range e.v.caches.list {
		if among&(1<<m) != 0 {
			ask.left++
			s.lookUp(e, m, make(m))
		}
	}
	return ask
}

// leaveOut gives a call up that a cache has not answered in time.
func (s *Solver) leaveOut(c *lookupCall) {
	s.lock()
	defer s.unlock()
	if c.dropped || c.taken {
		return
	}
	s.report(c.e.v, fmt.Errorf("cache %s is left out: it has not answered within %v", c.src.id, s.patience))
	c.e.forget(c)
	if !s.drop(&c.task) {
		c.src.hung.Add(1)
		c.hangs = true
	}
	void := &lookupCall{manager: c.manager}
	for i := range c.probes { // where the call may be writing what it found
		void.probes = append(void.probes, probeItem{input: c.probes[i].input, dep: c.probes[i].dep})
	}
	s.takeAnswers(c.e, void)
}

// forget takes a call out of those under way.
func (e *edgeState) forget(c *lookupCall) {
	for i, o := range e.extra.lookups {
		if o == c {
			e.extra.lookups = append(e.extra.lookups[:i], e.extra.lookups[i+1:]...)
			return
		}
	}
}

// leaveLookup gives up what caches elsewhere were asked. It will have to be asked
// again.
func (s *Solver) leaveLookup(e *edgeState) {
	r := e.extra
	if r == nil {
		return
	}
	r.candidates = nil
	for _, c := range r.lookups {
		c.limit.Stop()
		s.drop(&c.task)
	}
	r.lookups = nil
	if r.asking == nil {
		return
	}
	for i, p := range r.asking.probes {
		s.g.Unprobe(e.id, int(i), p.from, p.content)
	}
	r.asking = nil
}

func (c *lookupCall) vertices(fn func(*vertex)) { fn(c.e.v) }

func (c *lookupCall) do(context.Context) {
	var errs []error
	for i := range c.probes {
		errs = append(errs, c.probe(&c.probes[i]))
	}
	if c.match != nil || c.roots != nil {
		keys, err := matchIn(c.src, c.op.Digest, c.output, c.match, c.roots)
		for _, k := range keys {
			c.found = append(c.found, foundKey{theirs: k, manager: c.manager})
		}
		errs = append(errs, err)
	}
	for _, f := range c.keys {
		found, err := listRecords(c.src, f)
		c.candidates = append(c.candidates, found...)
		errs = append(errs, err)
	}
	c.err = errors.Join(errs...)
}

// probe asks the cache about one input.
func (c *lookupCall) probe(item *probeItem) error {
	dep := item.dep
	if c.manager > 0 {
		dep = dep.abroad()
	}
	if c.src.own != nil {
		found, err := c.src.own.leads(dep, c.op.Digest, Index(item.input), c.output)
		if err != nil {
			return fmt.Errorf("cache %s: look-up: %w", c.src.id, err)
		}
		item.matched = found
		return nil
	}
	keys, err := query(c.src, dep.exportable(), Index(item.input), c.op.Digest, c.output)
	for _, k := range keys {
		item.answers = append(item.answers, answer{manager: c.manager, input: item.input, key: k})
	}
	item.matched = len(item.answers) > 0
	return err
}

func query(src *source, inp []CacheKeyWithSelector, input Index, op digest.Digest, output Index) (keys []*CacheKey, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cache %s: query: %w", src.id, err)
		}
	}()
	defer recovered("Query", &err)
	keys, err = src.manager.Query(inp, input, op, output)
	valid := keys[:0:0]
	for _, k := range keys {
		if k != nil && k.ID != "" {
			valid = append(valid, k)
		}
	}
	return valid, err
}

// matchIn asks one cache for the keys that all inputs share, or for roots, keys
// without inputs. Of a foreign manager only the latter: its answers about inputs
// are known already.
func matchIn(src *source, op digest.Digest, output Index, deps []keyDep, roots []*CacheKey) (keys []*CacheKey, err error) {
	if src.own == nil {
		for _, root := range roots {
			known, err := query(src, nil, 0, root.digest, output)
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
			if src.own.store.exists(root.ID) {
				keys = append(keys, root)
			}
		}
		return keys, nil
	}
	return src.own.match(deps, op, output)
}

// listRecords lists the records of a key that was found in a cache.
func listRecords(src *source, f foundKey) (out []candidate, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cache %s: records of %s: %w", src.id, f.theirs.ID, err)
		}
	}()
	defer recovered("Records", &err)
	var recs []*CacheRecord
	if src.own != nil && f.manager != 0 { // sources are only read
		recs, _, err = src.own.records(f.theirs)
	} else {
		recs, err = src.manager.Records(f.theirs)
	}
	for _, r := range recs {
		if r != nil {
			out = append(out, candidate{key: f.key, record: r, manager: f.manager})
		}
	}
	return out, err
}

// sortCandidates puts the best first: the newest, then those of the default cache, then
// by ID.
func sortCandidates(list []candidate) {
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		if !a.record.CreatedAt.Equal(b.record.CreatedAt) {
			return a.record.CreatedAt.After(b.record.CreatedAt)
		}
		if a.manager != b.manager {
			return a.manager < b.manager
		}
		return a.record.ID < b.record.ID
	})
}

func (c *lookupCall) done() {
	s, e := c.s, c.e
	if c.hangs {
		c.src.hung.Add(-1)
	}
	if c.dropped {
		return
	}
	c.limit.Stop()
	if c.err != nil {
		s.report(e.v, c.err)
	}
	e.forget(c)
	s.takeAnswers(e, c)
}

// takeAnswers takes what one cache has answered, and goes on once all have.
func (s *Solver) takeAnswers(e *edgeState, c *lookupCall) {
	ask := e.extra.asking
	if c.probes == nil {
		ask.found = append(ask.found, c.found...)
		ask.candidates = append(ask.candidates, c.candidates...)
		if ask.left--; ask.left == 0 {
			ask.then(s, e, ask)
		}
		return
	}
	for _, item := range c.probes {
		p := ask.probes[item.input]
		if item.matched {
			p.matched |= 1 << c.manager
		}
		var answered uint32
		if item.matched {
			answered = 1 << c.manager
		}
		e.trace.add(traceEvent{kind: TraceProbe, input: item.input, asked: 1 << c.manager, answered: answered, n: int32(len(item.dep.keys)), content: item.dep.content != nil})
		e.needExtra().answers = append(e.extra.answers, item.answers...)
		if p.left--; p.left == 0 {
			delete(ask.probes, item.input)
			s.tell(e, edge.Event{Kind: edge.Probed, Input: item.input, Mask: p.matched})
		}
	}
}
