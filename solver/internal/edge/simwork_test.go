package edge

import (
	"fmt"
	"slices"
)

// What the simulated driver does for an edge: keys, look-ups, executions.

// answer makes an event of the answer to an effect. False: there is no event, or
// it was delivered already.
func (s *sim) answer(e *simEdge, t task, ev *Event) bool {
	spec := e.v.spec
	switch t.kind {
	case Mapped:
		if spec.MapFails {
			s.fail(e)
			return false
		}
		e.maps++
		ev.More = e.maps < len(spec.Maps)
		for i, in := range spec.Inputs {
			if in.Content {
				if ev.Contents == nil {
					ev.Contents = make([]bool, len(spec.Inputs))
				}
				ev.Contents[i] = true
			}
		}
	case Probed:
		ev.Mask = s.probed(e, t.input)
	case Matched:
		ev.Flag = s.match(e)
	case Digested:
		if s.lostDigest(e, t.input) {
			ev.Kind = Lost
		} else {
			ev.Flag = s.digest(e.v, int(t.input))
		}
	case Joined:
		ev.Flag = s.join(e)
		if ev.Flag {
			s.step(e, *ev)
			s.joined(e)
			return false
		}
	case Loaded:
		if value, ok := s.load(e); ok {
			s.succeed(e, Loaded, value)
			return false
		}
	case Ran:
		s.collect(e)
		return false
	}
	return true
}

func (s *sim) formKey(e *simEdge) {
	spec := e.v.spec
	if e.maps <= e.defs {
		return // it was formed before the result was lost
	}
	e.defs++
	if len(spec.Inputs) == 0 {
		m := spec.Maps[e.maps-1]
		if e.def == "" {
			e.def = m
		}
		e.keys = append(e.keys, rootKey(m, e.output))
		return
	}
	e.def = spec.definition(func(i int) (string, string) {
		in := spec.Inputs[i]
		return s.edge(in.Vertex, in.Output).keys[0], in.Selector
	})
	e.keys = append(e.keys, outputKey(e.def, e.output))
}

func (e *simEdge) learn(key string) {
	if !slices.Contains(e.keys, key) {
		e.keys = append(e.keys, key)
	}
}

// probe takes what of an input was not probed yet; probed answers it.
func (s *sim) probe(e *simEdge, i int32) {
	in, spec := &e.ins[i], e.v.spec.Inputs[i]
	child := s.edge(spec.Vertex, spec.Output)
	d := dep{keys: child.keys[in.probed:len(child.keys):len(child.keys)], selector: spec.Selector}
	in.probed = len(child.keys)
	if key := e.v.contents[i]; !in.content && key != "" && key != "!" {
		d.content, in.content = key, true
	}
	in.inflight = d
	e.asked = s.released
	s.tell(task{e: e, kind: Probed, input: i})
}

func (s *sim) probed(e *simEdge, i int32) Managers {
	in := &e.ins[i]
	for m := range s.caches {
		if e.m.Asked()&(1<<m) != 0 && s.caches[m].leads(in.inflight, e.v.spec.Op, int(i), e.output) {
			in.matched |= 1 << m
		}
	}
	in.inflight = dep{}
	return in.matched
}

// deps are the alternatives known for each input now; nil for a root.
func (s *sim) deps(v *simVertex) []dep {
	var deps []dep
	for i, in := range v.spec.Inputs {
		d := dep{keys: slices.Clone(s.edge(in.Vertex, in.Output).keys), selector: in.Selector}
		if key := v.contents[i]; key != "!" {
			d.content = key
		}
		deps = append(deps, d)
	}
	return deps
}

func (s *sim) match(e *simEdge) bool {
	deps := s.deps(e.v)
	for m := range s.caches {
		if e.m.Asked()&(1<<m) == 0 {
			continue
		}
		var keys []string
		if deps == nil {
			for _, k := range e.keys {
				if s.caches[m].roots[k] {
					keys = append(keys, k)
				}
			}
		} else {
			keys = s.caches[m].match(deps, e.v.spec.Op, e.output)
		}
		for _, k := range keys {
			if f := (simFound{k, m}); !slices.Contains(e.found, f) {
				e.found = append(e.found, f)
				e.learn(k)
				if s.sp.Evolving {
					s.caches[m].linkAll(deps, e.v.spec.Op, k, e.output)
				}
			}
		}
	}
	return len(e.found) > e.tried
}

func (s *sim) digest(v *simVertex, i int) bool {
	if v.contents[i] == "" {
		s.digests[[2]int{v.index, i}] = true
		in := &v.spec.Inputs[i]
		if v.contents[i] = contentKey(in, s.edge(in.Vertex, in.Output).value); in.DigestFails {
			v.contents[i] = "!"
		}
	}
	return v.contents[i] != "!"
}

// load loads the best record of the keys found.
func (s *sim) load(e *simEdge) (string, bool) {
	var recs []simRecord
	for _, f := range e.found[e.tried:] {
		for _, r := range s.caches[f.manager].records[f.key] {
			r.manager = f.manager
			recs = append(recs, r)
		}
	}
	e.tried = len(e.found)
	best(recs)
	for _, r := range recs {
		if r.loads {
			s.loads[fmt.Sprintf("%s.%d: %s in %d", e.v.spec.Name, e.output, r.key, r.manager)] = true
			return s.truth(e.v.index, e.output), true
		}
		if c := s.caches[r.manager]; s.sp.Evolving {
			c.records[r.key] = slices.DeleteFunc(c.records[r.key], func(o simRecord) bool { return !o.loads })
		}
	}
	return "", false
}

// truth is what an edge's result must be.
func (s *sim) truth(v, output int) string {
	if t, ok := s.truths[[2]int{v, output}]; ok {
		return t
	}
	spec := &s.sp.Vertices[v]
	in := make([]string, len(spec.Inputs))
	for i, x := range spec.Inputs {
		in[i] = s.truth(x.Vertex, x.Output)
	}
	t := spec.value(output, in)
	s.truths[[2]int{v, output}] = t
	return t
}

// join has an edge wait for an execution that gives its result, if there is one.
func (s *sim) join(e *simEdge) bool {
	x := e.v.exec
	if x == nil {
		x = s.equal(e)
	}
	if x == nil {
		return false
	}
	e.v.exec, e.exec = x, x
	return true
}

// joined has an edge that has joined an execution wait for its end.
func (s *sim) joined(e *simEdge) {
	if x := e.exec; x.done {
		s.tell(task{e: e, kind: Ran})
	} else {
		x.waiting = append(x.waiting, e)
	}
}

func (s *sim) equal(e *simEdge) *simExec {
	for _, name := range s.names(e) {
		for _, ignoring := range []string{"ignoring ", ""} {
			if x := s.execs[ignoring+name]; x != nil && (ignoring != "" || !e.v.spec.Ignore) {
				return x
			}
		}
	}
	return nil
}

// names are those an edge's vertex is known by.
func (s *sim) names(e *simEdge) []string {
	if len(e.ins) == 0 {
		return e.v.spec.Maps[:e.maps]
	}
	out := []string{e.def}
	deps := s.deps(e.v)
	choices := make([][][2]string, len(deps))
	for i, d := range deps {
		d.each(func(key, selector string) { choices[i] = append(choices[i], [2]string{key, selector}) })
	}
	choice := make([]int, len(deps))
	for len(out) < 8 {
		out = append(out, e.v.spec.definition(func(i int) (string, string) {
			c := choices[i][choice[i]]
			return c[0], c[1]
		}))
		i := 0
		for ; i < len(deps); i++ {
			if choice[i]++; choice[i] < len(choices[i]) {
				break
			}
			choice[i] = 0
		}
		if i == len(deps) {
			break
		}
	}
	return out
}

// start runs an edge's op, waits for an equal one, or has the caches asked anew.
func (s *sim) start(e *simEdge) {
	for i := range e.ins {
		if !s.input(e.v, i).solved() {
			s.step(e, Event{Kind: Lost, Input: int32(i), Flag: true})
			return
		}
	}
	if s.join(e) {
		s.joined(e)
		return
	}
	if !e.v.spec.Ignore && e.asked != s.released {
		for i := range e.ins {
			e.ins[i] = simInput{asked: e.ins[i].asked}
		}
		e.found, e.tried, e.asked = nil, 0, s.released
		s.tell(task{e: e, kind: Recheck})
		return
	}
	x := &simExec{v: e.v, e: e, err: s.sp.bad(e.v.index)}
	prefix := ""
	if e.v.spec.Ignore {
		prefix = "ignoring "
	}
	for _, name := range s.names(e) {
		if s.execs[prefix+name] == nil {
			s.execs[prefix+name] = x
			x.names = append(x.names, prefix+name)
		}
	}
	e.v.exec, e.exec = x, x
	x.waiting = append(x.waiting, e)
	s.runs[e.v.index] = true
	for i := range e.ins {
		in := s.input(e.v, i)
		x.took = append(x.took, simTaken{in.results, in.gone})
	}
	s.tell(task{exec: x})
}

func (s *sim) unregister(x *simExec) {
	for _, name := range x.names {
		if s.execs[name] == x {
			delete(s.execs, name)
		}
	}
	x.names = nil
}

func (s *sim) execDone(x *simExec) {
	if x.cancelled {
		return
	}
	if i := s.lostBy(x); i >= 0 {
		s.rewind(x, i)
		return
	}
	x.done = true
	if !x.err {
		x.v.ran++
	}
	s.done = append(s.done, x)
	for _, e := range x.waiting {
		s.tell(task{e: e, kind: Ran})
	}
	x.waiting = nil
}

// collect gives an edge its output of an execution that is done.
func (s *sim) collect(e *simEdge) {
	x := e.exec
	if x.err {
		s.fail(e)
		return
	}
	key := outputKey(x.e.def, e.output)
	if len(e.ins) == 0 {
		key = rootKey(x.e.def, e.output)
	}
	s.taught = s.taught || x.v != e.v && !slices.Contains(e.keys, key)
	e.learn(key)
	if s.sp.Evolving {
		deps := s.deps(e.v)
		s.caches[0].save(deps, e.v.spec.Op, e.keys[0], e.output)
		s.caches[0].save(deps, e.v.spec.Op, key, e.output)
	}
	e.exec = nil
	value := s.truth(x.v.index, e.output)
	if want := s.truth(e.v.index, e.output); value != want {
		s.fault(e, "it got %q, the result of %s, in place of %q", value, x.v.spec.Name, want)
	}
	s.succeed(e, Ran, value)
}
