package solver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// step is a vertex whose name says nothing of what it does: its digest is made of the name,
// of the op, and of its inputs, as a program would make it.
type step struct {
	*solvertest.Node
	name string
	in   []*step
}

// do makes a step. What follows a blank in what is the op: "cc -O2" has the name cc.
func (w *world) do(what string, in ...*step) *step {
	s := &step{Node: w.node(what), in: in}
	s.name, _, _ = strings.Cut(what, " ")
	s.Key = what
	for _, i := range in {
		s.ID += "\x00" + i.ID
		s.In = append(s.In, solvertest.Input{Node: i.Node})
	}
	return s
}

func (s *step) Name() string { return s.name }

func (s *step) Inputs() []solver.Edge {
	var out []solver.Edge
	for i, in := range s.in {
		out = append(out, solver.Edge{Vertex: in, Index: solver.Index(s.In[i].Output)})
	}
	return out
}

// byContent gives the inputs content keys.
func (s *step) byContent() *step {
	for i := range s.In {
		s.In[i].Content = true
	}
	return s
}

func (s *step) gives(value string) *step { s.Value = value; return s }
func (s *step) afresh() *step            { s.Opts.IgnoreCache = true; return s }

// trace builds a step, and returns the trace.
func (w *world) trace(s *solver.Solver, top *step) solver.Trace {
	j := w.job(s)
	defer j.Discard()
	if r, err := j.Build(context.Background(), solver.Edge{Vertex: top}); err == nil {
		r.Release(context.Background())
	}
	return j.Trace()
}

// again is a trace that was kept as JSON.
func again(t *testing.T, trace solver.Trace) (out solver.Trace) {
	t.Helper()
	dt, err := json.Marshal(trace)
	if err == nil {
		err = json.Unmarshal(dt, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != trace.String() {
		t.Errorf("read back, %s\nis\n%s", trace, out)
	}
	return out
}

// reasons are the reasons in words, of the traces and of the same traces read back.
func reasons(t *testing.T, now solver.Trace, earlier ...solver.Trace) string {
	t.Helper()
	said := func(list []*solver.Reason) string {
		var out []string
		for _, r := range list {
			out = append(out, r.String())
		}
		return strings.Join(out, "\n")
	}
	words := said(now.Since(earlier...))
	var kept []solver.Trace
	for _, e := range earlier {
		kept = append(kept, again(t, e))
	}
	if got := said(again(t, now).Since(kept...)); got != words {
		t.Errorf("of traces that were kept: %s\nand not\n%s", got, words)
	}
	return words
}

// contract 29: the nearest earlier record of the same operation, and the first thing that differs.
func TestSince(t *testing.T) {
	type graphs func(w *world) []*step // the last is what is built now
	for _, c := range []struct {
		name, want string
		graphs     graphs
	}{
		{"nothing earlier", "src: no earlier job had it\ncc: no earlier job had it",
			func(w *world) []*step { return []*step{w.do("cc 1", w.do("src 1"))} }},
		{"nothing ran", "",
			func(w *world) []*step { return []*step{w.do("cc 1", w.do("src 1")), w.do("cc 1", w.do("src 1"))} }},
		{"the operation", "cc: what it does differs",
			func(w *world) []*step { return []*step{w.do("cc 1", w.do("src 1")), w.do("cc 2", w.do("src 1"))} }},
		{"another name", `cc: what it does differs from "gcc", which was in its place`,
			func(w *world) []*step { return []*step{w.do("gcc 1", w.do("src 1")), w.do("cc 2", w.do("src 1"))} }},
		{"far below", "src: what it does differs\ncc: its input \"src\" differs, because of src: what it does differs\nld: its input \"cc\" differs, because of src: what it does differs",
			func(w *world) []*step {
				ld := func(v string) *step { return w.do("ld", w.do("lib"), w.do("cc", w.do("src "+v))) }
				return []*step{ld("1"), ld("2")}
			}},
		{"one more between", "strip: no earlier job had it\nld: its input 0 is \"strip\", and was \"cc\"",
			func(w *world) []*step {
				cc := func() *step { return w.do("cc", w.do("src")) }
				return []*step{w.do("ld", cc()), w.do("ld", w.do("strip", cc()))}
			}},
		{"one less", "ld: its input 0 is \"cc\", and was \"strip\"",
			func(w *world) []*step {
				cc := func() *step { return w.do("cc", w.do("src")) }
				return []*step{w.do("ld", w.do("strip", cc())), w.do("ld", cc())}
			}},
		{"one more input", "b: no earlier job had it\nld: it has 2 inputs, and had 1",
			func(w *world) []*step { return []*step{w.do("ld", w.do("a")), w.do("ld", w.do("a"), w.do("b"))} }},
		{"inputs change places", `ld: its input 0 is "b", and was "a"`,
			func(w *world) []*step {
				return []*step{w.do("ld", w.do("a"), w.do("b")), w.do("ld", w.do("b"), w.do("a"))}
			}},
		{"selector", `ld: it uses another part of its input "a"`,
			func(w *world) []*step {
				old, now := w.do("ld", w.do("a")), w.do("ld", w.do("a"))
				old.In[0].Selector, now.In[0].Selector = "x", "y"
				now.ID += "y"
				return []*step{old, now}
			}},
		{"content", "src: what it does differs\ncc: the content of its input \"src\" differs, because of src: what it does differs",
			func(w *world) []*step {
				return []*step{w.do("cc", w.do("src 1").gives("a")).byContent(), w.do("cc", w.do("src 2").gives("b")).byContent()}
			}},
		{"content is as it was", "src: what it does differs",
			func(w *world) []*step {
				return []*step{w.do("cc", w.do("src 1").gives("a")).byContent(), w.do("cc", w.do("src 2").gives("a")).byContent()}
			}},
		{"ignored", "cc: its cache is ignored",
			func(w *world) []*step { return []*step{w.do("cc", w.do("src")), w.do("cc", w.do("src")).afresh()} }},
		{"ignored below", "src: its cache is ignored\ncc: its input \"src\" was made without a cache, because of src: its cache is ignored\nld: its input \"cc\" was made without a cache, because of src: its cache is ignored",
			func(w *world) []*step {
				return []*step{w.do("ld", w.do("cc", w.do("src"))), w.do("ld", w.do("cc", w.do("src").afresh()))}
			}},
		{"ignored below, and as it was", "src: its cache is ignored",
			func(w *world) []*step {
				return []*step{w.do("cc", w.do("src")).byContent(), w.do("cc", w.do("src").afresh()).byContent()}
			}},
		{"not reproduced", "src: its cache is ignored\ncc: the content of its input \"src\" differs, though that is defined as it was",
			func(w *world) []*step {
				return []*step{w.do("cc", w.do("src").gives("a")).byContent(), w.do("cc", w.do("src").afresh().gives("b")).byContent()}
			}},
		{"of several the nearest", "cc: what it does differs",
			func(w *world) []*step {
				cc := func(v, src string) *step { return w.do("cc "+v, w.do("src "+src)) }
				return []*step{cc("1", "1"), cc("2", "2"), cc("3", "1")}
			}},
		{"of one name", "mid: what it does differs\nmid: its input \"mid\" differs, because of mid: what it does differs",
			func(w *world) []*step {
				chain := func(v string) *step { return w.do("mid 3", w.do("mid "+v, w.do("mid 1"))) }
				return []*step{chain("2"), chain("4")}
			}},
		{"the source stands for something else", "src: what it does differs\ncc: its input \"src\" differs, because of src: what it does differs",
			func(w *world) []*step { // vertices of one digest, as with a name that is looked up
				cc := func(v string) *step {
					s := w.do("cc", w.do("src"))
					s.in[0].Key = v
					return s
				}
				return []*step{cc("1"), cc("2")}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver(slots(1))
			var traces []solver.Trace // the latest first
			for _, g := range c.graphs(w) {
				traces = append([]solver.Trace{w.trace(s, g)}, traces...)
			}
			if got := reasons(t, traces[0], traces[1:]...); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// contract 29: where nothing differs, what became of the record.
func TestSinceNothingDiffers(t *testing.T) {
	w := newWorld(t)
	s := w.solver(slots(1))
	empty := func() *solver.Solver {
		return w.solver(func(o *solver.SolverOpt) { o.DefaultCache = solver.NewCacheManager("empty", nil, nil) })
	}
	cc := func() *step { return w.do("cc", w.do("src")) }
	wants := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", what, got, want)
		}
	}
	first := w.trace(s, cc())
	wants("another cache", reasons(t, w.trace(empty(), cc()), first), "src: an earlier job had it, and cache \"empty\" has no record of it\ncc: an earlier job had it, and cache \"empty\" has no record of it")
	loaded := w.trace(s, cc())
	wants("not needed", reasons(t, w.trace(empty(), cc().in[0]), loaded), "src: it is as in an earlier job, which did not need its result")
	wants("a result says more", reasons(t, w.trace(empty(), cc().in[0]), loaded, first), `src: an earlier job had it, and cache "empty" has no record of it`)

	w.results.OnLoad = func(context.Context, string) error { return errBroken }
	wants("load", reasons(t, w.trace(s, cc().in[0]), first), `src: its record in cache "local" could not be loaded`)
	w.results.OnLoad = nil

	top := w.do("top", w.do("src"))
	losing(top.Node, "Exec", 1)
	w.results.OnLoad = func() func(context.Context, string) error {
		calls := 0
		return func(context.Context, string) error {
			if calls++; calls > 1 {
				return solver.ErrNotFound
			}
			return nil
		}
	}()
	lost := w.trace(s, top)
	w.results.OnLoad = nil
	wants("lost", reasons(t, lost, first), "src: the result was lost\ntop: what it does differs from \"cc\", which was in its place")

	fails := func() *step {
		f := w.do("fails", w.do("src"))
		f.OnExec = func(context.Context, []solver.Result) error { return errBroken }
		return f
	}
	failed := w.trace(s, fails())
	wants("failed before", reasons(t, w.trace(s, fails()), failed), "fails: it is as in an earlier job, in which it failed")

	held := w.job(s)
	defer held.Discard()
	w.buildIn(held, solver.Edge{Vertex: w.do("new")})
	wants("a run that is shared", reasons(t, w.trace(s, w.do("new")), held.Trace()), "new: no earlier job had it")
}

// contract 29: what cannot be known is said to be missing.
func TestSinceMissing(t *testing.T) {
	w := newWorld(t)
	s := w.solver(slots(1))
	cc := func(v, value string) *step { return w.do("cc", w.do("src "+v).gives(value)).byContent() }
	w.trace(s, cc("1", "a"))
	loaded := w.trace(s, cc("1", "a")) // by its definition
	r := w.trace(s, cc("2", "b")).Since(loaded)
	if len(r) != 2 || r[1].Kind != solver.ReasonInput || r[1].Missing != "the earlier trace does not have its content" || r[1].Root() != r[0] || r[1].Because != r[0] {
		t.Errorf("got %v", r)
	}
	both := func(a, b string) *step {
		n := w.do("n", w.do("a "+a), w.do("b "+b))
		n.In[0].Content = true
		return n
	}
	first := w.trace(s, both("1", "1"))
	r = w.trace(s, both("2", "2")).Since(first)
	if len(r) != 3 || r[2].Input != 1 && r[2].Kind != solver.ReasonContent {
		t.Errorf("got %v", r)
	}
}

// contract 29: each of many steps of one name and one op is compared with that in its place.
func TestSincePlaces(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(v string) *step {
		var list []*step
		for i := range 40 {
			list = append(list, w.do("touch", w.do(fmt.Sprintf("src%d %s", i, v))))
		}
		return w.do("all", list...)
	}
	first, second := w.trace(s, graph("1")), w.trace(s, graph("2"))
	from := map[digest.Digest]string{}
	for _, e := range first {
		if len(e.Inputs) == 1 {
			from[e.Vertex] = e.Inputs[0].Name
		}
	}
	n := 0
	for _, r := range second.Since(first) {
		if r.Name != "touch" {
			continue
		}
		n++
		if r.Kind != solver.ReasonInput || from[r.WasVertex] != r.InputName || r.Root().Name != r.InputName || r.Root().Kind != solver.ReasonOp {
			t.Errorf("%v, compared with what was made of %s", r, from[r.WasVertex])
		}
	}
	if n != 40 {
		t.Errorf("%d were run", n)
	}
}

// contract 29: it can be asked while a job runs.
func TestSinceWhileRunning(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		first := w.trace(s, w.do("n 1", w.do("in")))
		n := w.do("n 2", w.do("in"))
		n.OnExec = g.exec
		j := w.job(s)
		b := w.start(j, solver.Edge{Vertex: n})
		<-g.reached
		if got := reasons(t, j.Trace(), first); got != "n: what it does differs" {
			t.Error(got)
		}
		g.open()
		b.wait("n 2(in())")
	})
}

// Traces that were kept may be damaged in any way: they are compared somehow.
func TestSinceDamaged(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(v string) *step {
		return w.do("d", w.do("c", w.do("b", w.do("a "+v)), w.do("x")).byContent(), w.do("y"))
	}
	var kept [][]byte
	for _, v := range []string{"1", "2", "3"} {
		dt, err := json.Marshal(w.trace(s, graph(v)))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, dt)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		traces := make([]solver.Trace, len(kept))
		for i := range kept {
			if err := json.Unmarshal(kept[i], &traces[i]); err != nil {
				t.Fatal(err)
			}
		}
		for range 1 + rng.IntN(8) {
			from := traces[rng.IntN(3)]
			damage(rng, &traces[rng.IntN(3)][rng.IntN(len(from))], &from[rng.IntN(len(from))])
		}
		for _, r := range traces[2].Since(traces[1], traces[0], nil) {
			_ = r.String()
		}
		_ = traces[2].String()
	}
	var trace solver.Trace
	for _, bad := range []string{`{}`, `[1]`, `[{"inputs":1}]`, `[{"decisions":[{"kind":4}]}]`} {
		if json.Unmarshal([]byte(bad), &trace) == nil {
			t.Errorf("%s is read", bad)
		}
	}
	newer := `[null, {"keys":[null],"inputs":[{"keys":[null],"content":null}],"decisions":[{"kind":"invented"},{"kind":"executed"},{"kind":"input failed","input":-5}]}]`
	if err := json.Unmarshal([]byte(newer), &trace); err != nil {
		t.Fatal(err)
	}
	_, _ = trace.Since(trace), trace.String()
}

// damage changes something of an edge.
func damage(rng *rand.Rand, e, other *solver.EdgeTrace) {
	switch rng.IntN(9) {
	case 0:
		e.Inputs = append(e.Inputs, solver.InputTrace{Vertex: other.Vertex, Keys: []*solver.CacheKey{nil}})
	case 1:
		e.Vertex = other.Vertex
	case 2:
		e.Op = nil
	case 3:
		e.Op, e.Name = other.Op, other.Name
	case 4:
		e.Inputs = nil
	case 5:
		e.Inputs = other.Inputs
	case 6:
		e.Decisions = []solver.Decision{{Kind: solver.TraceExecuted, Input: -1}, {Kind: 77, Input: 9}}
	case 7:
		e.Output = -1
	case 8:
		for i := range e.Inputs {
			e.Inputs[i].Ignored, e.Inputs[i].Keys = rng.IntN(9)-4, other.Keys
		}
	}
}

// contract 29: where a cache keeps everything, what is run again differs in something that is
// named, from an earlier run that has the same in all that was looked at before.
func TestSinceRandomEdits(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		s := w.solver(slots(1))
		n := 3 + rng.IntN(6)
		versions := make([]int, n)
		var shape [][]int
		var content, constant []bool
		for i := range n {
			shape = append(shape, nil)
			for j := range i {
				if j == i-1 || rng.IntN(3) == 0 {
					shape[i] = append(shape[i], j)
				}
			}
			content, constant = append(content, rng.IntN(2) == 0), append(constant, rng.IntN(3) == 0)
		}
		var traces []solver.Trace
		for range 6 {
			var steps []*step
			for i := range n {
				var in []*step
				for _, j := range shape[i] {
					in = append(in, steps[j])
				}
				st := w.do(fmt.Sprintf("s%d %d", i, versions[i]), in...)
				if content[i] {
					st.byContent()
				}
				if constant[i] {
					st.gives(fmt.Sprint("same", i))
				}
				steps = append(steps, st)
			}
			now := w.trace(s, steps[n-1])
			for _, r := range now.Since(traces...) {
				switch {
				case len(traces) == 0 && r.Kind != solver.ReasonFirst:
					t.Errorf("seed %d: at first, %v", seed, r)
				case r.Kind == solver.ReasonGone, r.Kind == solver.ReasonUnknown, r.Kind == solver.ReasonNotReproduced, r.Kind == solver.ReasonAfresh:
					t.Errorf("seed %d: %v (%s)", seed, r, r.Kind)
				case r.Kind == solver.ReasonInput && r.Because == nil:
					t.Errorf("seed %d: %v, and nothing of that", seed, r)
				case r.Kind == solver.ReasonFirst && told(traces, r.Name):
					t.Errorf("seed %d: %v, and it is there", seed, r)
				}
			}
			traces = append([]solver.Trace{now}, traces...)
			for range 1 + rng.IntN(2) {
				versions[rng.IntN(n)] = rng.IntN(3)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// told says whether it is known of a step of this name what it does.
func told(traces []solver.Trace, name string) bool {
	for _, t := range traces {
		for i := range t {
			if t[i].Name == name && len(t[i].Op) > 0 {
				return true
			}
		}
	}
	return false
}
