package edge

import (
	"regexp"
	"slices"
	"strings"
)

// shrinkOrders is how many orders of events a smaller scenario is tried in.
const shrinkOrders = 40

// shrink cuts a scenario down while it still fails, in some order of events.
func shrink(sp *spec, err error) (*spec, error) {
	for again := true; again; {
		again = false
		for _, smaller := range cuts(sp) {
			if e := fails(smaller, kind(err)); e != nil {
				sp, err, again = smaller, e, true
				break
			}
		}
	}
	return sp, err
}

// kind is what a fault is about, without names and numbers.
func kind(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return names.ReplaceAllString(line, "")
}

var names = regexp.MustCompile(`v?[0-9]+(\.[0-9]+)?`)

func fails(sp *spec, how string) error {
	first := sp.Order
	for i := range uint64(shrinkOrders) {
		sp.Order = first + i*i
		if _, err := try(sp, false); err != nil && kind(err) == how {
			return err
		}
	}
	return nil
}

// cuts are the scenarios that are smaller by one thing, the biggest cuts first.
func cuts(sp *spec) (out []*spec) {
	cut := func(change func(c *spec)) {
		c := sp.clone()
		change(c)
		out = append(out, c)
	}
	for v := len(sp.Vertices) - 1; v >= 0; v-- {
		if len(sp.Vertices) > 1 {
			if c := sp.without(v); c != nil {
				out = append(out, c)
			}
		}
	}
	if len(sp.Stored) > 1 {
		cut(func(c *spec) { c.Stored = nil })
	}
	for i := range sp.Actions {
		cut(func(c *spec) { c.Actions = slices.Delete(c.Actions, i, i+1) })
	}
	for i := range sp.Stored {
		cut(func(c *spec) { c.Stored = slices.Delete(c.Stored, i, i+1) })
	}
	for v := range sp.Vertices {
		old := &sp.Vertices[v]
		for i := range old.Inputs {
			if len(old.Inputs) > 1 {
				cut(func(c *spec) { c.Vertices[v].Inputs = slices.Delete(c.Vertices[v].Inputs, i, i+1) })
			}
			if in := old.Inputs[i]; in.Content {
				cut(func(c *spec) { c.Vertices[v].Inputs[i].Content, c.Vertices[v].Inputs[i].DigestFails = false, false })
			}
			if in := old.Inputs[i]; in.DigestFails {
				cut(func(c *spec) { c.Vertices[v].Inputs[i].DigestFails = false })
			}
		}
		if len(old.Maps) > 1 {
			cut(func(c *spec) { c.Vertices[v].Maps = c.Vertices[v].Maps[:len(old.Maps)-1] })
		}
		if old.Ignore {
			cut(func(c *spec) { c.Vertices[v].Ignore = false })
		}
		if old.MapFails {
			cut(func(c *spec) { c.Vertices[v].MapFails = false })
		}
		if old.Managers != 1 {
			cut(func(c *spec) { c.Vertices[v].Managers = 1 })
		}
	}
	for i, s := range sp.Stored {
		for l := range s.Links {
			cut(func(c *spec) { c.Stored[i].Links = slices.Delete(c.Stored[i].Links, l, l+1) })
		}
		if s.Record {
			cut(func(c *spec) { c.Stored[i].Record = false })
		}
	}
	for i, a := range sp.Actions {
		if a.At > 0 {
			cut(func(c *spec) { c.Actions[i].At /= 2 })
		}
	}
	if sp.Evolving {
		cut(func(c *spec) { c.Evolving = false })
	}
	return out
}

func (sp *spec) clone() *spec {
	c := *sp
	c.Vertices = slices.Clone(sp.Vertices)
	for i := range c.Vertices {
		c.Vertices[i].Inputs = slices.Clone(c.Vertices[i].Inputs)
	}
	c.Stored = slices.Clone(sp.Stored)
	for i := range c.Stored {
		c.Stored[i].Links = slices.Clone(c.Stored[i].Links)
	}
	c.Actions = slices.Clone(sp.Actions)
	return &c
}

// without is the scenario without a vertex: what used it does without, or with its
// first input if there would be no other. Nil if nobody would be left to ask.
func (sp *spec) without(v int) *spec {
	c := sp.clone()
	gone := c.Vertices[v]
	move := func(i int) int {
		if i > v {
			return i - 1
		}
		return i
	}
	for i := range c.Vertices {
		o := &c.Vertices[i]
		for k := len(o.Inputs) - 1; k >= 0; k-- {
			switch in := &o.Inputs[k]; {
			case in.Vertex != v:
				in.Vertex = move(in.Vertex)
			case len(o.Inputs) > 1:
				o.Inputs = slices.Delete(o.Inputs, k, k+1)
			case len(gone.Inputs) > 0:
				in.Vertex, in.Output = move(gone.Inputs[0].Vertex), gone.Inputs[0].Output
			default:
				return nil
			}
		}
	}
	c.Vertices = slices.Delete(c.Vertices, v, v+1)
	c.Actions = slices.DeleteFunc(c.Actions, func(a action) bool { return a.Vertex == v && (a.Kind == "demand" || a.Kind == "add") })
	for i := range c.Actions {
		c.Actions[i].Vertex = move(c.Actions[i].Vertex)
	}
	return c
}
