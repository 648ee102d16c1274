package solver

import (
	"math"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// DecisionKind is the closed set of what can have been decided about an edge.
type DecisionKind uint8

// The kinds, and the fields of Decision that each uses beside Kind.
const (
	_                      DecisionKind = iota
	TraceProbe                          // Input, Asked, Answered, Keys, Content: caches were asked whether keys of the input lead to the op
	TraceMatch                          // Asked, Keys: caches were asked for the keys all inputs share; so many were found and not yet tried
	TraceContentMayRuleOut              // Input: its content key is computed: nothing else of it matches
	TraceContentMaySelect               // Input: its content key is computed: every input matches, and they share no key
	TraceContent                        // Input, OK: the content key was computed, or could not be
	TraceLoaded                         // Asked: the result was loaded from there
	TraceLoadFailed                     // Asked: a record could not be loaded from there, and was forgotten
	TraceNoRecord                       // no record of the keys found can be loaded
	TraceExecuted                       // the op was run
	TraceShared                         // With, or Asked: another vertex's execution or load gave the result
	TraceRecheck                        // an equal edge may have been saved since: the caches are asked again
	TraceInputFailed                    // Input: it failed
	TraceLost                           // the result was lost, and is made again
)

var decisionNames = [...]string{"", "probe", "match", "content key, may rule out", "content key, may select", "content key", "loaded", "load failed", "no record", "executed", "shared", "recheck", "input failed", "lost"}

func (k DecisionKind) String() string {
	if int(k) < len(decisionNames) {
		return decisionNames[k]
	}
	return "unknown"
}

// Decision is one thing that was decided about an edge. Which fields it uses is
// said at its kind.
type Decision struct {
	Kind     DecisionKind  `json:"kind"`
	Input    Index         `json:"input,omitempty"`
	Asked    []string      `json:"asked,omitempty"`    // IDs of cache managers
	Answered []string      `json:"answered,omitempty"` // IDs of those that had a match
	Keys     int           `json:"keys,omitempty"`
	Content  bool          `json:"content,omitempty"`
	OK       bool          `json:"ok,omitempty"`
	With     digest.Digest `json:"with,omitempty"` // of a vertex
}

// EdgeTrace is what was known of an edge, and what was decided, in order. It is
// what tells why an op ran.
type EdgeTrace struct {
	Vertex digest.Digest `json:"vertex"`
	Name   string        `json:"name"`
	Output Index         `json:"output,omitempty"`
	// IgnoreCache: the caches were not asked.
	IgnoreCache bool `json:"ignoreCache,omitempty"`
	// Op are the digests of the op's cache maps; empty if none was asked for.
	Op []digest.Digest `json:"op,omitempty"`
	// Keys are the keys the edge is known by: by its definition first.
	Keys      []*CacheKey  `json:"keys,omitempty"`
	Inputs    []InputTrace `json:"inputs,omitempty"`
	Decisions []Decision   `json:"decisions,omitempty"`
	// Running: no cache had it, and the op is being run for it, or waits for a slot.
	Running bool `json:"running,omitempty"`
	// Started is when the op, or a load, began for the vertex; zero if nothing did.
	Started time.Time `json:"started,omitzero"`
	Err     error     `json:"-"` // in JSON, "err" is its text
}

// InputTrace is one input of an edge, as its op sees it.
type InputTrace struct {
	Vertex   digest.Digest `json:"vertex"`
	Name     string        `json:"name"`
	Output   Index         `json:"output,omitempty"`
	Selector digest.Digest `json:"selector,omitempty"`
	// Keys are those the input is known by: by its definition first.
	Keys []*CacheKey `json:"keys,omitempty"`
	// Ignored is how many of Keys, the first ones, caches are not asked by: the cache of
	// the input, or of something below it, is ignored.
	Ignored int `json:"ignored,omitempty"`
	// Content is its content key; nil if it was not computed. HasContent says that
	// it could have been.
	Content    *CacheKey `json:"content,omitempty"`
	HasContent bool      `json:"hasContent,omitempty"`
	// Exhausted: the caches were asked about all that the input can be known by, the keys
	// that it may still have had and its content included.
	Exhausted bool `json:"exhausted,omitempty"`
}

// traceEvent is a Decision as it is kept.
type traceEvent struct {
	kind    DecisionKind
	flag    bool
	content bool
	// times: it stands for so many more of it, for the inputs that follow.
	times uint8
	input int32
	n     int32
	// asked and answered are edge.Managers: maxManagers fit.
	asked    uint32
	answered uint32
}

// edgeTrace keeps the decisions about an edge. Most edges have few.
type edgeTrace struct {
	first [2]traceEvent
	n     int32 // of what is kept
	more  *[]traceEvent
}

func (t *edgeTrace) add(ev traceEvent) {
	// An operation's inputs are mostly asked about one after the other, with the
	// same answer.
	if last := t.last(); last != nil && last.times < math.MaxUint8 {
		next := *last
		next.times, next.input = 0, last.input+int32(last.times)+1
		if next == ev {
			last.times++
			return
		}
	}
	switch {
	case int(t.n) < len(t.first):
		t.first[t.n] = ev
	case t.more == nil:
		more := append(make([]traceEvent, 0, 4), ev)
		t.more = &more
	default:
		*t.more = append(*t.more, ev)
	}
	t.n++
}

// last is what was added last; nil if there is nothing.
func (t *edgeTrace) last() *traceEvent {
	switch n := int(t.n); {
	case n == 0:
		return nil
	case n <= len(t.first):
		return &t.first[n-1]
	default:
		return &(*t.more)[n-len(t.first)-1]
	}
}

// all yields the decisions, each of them by itself.
func (t *edgeTrace) all(yield func(traceEvent) bool) {
	kept := t.first[:min(int(t.n), len(t.first))]
	if t.more != nil {
		kept = slices.Concat(kept, *t.more)
	}
	for _, ev := range kept {
		times := ev.times
		ev.times = 0
		for range int(times) + 1 {
			if !yield(ev) {
				return
			}
			ev.input++
		}
	}
}

// Trace returns what was decided about the edges of the job's vertices. It may be called at any time, also after Discard.
func (j *Job) Trace() Trace {
	if j.s == nil {
		return nil
	}
	var out Trace
	for from, more := 0, true; more; from += turnSteps {
		// Not all at once, so that a large job does not hold the graph for long.
		out, more = j.appendTraces(out, from)
	}
	return out
}

// appendTraces adds the traces of some vertices, and reports whether there are more.
func (j *Job) appendTraces(out Trace, from int) (Trace, bool) {
	j.s.lock()
	defer j.s.unlock()
	all := j.held.vertices
	to := min(from+turnSteps, len(all))
	for _, v := range all[min(from, to):to] {
		for id := range j.s.g.Outputs(v) {
			out = append(out, j.s.decisions(j.s.edge(id)))
		}
	}
	return out, to < len(all)
}

func (s *Solver) decisions(e *edgeState) EdgeTrace {
	v := e.v
	t := EdgeTrace{Vertex: v.op.digest, Name: v.op.name, Output: e.index, IgnoreCache: v.ignore, Keys: e.keys[:len(e.keys):len(e.keys)], Err: e.readExtra().err}
	if at := v.progress.started.Load(); at != 0 {
		t.Started = time.Unix(0, at).UTC()
	}
	t.Running = e.run != nil && e.run.call != nil && e.run.runner == v.id
	for i := range v.op.n {
		t.Op = append(t.Op, v.op.mapAt(i).Digest)
	}
	for i, id := range s.g.Below(v.id) {
		in := s.edge(id)
		it := InputTrace{Vertex: in.v.op.digest, Name: in.v.op.name, Output: in.index, Keys: in.keys[:len(in.keys):len(in.keys)], Content: v.content(i)}
		if in.v.fresh {
			it.Ignored = int(in.defs)
		}
		if v.op.n > 0 {
			d := v.op.first.Deps[i]
			it.Selector, it.HasContent = d.Selector, d.ComputeDigestFunc != nil
			it.Exhausted = s.g.Exhausted(e.id, i)
		}
		t.Inputs = append(t.Inputs, it)
	}
	for ev := range e.trace.all {
		d := Decision{
			Kind: ev.kind, Input: Index(ev.input), Keys: int(ev.n), Content: ev.content, OK: ev.flag,
			Asked: v.caches.names(ev.asked), Answered: v.caches.names(ev.answered),
		}
		if ev.kind == TraceShared {
			d.With = e.readExtra().with
		}
		t.Decisions = append(t.Decisions, d)
	}
	return t
}

// names are the IDs of some of a set's managers.
func (c *cacheSet) names(mask uint32) []string {
	var out []string
	for i, src := range c.list {
		if mask&(1<<i) != 0 {
			out = append(out, src.id)
		}
	}
	return out
}
