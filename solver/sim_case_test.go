package solver_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A simCase is everything that is decided before a simulation runs: the graph,
// who builds what of it and when, and what goes wrong. It is made from a seed,
// printed when it fails, and shrunk by taking parts of it away.
type simCase struct {
	seed     uint64
	parallel int
	vertices []simVertex
	caches   []simCache // the first is the default
	rounds   []simRound
	faults   simFaults
	// losses is how many results of each value are lost at most, and unseen that caches
	// go on handing out what is gone.
	losses int
	unseen bool
}

// simVertex is a vertex. Its inputs, and what its op builds, come before it in
// simCase.vertices. Vertices of one key do the same with equal inputs.
type simVertex struct {
	id      string
	root    bool
	value   string   // of a root: keys belong to it
	keys    []string // one, except of a root
	in      []simInput
	subs    []simEdge
	subWhen simSubs
	outputs int
	noop    bool // its outputs are those of its first input, or of what it builds first
	passes  simPasses

	fault    simFault
	weight   int
	mapDelay time.Duration
	delay    time.Duration
	deaf     bool // its op does not listen to its context
	reports  bool
	export   int // VertexOptions.ExportCache: 0 nil, 1 true, 2 false
}

type simEdge struct{ vertex, output int }

type simInput struct {
	simEdge
	selector   string
	content    bool
	noContent  simFault // how its content key fails, if it does
	digestTime time.Duration
}

// simSubs is when an op builds its subs.
type simSubs uint8

const (
	subsInTurn simSubs = iota
	subsAtOnce
	subsInCacheMap
	subsBehind // by goroutines that it does not wait for
)

// simPasses is how an op returns what it passes on.
type simPasses uint8

const (
	passesValue simPasses = iota // a new result of its value
	passesOn                     // itself
	passesTwin                   // another object of its ID
)

// same is the edge that a vertex's first output is the same as, and whether an input is.
func (v *simVertex) same() (e simEdge, input, ok bool) {
	switch {
	case v.noop && len(v.in) > 0:
		return v.in[0].simEdge, true, true
	case v.noop && len(v.subs) > 0 && (v.subWhen == subsInTurn || v.subWhen == subsAtOnce):
		return v.subs[0], false, true
	}
	return e, false, false
}

// simFault is what is wrong with a vertex.
type simFault uint8

const (
	sound simFault = iota
	execFails
	execPanics
	execFailsOnce
	mapFails
	mapPanics
	resolveFails
	resolvePanics
	tooFew
	nilOutput
	simFaultKinds
)

var simFaultNames = [...]string{"", "exec-fails", "exec-panics", "exec-fails-once", "map-fails", "map-panics", "resolve-fails", "resolve-panics", "too-few", "nil-output"}

// simCache is one cache manager.
type simCache struct {
	kind simCacheKind
	wait time.Duration // the longest a call takes
}

type simCacheKind uint8

const (
	memoryCache  simCacheKind = iota
	wrappedCache              // answers from memory, but is not the storage of the package
	slowCache                 // does not answer from memory
	foreignOnly               // implements CacheManager and nothing else
	bareCache                 // and its keys and records have no more than an ID
	simCacheKinds
)

var simCacheNames = [...]string{"memory", "wrapped", "slow", "foreign", "bare"}

// simFaults is a set of what goes wrong with the caches.
type simFaults uint16

const (
	saveFails simFaults = 1 << iota
	saveLies            // Save returns an ID that does not load
	loadFails
	loadPanics
	loadNothing // Load returns neither a result nor an error
	existsLies  // Exists says yes for what is gone
	pruned
	keyWriteFails
	keyReadFails
	managerFails // a foreign manager's methods fail or panic
	simFaultsEnd
)

var simFaultsNames = [...]string{"save-fails", "save-lies", "load-fails", "load-panics", "load-nothing", "exists-lies", "pruned", "key-write-fails", "key-read-fails", "manager-fails"}

// simRound is a number of jobs that run together, on the caches as the round
// before left them.
type simRound struct {
	fresh   bool // on a solver of its own
	closeAt time.Duration
	jobs    []simJob
}

type simJob struct {
	at        time.Duration
	builds    []simBuild
	discardAt time.Duration // after at; 0: when its builds have returned
	priority  int
	ignore    []int // vertices
	sources   []int // caches
	watchers  []simWatcher
	traceAt   time.Duration // after at; 0: never
	keep      bool          // results are released when all is over
}

type simBuild struct {
	simEdge
	at       time.Duration // after the job's
	cancelAt time.Duration // after that; 0: never
	export   bool
}

// simWatcher is a subscriber of a job's status.
type simWatcher struct {
	at     time.Duration
	leave  time.Duration // after at; 0: at the end
	stalls bool
}

// simGen makes a case from a seed.
type simGen struct {
	*rand.Rand
	c     *simCase
	grain bool // many things happen at the same instant
}

func newSimCase(seed uint64) *simCase {
	g := &simGen{Rand: rand.New(rand.NewPCG(seed, 0x7e40)), c: &simCase{seed: seed}}
	c := g.c
	g.grain = g.chance(50)
	c.parallel = 1 + g.IntN(4)
	if g.chance(40) {
		for f := simFaults(1); f < simFaultsEnd; f <<= 1 {
			if g.chance(25) {
				c.faults |= f
			}
		}
	}
	if g.chance(60) {
		c.unseen = g.chance(25)
		c.losses = 1 + g.IntN(simRewinds-1)
		if g.chance(15) {
			c.losses = 8
		}
	}
	faulty := g.chance(35)
	for range 2 + g.IntN(12) {
		g.vertex(faulty)
	}
	for i := 0; i == 0 || i < 3 && g.chance(35); i++ {
		kind := memoryCache
		if g.chance(50) {
			kind = simCacheKind(g.IntN(int(simCacheKinds)))
		}
		c.caches = append(c.caches, simCache{kind: kind, wait: g.time(5)})
	}
	for i := 0; i == 0 || i < 3 && g.chance(50); i++ {
		g.round(i)
	}
	return c
}

func (g *simGen) chance(percent int) bool { return g.IntN(100) < percent }

// time is a duration of up to n milliseconds, and at least something.
func (g *simGen) time(n int) time.Duration {
	if g.grain {
		return time.Duration(1+g.IntN(max(1, n/3))) * 3 * time.Millisecond
	}
	return time.Duration(1 + g.Int64N(int64(n)*int64(time.Millisecond)))
}

func (g *simGen) vertex(faulty bool) {
	c := g.c
	i := len(c.vertices)
	v := simVertex{outputs: 1}
	switch {
	case i == 0 || g.chance(25):
		v.root = true
		v.value = string("xyz"[g.IntN(3)])
		if g.chance(40) {
			v.value = fmt.Sprint("r", i)
		}
		v.keys = []string{fmt.Sprint("k", i)}
		if g.chance(50) {
			v.keys = strings.Split("abc", "")
			g.Shuffle(3, func(a, b int) { v.keys[a], v.keys[b] = v.keys[b], v.keys[a] })
			v.keys = v.keys[:1+g.IntN(3)]
		}
		if g.chance(15) {
			v.outputs = 2
		}
	case g.chance(30) && g.alias(&v):
	default:
		v.keys = []string{fmt.Sprint("op", i)}
		if g.chance(60) {
			v.keys[0] = string("ABC"[g.IntN(3)])
		}
		for range 1 + g.IntN(3) {
			v.in = append(v.in, g.input(g.below(i)))
		}
		v.noop = g.chance(20)
		if v.noop {
			v.passes = simPasses(g.IntN(3))
		}
		if g.chance(30) {
			v.outputs = 1 + g.IntN(3)
		}
		if g.chance(15) {
			for range 1 + g.IntN(2) {
				v.subs = append(v.subs, g.below(i))
			}
			v.subWhen = simSubs(g.IntN(4))
			if g.chance(30) {
				v.in = v.in[:0]
			}
		}
	}
	v.id = fmt.Sprint("v", i)
	v.fault = sound
	if faulty && g.chance(15) {
		v.fault = simFault(1 + g.IntN(int(simFaultKinds)-1))
	}
	v.weight = g.IntN(4)
	v.mapDelay, v.delay = g.time(6), g.time(30)
	if g.chance(5) {
		v.delay = g.time(600)
	}
	v.deaf, v.reports = g.chance(20), g.chance(20)
	if g.chance(20) {
		v.export = 1 + g.IntN(2)
	}
	c.vertices = append(c.vertices, v)
}

// below is an edge of a vertex before i, the near ones more often.
func (g *simGen) below(i int) simEdge {
	v := g.IntN(i)
	if g.chance(50) {
		v = max(0, i-1-g.IntN(3))
	}
	return simEdge{v, g.output(v)}
}

func (g *simGen) output(v int) int {
	return g.IntN(g.c.vertices[v].outputs)
}

func (g *simGen) input(e simEdge) simInput {
	in := simInput{simEdge: e, digestTime: g.time(5)}
	if g.chance(20) {
		in.selector = string("st"[g.IntN(2)])
	}
	in.content = g.chance(40)
	if in.content && g.chance(5) {
		in.noContent = []simFault{execFails, execPanics}[g.IntN(2)]
	}
	return in
}

// alias makes a vertex that does the same as an earlier one, with the same
// inputs or with others of equal value. It reports whether there is one.
func (g *simGen) alias(v *simVertex) bool {
	c := g.c
	var of []int
	for i := range c.vertices {
		if !c.vertices[i].root {
			of = append(of, i)
		}
	}
	if len(of) == 0 {
		return false
	}
	o := newSimOracle(c)
	w := c.vertices[of[g.IntN(len(of))]]
	*v = w
	v.in, v.subs = slices.Clone(w.in), slices.Clone(w.subs)
	for i := range v.in {
		in := &v.in[i]
		if g.chance(50) {
			*in = g.input(g.equal(o, in.simEdge))
		}
	}
	for i := range v.subs {
		if g.chance(30) {
			v.subs[i] = g.equal(o, v.subs[i])
		}
	}
	return true
}

// equal is an edge of equal value.
func (g *simGen) equal(o *simOracle, e simEdge) simEdge {
	var list []simEdge
	for i := range g.c.vertices {
		for out := range g.c.vertices[i].outputs {
			if other := (simEdge{i, out}); o.value(other) == o.value(e) {
				list = append(list, other)
			}
		}
	}
	return list[g.IntN(len(list))]
}

func (g *simGen) round(i int) {
	r := simRound{fresh: i == 0 || g.chance(50)}
	if g.chance(5) {
		r.closeAt = g.time(150)
	}
	n := len(g.c.vertices)
	for range 1 + g.IntN(5) {
		j := simJob{at: g.time(60), priority: g.IntN(4), keep: g.chance(30)}
		for range 1 + g.IntN(3) {
			e := g.below(n)
			b := simBuild{simEdge: e, at: g.time(10), export: g.chance(15)}
			if g.chance(25) {
				b.cancelAt = g.time(100)
			}
			j.builds = append(j.builds, b)
		}
		if g.chance(25) {
			j.discardAt = g.time(120)
		}
		if g.chance(25) {
			for v := range n {
				if g.chance(40) {
					j.ignore = append(j.ignore, v)
				}
			}
		}
		for s := 1; s < len(g.c.caches); s++ {
			if g.chance(50) {
				j.sources = append(j.sources, s)
			}
		}
		for range g.IntN(3) {
			w := simWatcher{at: g.time(60), stalls: g.chance(25)}
			if g.chance(50) {
				w.at = 0
			}
			if g.chance(25) {
				w.leave = g.time(60)
			}
			j.watchers = append(j.watchers, w)
		}
		if g.chance(20) {
			j.traceAt = g.time(120)
		}
		r.jobs = append(r.jobs, j)
	}
	g.c.rounds = append(g.c.rounds, r)
}

// roll answers yes in percent of 100 cases: always the same for one seed, site
// and number.
func (c *simCase) roll(percent int, site string, n int64) bool {
	return int(c.number(site, n)%100) < percent
}

func (c *simCase) number(site string, n int64) uint64 {
	h := c.seed*0x9e3779b97f4a7c15 + uint64(n)
	for _, b := range []byte(site) {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	h ^= h >> 31
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>29
}
