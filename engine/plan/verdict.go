package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// Verdict is the closed set of what can be said of a step.
type Verdict string

// The verdicts.
const (
	// Hit: a cache has it. It does not run, whatever else happens.
	Hit Verdict = "hit"
	// Miss: it runs, or what runs is equal to it.
	Miss Verdict = "miss"
	// Unknown: what others would write decides.
	Unknown Verdict = "unknown"
	// NotNeeded: it is not looked at, because what stands on it is there.
	NotNeeded Verdict = "not needed"
)

// Edge is an output of a vertex.
type Edge struct {
	Vertex digest.Digest
	Output solver.Index
}

// Decided is what is known of a vertex.
type Decided struct {
	Verdict Verdict
	// By are the vertices that decide, where it is not known: what they write, whether they
	// are found, or whether they run and need it.
	By []digest.Digest
}

// worst orders verdicts: that of a vertex is the last of its outputs'.
var worst = []Verdict{NotNeeded, Hit, Unknown, Miss}

// edge is one output in a trace.
type edge struct {
	*solver.EdgeTrace
	ran, loaded bool
	with        digest.Digest // of the equal vertex that ran in its place
	sure        bool          // if it is needed and not found, no content can change that
	pursued     bool          // in each case it is found or runs
	twice       bool          // there is another of its kind, which uses caches in another way
	above       []digest.Digest
	asked       map[string]bool   // caches
	answered    []map[string]bool // by input, those that know it to lead to the edge
}

// Known is what is known besides a trace.
type Known struct {
	// Unknown says whether the content of an input of a vertex was asked for and is not known.
	Unknown func(v digest.Digest, input int) bool
	// MayHave says whether a cache may have, of any key of an input that is seen through a
	// selector, that it leads to an output of an operation.
	MayHave func(cache string, op digest.Digest, output solver.Index, selector digest.Digest) bool
	// Wanted are the edges that were asked for.
	Wanted []Edge
}

// Decide says what would become of each vertex of a trace, in which what would run counts as
// run.
func Decide(trace solver.Trace, known Known) map[digest.Digest]Decided {
	d := &decider{Known: known, edges: map[Edge]*edge{}}
	for i := range trace {
		d.add(&trace[i])
	}
	for _, e := range d.order {
		e.sure = e.ran && !e.twice && d.isSure(e)
	}
	for _, id := range d.Wanted {
		if e := d.edges[id]; e != nil {
			e.pursued = true
		}
	}
	for _, e := range slices.Backward(d.order) {
		d.pursue(e)
	}
	out := map[digest.Digest]Decided{}
	for _, e := range d.order {
		now := d.verdict(e)
		have, there := out[e.Vertex]
		if !there || slices.Index(worst, now) > slices.Index(worst, have.Verdict) {
			have.Verdict = now
		}
		if now == Unknown {
			have.By = d.by(have.By, e)
		}
		out[e.Vertex] = have
	}
	return out
}

type decider struct {
	Known
	edges map[Edge]*edge
	order []*edge // inputs before what uses them
}

func (d *decider) add(t *solver.EdgeTrace) {
	e := &edge{EdgeTrace: t, asked: map[string]bool{}, answered: make([]map[string]bool, len(t.Inputs))}
	for _, x := range t.Decisions {
		switch x.Kind {
		case solver.TraceProbe:
			e.probed(&x)
		case solver.TraceExecuted:
			e.ran = true
		case solver.TraceLoaded:
			e.loaded = true
		case solver.TraceShared:
			if len(x.Asked) > 0 {
				e.loaded = true
			} else {
				e.with = x.With
			}
		}
	}
	id := Edge{t.Vertex, t.Output}
	if have := d.edges[id]; have != nil {
		// That one request has it use caches, and another not, is rare.
		have.twice, e.twice = true, true
		if !have.ran {
			d.edges[id] = e
		}
	} else {
		d.edges[id] = e
	}
	d.order = append(d.order, e)
}

func (e *edge) probed(x *solver.Decision) {
	for _, c := range x.Asked {
		e.asked[c] = true
	}
	for _, c := range x.Answered {
		if e.answered[x.Input] == nil {
			e.answered[x.Input] = map[string]bool{}
		}
		e.answered[x.Input][c] = true
	}
}

func (d *decider) input(e *edge, i int) *edge {
	return d.edges[Edge{e.Inputs[i].Vertex, e.Inputs[i].Output}]
}

// open says whether an edge may be found in a cache, or not, by what others write.
func (d *decider) open(e *edge) bool {
	if e == nil || e.twice {
		return true
	}
	if e.with != "" {
		other := d.edges[Edge{e.with, e.Output}]
		return other == nil || other == e || !other.sure
	}
	return e.ran && !e.sure
}

// settled says whether all is known of an input that can lead to the edge.
func (d *decider) settled(e *edge, i int) bool {
	return e.Inputs[i].Exhausted && !d.Unknown(e.Vertex, i) && !d.open(d.input(e, i))
}

// isSure says of an edge that no cache had whether that does not depend on anything unknown.
func (d *decider) isSure(e *edge) bool {
	if e.IgnoreCache || len(e.Inputs) == 0 {
		return true
	}
	all := true
	settled := make([]bool, len(e.Inputs))
	for i := range e.Inputs {
		settled[i] = d.settled(e, i)
		all = all && settled[i]
	}
	if all {
		return true
	}
	for c := range e.asked {
		ruledOut := false
		for i := range e.Inputs {
			ruledOut = ruledOut || !e.answered[i][c] && (settled[i] || !d.mayLead(c, e, i))
		}
		if !ruledOut {
			return false
		}
	}
	return len(e.asked) > 0
}

// pursue says of which inputs it follows that they are found or run, where it does of the edge.
func (d *decider) pursue(e *edge) {
	if !e.ran {
		return
	}
	for i := range e.Inputs {
		in := d.input(e, i)
		if in == nil {
			continue
		}
		if e.pursued && (e.sure || len(e.answered[i]) == 0) {
			in.pursued = true
		} else {
			in.above = append(in.above, e.Vertex)
		}
	}
}

// mayLead says whether a cache may have that an input leads to the edge, whatever that is: by
// what defines it, or by its content, which stands without the selector.
func (d *decider) mayLead(cache string, e *edge, i int) bool {
	if len(e.Op) == 0 {
		return true
	}
	return d.MayHave(cache, e.Op[0], e.Output, "") || d.MayHave(cache, e.Op[0], e.Output, e.Inputs[i].Selector)
}

func (d *decider) verdict(e *edge) Verdict {
	switch {
	case e.with != "":
		if other := d.edges[Edge{e.with, e.Output}]; other != nil && other != e && other.with == "" {
			return d.verdict(other)
		}
		return Unknown
	case e.ran && e.sure && e.pursued:
		return Miss
	case e.ran:
		return Unknown
	case e.loaded:
		return Hit
	}
	return NotNeeded
}

// by adds what decides about an edge.
func (d *decider) by(to []digest.Digest, e *edge) []digest.Digest {
	add := func(v digest.Digest) {
		if !slices.Contains(to, v) {
			to = append(to, v)
		}
	}
	if !e.sure {
		for i, in := range e.Inputs {
			if d.Unknown(e.Vertex, i) || d.open(d.input(e, i)) {
				add(in.Vertex)
			}
		}
	}
	if len(to) == 0 || e.sure {
		for _, v := range e.above {
			add(v)
		}
	}
	return to
}
