package edge

import (
	"math/rand/v2"
	"slices"
)

// oracle solves a scenario by plain recursion, one thing after another, with
// caches that do not change. It shares no code with the machine: it says what may
// be run and computed, and what comes out. It shares no executions either, for who
// can share depends on the order of events.
type oracle struct {
	sp      *spec
	caches  []*simCache
	edges   map[[2]int]*oracleEdge
	ran     map[int]bool // vertices; whether or not that failed
	digests map[[2]int]bool
	// r shuffles what may be done in any order; nil: in order.
	r *rand.Rand
	// contents are the content keys by vertex and input, as in simVertex. Nil: each
	// output of a vertex has its own.
	contents map[int][]string
}

type oracleEdge struct {
	o        *oracle
	v        *vertexSpec
	id       [2]int
	keys     []string
	maps     int
	level    Level
	failed   bool
	contents []string
	found    []simFound
	tried    int
	hit      bool // found has something untried
	widened  bool // those to be asked later are asked
}

func newOracle(sp *spec) *oracle {
	return &oracle{sp: sp, caches: newCaches(sp), edges: map[[2]int]*oracleEdge{}, ran: map[int]bool{}, digests: map[[2]int]bool{}}
}

// order is an order of the numbers below n.
func (o *oracle) order(n int) []int {
	if o.r != nil {
		return o.r.Perm(n)
	}
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func (o *oracle) edge(v, output int) *oracleEdge {
	id := [2]int{v, output}
	if o.edges[id] == nil {
		spec := &o.sp.Vertices[v]
		contents := o.contents[v]
		if contents == nil {
			contents = make([]string, len(spec.Inputs))
		}
		if o.contents != nil {
			o.contents[v] = contents
		}
		o.edges[id] = &oracleEdge{o: o, v: spec, id: id, contents: contents}
	}
	return o.edges[id]
}

func (e *oracleEdge) input(i int) *oracleEdge {
	return e.o.edge(e.v.Inputs[i].Vertex, e.v.Inputs[i].Output)
}

// solve climbs to a level and reports whether it got there.
func (e *oracleEdge) solve(want Level) bool {
	if e.level >= want {
		return true
	}
	if e.failed {
		return false
	}
	if !e.gather() {
		e.failed = true
		return false
	}
	for e.level < want {
		if !e.climb(want) {
			e.failed = true
			return false
		}
	}
	return true
}

// gather forms the definition key.
func (e *oracleEdge) gather() bool {
	if len(e.keys) > 0 {
		return true
	}
	if e.v.MapFails {
		return false
	}
	if len(e.v.Inputs) == 0 {
		e.nextMap()
		return true
	}
	for _, i := range e.o.order(len(e.v.Inputs)) {
		if !e.input(i).solve(Keys) {
			return false
		}
	}
	def := e.v.definition(func(i int) (string, string) { return e.input(i).keys[0], e.v.Inputs[i].Selector })
	e.keys = []string{outputKey(def, e.id[1])}
	if e.level = Keys; e.match() || !e.waits() && !e.possible() {
		e.level = AllKeys
	}
	return true
}

// waits reports whether there are caches that have not been asked yet.
func (e *oracleEdge) waits() bool {
	return len(e.v.Inputs) > 0 && !e.v.Ignore && e.v.Managers&e.v.Later != 0 && !e.widened
}

// widen has the caches be asked, too, that are asked later, and reports whether they
// were not before.
func (e *oracleEdge) widen() bool {
	waits := e.waits()
	e.widened = e.widened || waits
	return waits
}

func (e *oracleEdge) nextMap() {
	e.keys = append(e.keys, rootKey(e.v.Maps[e.maps], e.id[1]))
	if e.maps++; e.maps < len(e.v.Maps) {
		e.level = max(e.level, Keys)
	} else {
		e.level = max(e.level, AllKeys)
	}
}

// climb does the cheapest thing that may bring the edge further.
func (e *oracleEdge) climb(want Level) bool {
	root := len(e.v.Inputs) == 0
	switch {
	case (want == Result || !root) && e.match():
		e.level = AllKeys
		if want == Result {
			e.hit = false
			if e.load() {
				e.level = Result
			}
		}
	case root && e.maps < len(e.v.Maps):
		e.nextMap()
	case e.widen():
	case !root && e.possible():
		more, ok := e.more()
		if !ok {
			return false
		}
		if !more {
			return e.missed(want)
		}
	default:
		return e.missed(want)
	}
	return true
}

func (e *oracleEdge) managers() (out []int) {
	for m := range e.o.caches {
		if e.v.Managers&(1<<m) != 0 && !e.v.Ignore && (e.v.Later&(1<<m) == 0 || e.widened) {
			out = append(out, m)
		}
	}
	return out
}

func (e *oracleEdge) dep(i int) dep {
	d := dep{keys: e.input(i).keys, selector: e.v.Inputs[i].Selector}
	if e.contents[i] != "!" {
		d.content = e.contents[i]
	}
	return d
}

// match notes keys that all inputs share, and reports whether some are untried.
func (e *oracleEdge) match() bool {
	var deps []dep
	for i := range e.v.Inputs {
		deps = append(deps, e.dep(i))
	}
	for _, m := range e.managers() {
		var keys []string
		if deps == nil {
			for _, k := range e.keys {
				if e.o.caches[m].roots[k] {
					keys = append(keys, k)
				}
			}
		} else {
			keys = e.o.caches[m].match(deps, e.v.Op, e.id[1])
		}
		for _, k := range keys {
			if f := (simFound{k, m}); !slices.Contains(e.found, f) {
				e.found, e.hit = append(e.found, f), true
				if !slices.Contains(e.keys, k) {
					e.keys = append(e.keys, k)
				}
			}
		}
	}
	return e.hit
}

func (e *oracleEdge) load() bool {
	untried := e.found[e.tried:]
	e.tried = len(e.found)
	for _, f := range untried {
		for _, r := range e.o.caches[f.manager].records[f.key] {
			if r.loads {
				return true
			}
		}
	}
	return false
}

func (e *oracleEdge) matchedIn(m, i int) bool {
	return e.o.caches[m].leads(e.dep(i), e.v.Op, i, e.id[1])
}

// alive are the caches in which every input is matched, or may bring more keys.
func (e *oracleEdge) alive() (out []int) {
	for _, m := range e.managers() {
		ok := true
		for i := range e.v.Inputs {
			ok = ok && (e.matchedIn(m, i) || e.input(i).level < AllKeys || e.openContent(i))
		}
		if ok {
			out = append(out, m)
		}
	}
	return out
}

func (e *oracleEdge) possible() bool { return len(e.alive()) > 0 }

func (e *oracleEdge) openKeys(i int) bool    { return e.input(i).level < AllKeys }
func (e *oracleEdge) openContent(i int) bool { return e.v.Inputs[i].Content && e.contents[i] == "" }

// openDigest: a content key of a result that is there. Which results are there is
// a matter of order, so it may be that none is.
func (e *oracleEdge) openDigest(i int) bool {
	return e.o.contents != nil && e.openContent(i) && e.input(i).level == Result
}

// more gets more keys of inputs, in the cheapest way there is, from all to which
// it applies: false where there are none, and ok false where an input failed.
func (e *oracleEdge) more() (more, ok bool) {
	alive := e.alive()
	for k, kind := range []struct {
		matched bool
		open    func(i int) bool
		get     func(i int) bool
	}{
		{false, e.openKeys, e.moreKeys},
		{false, e.openDigest, e.digest},
		{false, e.openContent, e.digest},
		{true, e.openKeys, e.moreKeys},
		{true, e.openDigest, e.digest},
		{true, e.openContent, e.digest},
	} {
		var those []int
		for _, i := range e.o.order(len(e.v.Inputs)) {
			matched := slices.ContainsFunc(alive, func(m int) bool { return e.matchedIn(m, i) })
			if matched == kind.matched && kind.open(i) {
				those = append(those, i)
			}
		}
		ok = true
		for _, i := range those {
			ok = kind.get(i) && ok
			if k == 0 {
				ok = e.ahead(alive) && ok
			}
		}
		if len(those) > 0 {
			return true, ok
		}
	}
	return false, true
}

// ahead solves inputs that have no match, and no more keys but that of their
// content, as a machine does while it has not been told of all others, whose keys
// may show that there is no match: which it is told of first is a matter of order.
// Alive is what was before any of these keys.
func (e *oracleEdge) ahead(alive []int) bool {
	ok := true
	for _, i := range e.o.order(len(e.v.Inputs)) {
		matched := slices.ContainsFunc(alive, func(m int) bool { return e.matchedIn(m, i) })
		if !matched && !e.openKeys(i) && e.openContent(i) && e.o.r != nil && e.o.r.IntN(2) == 0 {
			ok = e.input(i).solve(Result) && ok
		}
	}
	return ok
}

func (e *oracleEdge) moreKeys(i int) bool {
	in := e.input(i)
	if len(in.v.Inputs) == 0 && in.level < AllKeys {
		in.nextMap()
		// Another output of the root may have brought it further already.
		for in.level < AllKeys && e.o.r != nil && e.o.r.IntN(2) == 0 {
			in.nextMap()
		}
		return true
	}
	return in.solve(AllKeys)
}

func (e *oracleEdge) digest(i int) bool {
	if !e.input(i).solve(Result) {
		return false
	}
	if e.contents[i] != "" {
		return true // the input is there twice, or another output's edge did it
	}
	e.o.digests[[2]int{e.id[0], i}] = true
	in := &e.v.Inputs[i]
	s := sim{sp: e.o.sp, truths: map[[2]int]string{}}
	if e.contents[i] = contentKey(in, s.truth(in.Vertex, in.Output)); in.DigestFails {
		e.contents[i] = "!"
	}
	return true
}

// missed ends a search without a match: the op is run.
func (e *oracleEdge) missed(want Level) bool {
	e.level = AllKeys
	if want < Result {
		return true
	}
	ok := true
	for _, i := range e.o.order(len(e.v.Inputs)) {
		ok = e.input(i).solve(Result) && ok
	}
	if !ok {
		return false
	}
	e.o.ran[e.id[0]] = true
	if e.o.sp.bad(e.id[0]) {
		return false
	}
	e.level = Result
	return true
}
