package solver_test

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// simOracle knows what must come out of a case, by plain recursion over the
// graph: caches, jobs and time do not occur in it.
type simOracle struct {
	c      *simCase
	values []string // of output 0, by vertex
	ops    []string // what the vertex does, without its inputs
	defs   []string // and with them: what its first key stands for
}

func newSimOracle(c *simCase) *simOracle {
	o := &simOracle{c: c}
	for i := range c.vertices {
		v := &c.vertices[i]
		o.ops = append(o.ops, o.op(v))
		o.values = append(o.values, o.compute(i))
		def := o.key(i, 0)
		for _, in := range v.in {
			def += fmt.Sprintf(" %s.%d/%s", o.defs[in.vertex], in.output, in.selector)
		}
		o.defs = append(o.defs, short(def))
	}
	return o
}

// op says all that a vertex's key stands for. Where keys are equal, so are the
// values that come of equal inputs.
func (o *simOracle) op(v *simVertex) string {
	if v.root {
		return fmt.Sprintf("%s*%d", v.value, v.outputs)
	}
	_, _, same := v.same()
	op := fmt.Sprintf("%s*%d/%d %v", v.keys[0], v.outputs, len(v.in), same)
	for _, s := range v.subs {
		op += " " + o.value(s)
	}
	return op
}

// key is the n-th key of a vertex's op.
func (o *simOracle) key(i, n int) string {
	v := &o.c.vertices[i]
	if v.root {
		return o.ops[i] + "." + v.keys[n]
	}
	return o.ops[i]
}

func (o *simOracle) compute(i int) string {
	v := &o.c.vertices[i]
	if v.root {
		return v.value
	}
	if e, _, ok := v.same(); ok {
		return o.value(e)
	}
	values := make([]string, len(v.in))
	for k, in := range v.in {
		values[k] = o.value(in.simEdge)
	}
	return v.keys[0] + "-" + short(o.ops[i]+"("+strings.Join(values, ",")+")")
}

func short(s string) string { return digest.FromString(s).Encoded()[:8] }

func (o *simOracle) value(e simEdge) string {
	if e.output == 0 {
		return o.values[e.vertex]
	}
	return fmt.Sprintf("%s#%d", o.values[e.vertex], e.output)
}

// produces reports whether some output of a vertex has a value.
func (o *simOracle) produces(i int, value string) bool {
	for out := range o.c.vertices[i].outputs {
		if o.value(simEdge{i, out}) == value {
			return true
		}
	}
	return false
}

// equal reports whether two vertices do the same with equal inputs: they may
// share an execution.
func (o *simOracle) equal(i, k int) bool {
	return o.ops[i] == o.ops[k] && o.values[i] == o.values[k]
}

// below visits a vertex and all it stands on, and what those build.
func (o *simOracle) below(i int) map[int]bool {
	seen := map[int]bool{}
	var visit func(int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, in := range o.c.vertices[i].in {
			visit(in.vertex)
		}
		for _, s := range o.c.vertices[i].subs {
			visit(s.vertex)
		}
	}
	visit(i)
	return seen
}

// buildsItself reports whether some op builds, in the end, a vertex of its own
// definition. That one cannot wait for it, and is run as well.
func (o *simOracle) buildsItself(def string) bool {
	for i := range o.defs {
		if o.defs[i] != def {
			continue
		}
		for _, s := range o.c.vertices[i].subs {
			for k := range o.below(s.vertex) {
				if o.defs[k] == def {
					return true
				}
			}
		}
	}
	return false
}

// mayFail reports whether a build of the vertex may return an op's error.
func (o *simOracle) mayFail(i int) bool {
	for k := range o.mayRun(i) {
		if o.c.vertices[k].fault != sound || o.c.vertices[k].unreadable() != sound {
			return true
		}
	}
	return false
}

// unreadable is how a content key of a vertex's inputs fails; sound if none does.
func (v *simVertex) unreadable() simFault {
	for _, in := range v.in {
		if in.content && in.noContent != sound {
			return in.noContent
		}
	}
	return sound
}

// mayRun are the vertices whose ops a build of a vertex may run: itself, what it
// stands on, and equal vertices whose execution those share, with what they build.
func (o *simOracle) mayRun(i int) map[int]bool {
	run, whole := map[int]bool{}, map[int]bool{}
	for more := []int{i}; len(more) > 0; {
		k := more[0]
		more = more[1:]
		if whole[k] {
			continue
		}
		whole[k], run[k] = true, true
		for b := range o.below(k) {
			more = append(more, b)
		}
		for e := range o.c.vertices {
			// Of an equal vertex only the op is shared, and what that builds.
			if e == k || !o.equal(e, k) {
				continue
			}
			run[e] = true
			for _, s := range o.c.vertices[e].subs {
				more = append(more, s.vertex)
			}
		}
	}
	return run
}

// mustFail reports whether no build of an edge can succeed: its key cannot be
// known, or nothing can ever make its value.
func (o *simOracle) mustFail(e simEdge) bool {
	return o.keyless(e.vertex, map[int]bool{}) || !o.canBeMade(o.value(e))
}

func (o *simOracle) keyless(i int, seen map[int]bool) bool {
	if seen[i] {
		return false
	}
	seen[i] = true
	v := &o.c.vertices[i]
	switch v.fault {
	case mapFails, mapPanics, resolveFails, resolvePanics:
		return true
	}
	if v.subWhen == subsInCacheMap {
		for _, s := range v.subs {
			if o.mustFail(s) {
				return true
			}
		}
	}
	for _, in := range v.in {
		if o.keyless(in.vertex, seen) {
			return true
		}
	}
	return false
}

// canBeMade grows the set of values that some op can make of others.
func (o *simOracle) canBeMade(value string) bool {
	made := map[string]bool{}
	for grown := true; grown; {
		grown = false
	vertices:
		for i := range o.c.vertices {
			v := &o.c.vertices[i]
			if v.unreadable() != sound {
				continue
			}
			switch v.fault {
			case sound, execFailsOnce:
			case nilOutput, tooFew:
				// Other outputs than the last can still come of it.
			default:
				continue
			}
			for _, in := range v.in {
				if !made[o.value(in.simEdge)] {
					continue vertices
				}
			}
			for _, s := range v.subs {
				if v.subWhen != subsBehind && !made[o.value(s)] {
					continue vertices
				}
			}
			for out := range v.outputs {
				if out == v.outputs-1 && (v.fault == nilOutput || v.fault == tooFew) {
					continue
				}
				if val := o.value(simEdge{i, out}); !made[val] {
					made[val], grown = true, true
				}
			}
		}
	}
	return made[value]
}
