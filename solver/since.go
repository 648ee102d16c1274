package solver

import (
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// Since says why edges of the trace were run: for each that was, in the order of the
// trace, the first thing that differs from the nearest record of the same operation in
// earlier traces. Hand these over the latest first. What another job has run, and this one
// shares, is told of, too. It takes time linear in what the traces have.
//
// A record is compared with if it has the vertex's digest, the operation's digest, or the
// name; or else its place: it was the input of what the edge is an input of, or both are all
// that their jobs were to make. The nearest has the fewest differences. A trace taken while
// a job runs has no more than was known then.
func (t Trace) Since(earlier ...Trace) []*Reason {
	return newSince(t, earlier).reasons()
}

// since compares a trace with earlier ones.
type since struct {
	now   Trace
	at    map[edgeName]int32 // of now
	past  []pastEdge
	pasts map[pastName]int32 // of past
	// index finds edges of past by their traits.
	index map[trait][]int32
	// nearest is with which of past each edge of now is compared; -1 for none. taken says of
	// those of past that surely are the same operation which edge of now it is.
	nearest []int32
	taken   map[int32]int32
	known   map[[2]int32]*Reason
	// steps counts comparisons of two inputs or two edges, for tests.
	steps int
}

type edgeName struct {
	vertex digest.Digest
	output Index
}

type pastName struct {
	of int
	edgeName
}

// pastEdge is an edge of an earlier trace.
type pastEdge struct {
	*EdgeTrace
	of int // the number of the trace
	// alone: no other vertex of the trace has its name.
	alone bool
}

func (t *EdgeTrace) edgeName() edgeName { return edgeName{t.Vertex, t.Output} }

func newSince(now Trace, earlier []Trace) *since {
	c := &since{
		now: now, at: map[edgeName]int32{}, pasts: map[pastName]int32{}, index: map[trait][]int32{},
		nearest: make([]int32, len(now)), taken: map[int32]int32{}, known: map[[2]int32]*Reason{},
	}
	for i := range now {
		// Of two vertices of one digest, one that ignores its cache, the one that ran counts.
		if _, ok := c.at[now[i].edgeName()]; !ok || now[i].ran() {
			c.at[now[i].edgeName()] = int32(i)
		}
	}
	for of, trace := range earlier {
		alone := names(trace)
		for i := range trace {
			c.add(pastEdge{&trace[i], of, alone[trace[i].Name] == 1})
		}
	}
	c.pair(earlier)
	return c
}

// names counts the vertices of each name.
func names(t Trace) map[string]int {
	out := map[string]int{}
	for i := range t {
		if i == 0 || t[i].Vertex != t[i-1].Vertex { // outputs of one vertex follow each other
			out[t[i].Name]++
		}
	}
	return out
}

// ran says whether the op was run for the edge, or failed.
func (t *EdgeTrace) ran() bool {
	return t.Running || t.has(TraceExecuted) != nil || t.ownError() != nil && !t.Started.IsZero()
}

// had says whether the edge had a result that a cache can have.
func (t *EdgeTrace) had() bool {
	return t.has(TraceExecuted) != nil || t.has(TraceLoaded) != nil || t.has(TraceShared) != nil
}

func (t *EdgeTrace) has(kind DecisionKind) *Decision {
	for i := range t.Decisions {
		if t.Decisions[i].Kind == kind {
			return &t.Decisions[i]
		}
	}
	return nil
}

func (c *since) reasons() (out []*Reason) {
	for i := range c.now {
		if c.now[i].ran() {
			out = append(out, c.reason(int32(i), c.nearest[i]))
		}
	}
	return out
}

// reason says why an edge differs from an earlier one, and follows the input by which it
// does to where that begins.
func (c *since) reason(n, o int32) *Reason {
	var chain []*Reason
	var root *Reason
	for {
		at := [2]int32{n, o}
		if r := c.known[at]; r != nil {
			if len(chain) == 0 {
				return r
			}
			root = r.Root()
			// A trace that was kept may have been damaged, and have a cycle.
			if !slices.Contains(chain, root) {
				chain[len(chain)-1].Because = r
			} else {
				root = chain[len(chain)-1]
			}
			break
		}
		r, below, was := c.compare(n, o)
		c.known[at] = r
		if len(chain) > 0 {
			chain[len(chain)-1].Because = r
		}
		chain = append(chain, r)
		if root = r; below < 0 {
			break
		}
		n, o = below, was
	}
	for _, r := range chain {
		r.root = root
	}
	return chain[0]
}

// compare says why an edge differs from an earlier one, and by which pair of inputs it
// does; -1 if not by a pair.
func (c *since) compare(n, o int32) (r *Reason, below, was int32) {
	now := &c.now[n]
	r = &Reason{Vertex: now.Vertex, Name: now.Name, Output: now.Output, Earlier: -1}
	if now.IgnoreCache {
		r.Kind = ReasonIgnored
	}
	if o < 0 {
		if r.Kind == "" {
			r.Kind = ReasonFirst
		}
		return r, -1, -1
	}
	old := c.past[o]
	r.Earlier, r.WasVertex, r.WasName = old.of, old.Vertex, old.Name
	switch {
	case r.Kind != "":
	case len(now.Op) == 0:
		r.Kind, r.Missing = ReasonUnknown, "its op was not asked for its cache map"
	case !meet(old.Op, now.Op):
		r.Kind, r.Old, r.New = ReasonOp, string(old.Op[0]), string(now.Op[0])
	case len(old.Inputs) != len(now.Inputs):
		r.Kind, r.Old, r.New = ReasonInputs, strconv.Itoa(len(old.Inputs)), strconv.Itoa(len(now.Inputs))
	default:
		if i := c.firstInput(now, old.EdgeTrace); i >= 0 {
			below, was = c.input(r, old, now, i)
			return r, below, was
		}
		r.same(old.EdgeTrace, now)
	}
	return r, -1, -1
}

// same says why an edge was run of which an earlier job had the like.
func (r *Reason) same(old, now *EdgeTrace) {
	for _, d := range now.Decisions {
		switch d.Kind {
		case TraceLoadFailed:
			r.Kind, r.Caches = ReasonLoadFailed, d.Asked
			return
		case TraceLost:
			r.Kind = ReasonLost
			return
		case TraceProbe, TraceMatch:
			for _, name := range d.Asked {
				if !slices.Contains(r.Caches, name) {
					r.Caches = append(r.Caches, name)
				}
			}
		}
	}
	switch {
	case !now.ran():
		r.Kind, r.Missing = ReasonUnknown, "it was not run, and nothing differs that the traces have"
	case old.Err != nil:
		r.Kind = ReasonFailedBefore
	case !old.had():
		r.Kind = ReasonNotNeededBefore
	case len(r.Caches) == 0:
		r.Kind, r.Missing = ReasonUnknown, "nothing differs that the traces have, and no cache was asked"
	default:
		r.Kind = ReasonGone
	}
}

// firstInput is the first input that surely differs, or else the first that may; -1 if
// none does.
func (c *since) firstInput(now, old *EdgeTrace) int {
	unsure := -1
	for i := range now.Inputs {
		c.steps++
		kind, missing := differ(&old.Inputs[i], &now.Inputs[i])
		if kind != "" && missing == "" {
			return i
		}
		if kind != "" && unsure < 0 {
			unsure = i
		}
	}
	return unsure
}

// differ says how an input differs: not at all, if a cache takes one for the other. Missing
// is why its content was not compared, where that could be what decides.
func differ(old, now *InputTrace) (kind ReasonKind, missing string) {
	defined := old.Selector == now.Selector && meetKeys(old.Keys, now.Keys)
	switch {
	case old.Content != nil && now.Content != nil:
		switch {
		case old.Content.ID == now.Content.ID:
			return "", ""
		case defined:
			return ReasonNotReproduced, ""
		}
		return ReasonContent, ""
	case defined && meetKeys(old.Keys, now.Keys[min(max(0, now.Ignored), len(now.Keys)):]):
		return "", ""
	case !now.HasContent:
	case now.Content == nil:
		missing = "its content was not asked for"
	default:
		missing = "the earlier trace does not have its content"
	}
	switch {
	case defined:
		return ReasonAfresh, missing
	case meetKeys(old.Keys, now.Keys):
		return ReasonSelector, missing
	}
	return ReasonInput, missing
}

// input fills in that an edge differs by an input. It returns the pair of edges that the
// input is, and was; -1 if there is no such pair.
func (c *since) input(r *Reason, old pastEdge, now *EdgeTrace, i int) (below, was int32) {
	from, to := &old.Inputs[i], &now.Inputs[i]
	r.Kind, r.Missing = differ(from, to)
	r.Input, r.InputName = Index(i), to.Name
	switch r.Kind {
	case ReasonSelector:
		r.Old, r.New = string(from.Selector), string(to.Selector)
		return -1, -1
	case ReasonContent, ReasonNotReproduced:
		r.Old, r.New = from.Content.ID, to.Content.ID
	default:
		r.Old, r.New = firstKey(from.Keys), firstKey(to.Keys)
	}
	if r.Kind == ReasonNotReproduced {
		return -1, -1
	}
	below, ok := c.at[edgeName{to.Vertex, to.Output}]
	if !ok {
		return -1, -1
	}
	was, ok = c.pasts[pastName{old.of, edgeName{from.Vertex, from.Output}}]
	if !ok {
		return -1, -1
	}
	// The two are not compared where one of them surely is another one: something was put
	// in between, or taken out.
	by, taken := c.taken[was]
	if own := c.nearest[below]; r.Kind == ReasonInput && (taken && by != below || own >= 0 && own != was && c.past[own].of == old.of && c.taken[own] == below) {
		r.Kind, r.Old, r.New, r.Missing = ReasonReplaced, from.Name, to.Name, ""
		return -1, -1
	}
	return below, was
}

func firstKey(keys []*CacheKey) string {
	if len(keys) == 0 || keys[0] == nil {
		return ""
	}
	return keys[0].ID
}

// meetKeys says whether two lists have a key in common.
func meetKeys(a, b []*CacheKey) bool {
	has := func(list []*CacheKey, id string) bool {
		return slices.ContainsFunc(list, func(k *CacheKey) bool { return k != nil && k.ID == id })
	}
	if len(a)*len(b) <= 64 {
		return slices.ContainsFunc(a, func(k *CacheKey) bool { return k != nil && has(b, k.ID) })
	}
	ids := make(map[string]bool, len(a))
	for _, k := range a {
		if k != nil {
			ids[k.ID] = true
		}
	}
	return slices.ContainsFunc(b, func(k *CacheKey) bool { return k != nil && ids[k.ID] })
}

// meet says whether two lists of digests have one in common.
func meet(a, b []digest.Digest) bool {
	if len(a)*len(b) <= 64 {
		return slices.ContainsFunc(a, func(d digest.Digest) bool { return slices.Contains(b, d) })
	}
	all := make(map[digest.Digest]bool, len(a))
	for _, d := range a {
		all[d] = true
	}
	return slices.ContainsFunc(b, func(d digest.Digest) bool { return all[d] })
}
