package solver

import "slices"

// This file finds with which earlier edge each edge of a trace is compared.

const (
	// maxAlike is how many edges of one trait are kept, the latest first: more than that
	// are told apart by an input.
	maxAlike = 8
	// maxNearest is with how many earlier edges one is compared.
	maxNearest = 32
	// maxTold are the inputs, and the keys of an input, by which edges of one trait are
	// told apart.
	maxTold = 4
)

// trait is what edges have in common that may be one operation: the digest of the vertex,
// of the op, or the name, with a key of an input or without.
type trait struct {
	kind   traitKind
	what   string
	output Index
	input  int
	key    string
}

type traitKind uint8

const (
	traitVertex traitKind = iota
	traitOp
	traitName
)

// traits are those of an edge without its inputs.
func (t *EdgeTrace) traits() []trait {
	out := []trait{{kind: traitVertex, what: string(t.Vertex), output: t.Output}}
	for _, op := range t.Op {
		out = append(out, trait{kind: traitOp, what: string(op), output: t.Output})
	}
	return append(out, trait{kind: traitName, what: t.Name, output: t.Output})
}

// told are the traits of an edge with one of its inputs each.
func (t *EdgeTrace) told(of trait) (out []trait) {
	for i := range t.Inputs[:min(len(t.Inputs), maxTold)] {
		in := &t.Inputs[i]
		keys := slices.Clip(in.Keys[:min(len(in.Keys), maxTold)])
		for _, k := range append(keys, in.Content) {
			if k != nil {
				of.input, of.key = i+1, k.ID
				out = append(out, of)
			}
		}
	}
	return out
}

// add adds an edge of an earlier trace, if it is known what it does.
func (c *since) add(e pastEdge) {
	if len(e.Op) == 0 {
		return
	}
	n := int32(len(c.past))
	c.past = append(c.past, e)
	c.pasts[pastName{e.of, e.edgeName()}] = n
	for _, of := range e.traits() {
		if len(c.index[of]) < maxAlike {
			c.index[of] = append(c.index[of], n)
			continue
		}
		for _, told := range e.told(of) {
			if len(c.index[told]) < maxAlike {
				c.index[told] = append(c.index[told], n)
			}
		}
	}
}

// pair finds the nearest of each edge: first by what the edges are, then by their place.
func (c *since) pair(earlier []Trace) {
	alone := names(c.now)
	sure := make([]bool, len(c.now))
	for i := range c.now {
		e := &c.now[i]
		c.nearest[i] = c.best(e, c.alike(e))
		if o, ok := c.sameRun(e); ok {
			c.taken[o] = int32(i)
		}
		if o := c.nearest[i]; o >= 0 && c.sure(e, c.past[o], alone[e.Name] == 1) {
			sure[i] = true
			c.taken[o] = int32(i)
		}
	}
	places := make([][]int32, len(c.now))
	c.tops(earlier, places)
	for i := len(c.now) - 1; i >= 0; i-- { // what uses an edge is before it, this way
		e := &c.now[i]
		if !sure[i] {
			free := slices.DeleteFunc(places[i], func(o int32) bool { _, taken := c.taken[o]; return taken || c.past[o].Output != e.Output })
			c.nearest[i] = c.best(e, append(free, c.alike(e)...))
		}
		if o := c.nearest[i]; o >= 0 {
			c.placed(e, c.past[o], places)
		}
	}
}

// placed notes that the inputs of an edge have the places of those of an earlier one.
func (c *since) placed(now *EdgeTrace, old pastEdge, places [][]int32) {
	if len(now.Inputs) != len(old.Inputs) {
		return
	}
	for i := range now.Inputs {
		n, ok := c.at[edgeName{now.Inputs[i].Vertex, now.Inputs[i].Output}]
		if !ok || len(places[n]) == maxAlike {
			continue
		}
		if o, ok := c.pasts[pastName{old.of, edgeName{old.Inputs[i].Vertex, old.Inputs[i].Output}}]; ok {
			places[n] = append(places[n], o)
		}
	}
}

// tops notes that what the jobs were to make has one place, where it is one edge each.
func (c *since) tops(earlier []Trace, places [][]int32) {
	top := c.now.top()
	if top < 0 {
		return
	}
	for of, t := range earlier {
		i := t.top()
		if i < 0 || len(places[top]) == maxAlike {
			continue
		}
		if o, ok := c.pasts[pastName{of, t[i].edgeName()}]; ok {
			places[top] = append(places[top], o)
		}
	}
}

// top is the only edge that is no other's input; -1 if there are several.
func (t Trace) top() int {
	used := map[edgeName]bool{}
	for i := range t {
		for _, in := range t[i].Inputs {
			used[edgeName{in.Vertex, in.Output}] = true
		}
	}
	top := -1
	for i := range t {
		if used[t[i].edgeName()] {
			continue
		}
		if top >= 0 {
			return -1
		}
		top = i
	}
	return top
}

// alike are earlier edges that may be the same operation.
func (c *since) alike(e *EdgeTrace) (out []int32) {
	for _, of := range e.traits() {
		list := c.index[of]
		out = append(out, list...)
		if len(list) < maxAlike {
			continue
		}
		for _, told := range e.told(of) {
			out = append(out, c.index[told]...)
		}
	}
	return out
}

// best is the nearest of some earlier edges, of those that are equally near the first; -1
// if there is none.
func (c *since) best(e *EdgeTrace, all []int32) int32 {
	nearest, least := int32(-1), 0
	seen := make([]int32, 0, min(len(all), maxNearest))
	for _, o := range all {
		if len(seen) == maxNearest {
			break
		}
		if slices.Contains(seen, o) {
			continue
		}
		seen = append(seen, o)
		old := &c.past[o]
		if old.isRunOf(e) {
			continue // no earlier one
		}
		n := 2 * c.distance(e, old.EdgeTrace)
		if !old.had() {
			n++ // one that had a result says more
		}
		if nearest < 0 || n < least {
			nearest, least = o, n
		}
	}
	return nearest
}

// isRunOf says whether two traces tell of one run, which two jobs have seen.
func (t *EdgeTrace) isRunOf(o *EdgeTrace) bool {
	return t.Vertex == o.Vertex && !t.Started.IsZero() && t.Started.Equal(o.Started)
}

// sameRun is the earlier trace of the very run of an edge.
func (c *since) sameRun(e *EdgeTrace) (o int32, ok bool) {
	for _, o := range c.index[e.traits()[0]] {
		if c.past[o].isRunOf(e) {
			return o, true
		}
	}
	return 0, false
}

// distance is in how many things two edges differ.
func (c *since) distance(now, old *EdgeTrace) (n int) {
	c.steps++
	if !meet(now.Op, old.Op) {
		n++
	}
	if len(now.Inputs) != len(old.Inputs) {
		return n + max(len(now.Inputs), len(old.Inputs))
	}
	for i := range now.Inputs {
		c.steps++
		if kind, _ := differ(&old.Inputs[i], &now.Inputs[i]); kind != "" {
			n++
		}
	}
	return n
}

// sure says whether two edges are one operation, in whatever place they are. Alone says that
// no other vertex of the trace has the name of now.
func (c *since) sure(now *EdgeTrace, old pastEdge, alone bool) bool {
	if now.Vertex == old.Vertex {
		return true
	}
	name := now.Name == old.Name
	if name && alone && old.alone {
		return true
	}
	if !name && !meet(now.Op, old.Op) || len(now.Inputs) != len(old.Inputs) {
		return false
	}
	for i := range now.Inputs {
		c.steps++
		if kind, _ := differ(&old.Inputs[i], &now.Inputs[i]); kind == "" {
			return true
		}
	}
	return false
}
