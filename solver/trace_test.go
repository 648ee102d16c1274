package solver_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// traceOf is the trace of one vertex's edge of a job.
func traceOf(t *testing.T, j *solver.Job, name string) solver.EdgeTrace {
	t.Helper()
	for _, tr := range j.Trace() {
		if tr.Name == name {
			return tr
		}
	}
	t.Fatalf("no trace of %s", name)
	return solver.EdgeTrace{}
}

func kinds(tr solver.EdgeTrace) []solver.DecisionKind {
	var out []solver.DecisionKind
	for _, d := range tr.Decisions {
		out = append(out, d.Kind)
	}
	return out
}

// has finds a decision of a kind.
func has(tr solver.EdgeTrace, kind solver.DecisionKind) *solver.Decision {
	for i := range tr.Decisions {
		if tr.Decisions[i].Kind == kind {
			return &tr.Decisions[i]
		}
	}
	return nil
}

// says wants an explanation.
func says(t *testing.T, tr solver.EdgeTrace, want string) {
	t.Helper()
	if got := tr.Explain(); got != want {
		t.Errorf("%s: got %q, want %q", tr.Name, got, want)
	}
}

// contract 29: which cache was asked, what it answered, and what came of it can be
// read while the job lives, and after.
func TestTrace(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	far := w.source("far")
	graph := func(tag string) *solvertest.Node {
		src := w.node("src" + tag)
		src.Value = "same"
		n := w.node("n"+tag, src, w.node("side"))
		n.Key, n.In[0].Content, n.In[1].Selector = "n", true, "sel"
		n.Opts.CacheSources = []solver.CacheManager{far.cache}
		return n
	}
	build := func(n *solvertest.Node) *solver.Job {
		j := w.job(s)
		w.buildIn(j, n.Edge(0))
		j.Discard()
		return j
	}
	cold := traceOf(t, build(graph("1")), "n1")
	if has(cold, solver.TraceExecuted) == nil || has(cold, solver.TraceLoaded) != nil {
		t.Errorf("cold: %v", kinds(cold))
	}
	if d := has(cold, solver.TraceProbe); d == nil || len(d.Answered) != 0 || !slices.Equal(d.Asked, []string{"local", "far"}) {
		t.Errorf("cold: %+v", cold.Decisions)
	}
	if len(cold.Op) != 1 || len(cold.Keys) == 0 || len(cold.Inputs) != 2 || !cold.Inputs[0].HasContent || cold.Inputs[1].Selector == "" || cold.Vertex != graph("1").Digest() {
		t.Errorf("cold: %+v", cold)
	}
	says(t, cold, `run: no cache has it for its input "src1", by definition or by content`)
	warmJob := build(graph("1"))
	warm := traceOf(t, warmJob, "n1")
	says(t, warm, `loaded from cache "local"`)
	if got, want := warmJob.Trace().String(), "n1: loaded from cache \"local\"\nnot needed: 2\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if d := has(warm, solver.TraceLoaded); d == nil || !slices.Equal(d.Asked, []string{"local"}) || has(warm, solver.TraceExecuted) != nil {
		t.Errorf("warm: %+v", warm.Decisions)
	}
	if has(warm, solver.TraceContent) != nil {
		t.Errorf("warm: a content key was computed: %v", kinds(warm))
	}
	// The definition of an input has changed: its content decides.
	other := traceOf(t, build(graph("2")), "n2")
	says(t, other, `loaded from cache "local": its input "src2" has the same content as before`)
	if d := has(other, solver.TraceContentMayRuleOut); d == nil || d.Input != 0 {
		t.Errorf("by content: %v", kinds(other))
	}
	if d := has(other, solver.TraceContent); d == nil || !d.OK || other.Inputs[0].Content == nil {
		t.Errorf("by content: %+v", other.Decisions)
	}
	if has(other, solver.TraceLoaded) == nil {
		t.Errorf("by content: %v", kinds(other))
	}
	side := build(&solvertest.Node{ID: "n3", Key: "n", In: []solvertest.Input{{Node: graph("1").In[0].Node, Content: true}, {Node: w.node("another")}}, Stats: w.stats})
	says(t, traceOf(t, side, "n3"), `run: no cache has it for its input "another"`)
	if in := traceOf(t, side, "n3").Inputs; !in[1].Exhausted || in[0].Exhausted {
		t.Errorf("that the content of an input was left out for one of which all was asked: %+v", in)
	}
	// What differs can be told by comparing with the trace of before.
	if other.Inputs[0].Keys[0].ID == warm.Inputs[0].Keys[0].ID || other.Inputs[1].Keys[0].ID != warm.Inputs[1].Keys[0].ID || other.Op[0] != warm.Op[0] {
		t.Error("the traces do not tell what differs")
	}
}

// contract 29: loads that fail, executions that are shared, inputs that fail, and
// caches that were ignored leave their trace.
func TestTraceOfTheRest(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		n := func() *solvertest.Node { return w.node("n", w.node("in")) }
		w.build(s, n().Edge(0))
		w.results.OnLoad = func(context.Context, string) error { return errBroken }
		j := w.job(s)
		w.buildIn(j, n().Edge(0))
		tr := traceOf(t, j, "n")
		if has(tr, solver.TraceLoadFailed) == nil || has(tr, solver.TraceNoRecord) == nil || has(tr, solver.TraceExecuted) == nil {
			t.Errorf("a record that does not load: %v", kinds(tr))
		}
		says(t, tr, `run: its record in cache "local" could not be loaded`)
		equal := w.node("equal", w.node("in"))
		equal.Key = "n"
		w.buildIn(j, equal.Edge(0))
		if d := has(traceOf(t, j, "equal"), solver.TraceShared); d == nil || d.With != n().Digest() {
			t.Errorf("an equal edge: %+v", traceOf(t, j, "equal").Decisions)
		}
		says(t, traceOf(t, j, "equal"), `shared: "`+string(n().Digest())+`" is equal to it, and was run`)
		if want := "equal: shared: \"n\" is equal to it, and was run\n"; !strings.Contains(j.Trace().String(), want) {
			t.Errorf("%q is not in %q", want, j.Trace())
		}
		bad := w.node("bad")
		bad.OnExec = func(context.Context, []solver.Result) error { return errBroken }
		j.Build(context.Background(), w.node("above", bad).Edge(0))
		if d := has(traceOf(t, j, "above"), solver.TraceInputFailed); d == nil || traceOf(t, j, "bad").Err == nil {
			t.Errorf("an input that fails: %+v", traceOf(t, j, "above"))
		}
		says(t, traceOf(t, j, "above"), `not run: its input "bad" failed`)
		says(t, traceOf(t, j, "bad"), "failed: "+errBroken.Error())
		alone := w.job(s)
		w.buildIn(alone, ignoring(w.node("alone")).Edge(0))
		if tr := traceOf(t, alone, "alone"); !tr.IgnoreCache || has(tr, solver.TraceMatch) != nil {
			t.Errorf("ignoring: %+v", tr)
		}
		says(t, traceOf(t, alone, "alone"), "run: its cache is ignored")
		for k := solver.TraceProbe; k <= solver.TraceInputFailed; k++ {
			if k.String() == "" || k.String() == "unknown" {
				t.Errorf("kind %d has no name", k)
			}
		}
	})
}

// contract 29: it can be read at any time.
func TestTraceWhileRunning(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		n := w.node("n", w.node("in"))
		n.OnExec = g.exec
		j := w.job(s)
		b := w.start(j, n.Edge(0))
		<-g.reached
		if tr := traceOf(t, j, "in"); has(tr, solver.TraceExecuted) == nil {
			t.Errorf("in: %v", kinds(tr))
		}
		if tr := traceOf(t, j, "n"); has(tr, solver.TraceExecuted) != nil {
			t.Errorf("n: %v", kinds(tr))
		}
		g.open()
		b.wait("n(in())")
		order := map[string]int{}
		for i, tr := range j.Trace() {
			order[tr.Name] = i
		}
		if order["in"] > order["n"] {
			t.Error(fmt.Sprint("inputs come after what uses them: ", order))
		}
	})
}

// contract 29: inputs that are known apart and not together, and a result that was lost.
func TestExplainTogetherAndLost(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	n := func(a, b string) *solvertest.Node {
		n := w.node("n"+a+b, w.node(a), w.node(b))
		n.Key = "n"
		return n
	}
	w.build(s, n("a", "y").Edge(0))
	w.build(s, n("x", "b").Edge(0))
	j := w.job(s)
	w.buildIn(j, n("a", "b").Edge(0))
	says(t, traceOf(t, j, "nab"), "run: no cache has it for these inputs together")
	w.results.OnLoad = func(context.Context, string) error { return solver.ErrNotFound }
	top := w.node("top", w.node("lost"))
	losing(top, "Exec", 1)
	w.buildIn(j, top.Edge(0))
	says(t, traceOf(t, j, "lost"), "run: the result was lost")
	j.Discard()
}
