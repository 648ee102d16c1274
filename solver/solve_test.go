package solver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// world is a cache and the counters of what was called.
type world struct {
	t       *testing.T
	stats   *solvertest.Stats
	results *solvertest.Results
	storage solver.CacheKeyStorage
	cache   solver.CacheManager
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, stats: &solvertest.Stats{}}
	w.results = &solvertest.Results{Stats: w.stats}
	w.storage = solver.NewInMemoryCacheStorage()
	w.cache = solver.NewCacheManager("local", w.storage, w.results)
	return w
}

// solver returns a solver on the world's cache. When the test ends, nothing may
// be left of it.
func (w *world) solver() *solver.Solver {
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: solvertest.Resolve, DefaultCache: w.cache})
	w.t.Cleanup(func() { w.close(s) })
	return s
}

// close closes a solver and checks that nothing is left.
func (w *world) close(s *solver.Solver) {
	w.t.Helper()
	s.Close()
	if st := s.Stats(); st.Vertices != 0 || st.Edges != 0 || st.Jobs != 0 {
		w.t.Errorf("left after close: %+v", st)
	}
	if n := w.stats.Live.Load(); n != 0 {
		w.t.Errorf("%d results were not released", n)
	}
	for _, f := range w.stats.Faults() {
		w.t.Error(f)
	}
}

// build builds an edge in a job of its own and returns the value.
func (w *world) build(s *solver.Solver, e solver.Edge) string {
	w.t.Helper()
	j := w.job(s)
	defer j.Discard()
	return w.buildIn(j, e)
}

var jobs int

func (w *world) job(s *solver.Solver) *solver.Job {
	w.t.Helper()
	jobs++
	j, err := s.NewJob(fmt.Sprint("job-", jobs))
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) buildIn(j *solver.Job, e solver.Edge) string {
	w.t.Helper()
	r, err := j.Build(context.Background(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Release(context.Background())
	return solvertest.Value(r)
}

func (w *world) node(id string, in ...*solvertest.Node) *solvertest.Node {
	n := &solvertest.Node{ID: id, Stats: w.stats}
	for _, i := range in {
		n.In = append(n.In, solvertest.Input{Node: i})
	}
	return n
}

func TestFirst(t *testing.T) {
	w := newWorld(t)
	graph := func() *solvertest.Node {
		a, b := w.node("a"), w.node("b")
		c := w.node("c", a, b)
		return w.node("d", c, a)
	}
	s := w.solver()
	if got := w.build(s, graph().Edge(0)); got != "d(c(a(),b()),a())" {
		t.Fatal(got)
	}
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if got := w.build(s, graph().Edge(0)); got != "d(c(a(),b()),a())" {
		t.Fatal(got)
	}
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if n := w.results.Loads(); n != 1 {
		t.Fatal(n)
	}
}

func TestContentFirst(t *testing.T) {
	w := newWorld(t)
	graph := func(src string) *solvertest.Node {
		a := w.node(src)
		a.Value = "same"
		c := w.node("copy", a)
		c.ID = "copy" + src
		c.Key = "copy"
		c.In[0].Content = true
		d := w.node("run"+src, c)
		d.Key = "run"
		return d
	}
	s := w.solver()
	w.build(s, graph("a1").Edge(0))
	if n := w.stats.Execs.Load(); n != 3 {
		t.Fatal(n)
	}
	w.build(s, graph("a2").Edge(0))
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if n := w.results.Loads(); n != 1 {
		t.Fatal(n)
	}
	d := w.stats.Digests.Load()
	w.build(s, graph("a2").Edge(0))
	if n := w.stats.Execs.Load(); n != 4 {
		t.Fatal(n)
	}
	if n := w.stats.Digests.Load(); n != d {
		t.Fatal(n, d)
	}
}
