package solver_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// scaleGraph is a large graph: its vertices are numbers. Each takes as little
// memory as it can.
type scaleGraph struct {
	name     string
	vertices []scaleVertex
	inputs   func(i int) []int
	// key is what an op's key is made of; nil stands for name and number.
	key   func(i int) string
	execs atomic.Int64
}

type scaleVertex struct {
	g *scaleGraph
	i int
}

func newScaleGraph(name string, n int, inputs func(i int) []int) *scaleGraph {
	g := &scaleGraph{name: name, vertices: make([]scaleVertex, n), inputs: inputs}
	for i := range g.vertices {
		g.vertices[i] = scaleVertex{g, i}
	}
	return g
}

func (g *scaleGraph) edge(i int) solver.Edge { return solver.Edge{Vertex: &g.vertices[i]} }
func (g *scaleGraph) top() solver.Edge       { return g.edge(len(g.vertices) - 1) }

func (v *scaleVertex) Digest() digest.Digest         { return digest.FromString(v.Name()) }
func (v *scaleVertex) Sys() interface{}              { return nil }
func (v *scaleVertex) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (v *scaleVertex) Name() string                  { return fmt.Sprint(v.g.name, v.i) }

func (v *scaleVertex) Inputs() []solver.Edge {
	var out []solver.Edge
	for _, i := range v.g.inputs(v.i) {
		out = append(out, v.g.edge(i))
	}
	return out
}

func (v *scaleVertex) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	key := v.Name()
	if v.g.key != nil {
		key = v.g.key(v.i)
	}
	return solver.NewCacheMap(digest.FromString(key), len(v.g.inputs(v.i))), true, nil
}

func (v *scaleVertex) Exec(context.Context, []solver.Result) ([]solver.Result, error) {
	v.g.execs.Add(1)
	return []solver.Result{scaleResult(v.Name())}, nil
}

// scaleResult is a value, whose release does nothing.
type scaleResult string

func (r scaleResult) ID() string                    { return string(r) }
func (r scaleResult) Release(context.Context) error { return nil }
func (r scaleResult) Sys() interface{}              { return nil }

func newScaleSolver(t *testing.T) *solver.Solver {
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
		return v.(*scaleVertex), nil
	}})
	t.Cleanup(s.Close)
	return s
}

// scaled is how large a graph is to be where n is asked for. It is smaller where
// tests are slow, and still deeper than the stack that the test leaves.
func scaled(n int) int {
	if raceDetector || testing.Short() {
		return n / 20
	}
	return n
}

// shallow leaves so little stack that nothing can recur over a large graph.
func shallow(t *testing.T) {
	before := debug.SetMaxStack(1 << 20)
	t.Cleanup(func() { debug.SetMaxStack(before) })
}

// TestScale builds, exports and discards large graphs, and builds them again from
// the cache.
func TestScale(t *testing.T) {
	shapes := []struct {
		name   string
		n      int
		inputs func(n int) func(i int) []int
	}{
		{"chain", 1_000_000, func(int) func(int) []int { return chainInputs }},
		{"fan-in", 100_000, func(n int) func(int) []int { return fanInInputs(n) }},
		{"fan-out", 100_000, func(n int) func(int) []int { return fanOutInputs(n) }},
		{"ladder", 100_000, func(int) func(int) []int { return ladderInputs }},
	}
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			shallow(t)
			n := scaled(shape.n) | 1 // a ladder's last rung has one vertex
			g := newScaleGraph(shape.name, n, shape.inputs(n))
			s := newScaleSolver(t)
			for pass := range 2 {
				before := s.Stats()
				j, err := s.NewJob(fmt.Sprint(pass))
				if err != nil {
					t.Fatal(err)
				}
				res, err := j.Build(t.Context(), g.top())
				if err != nil {
					t.Fatal(err)
				}
				scaleExport(t, res, n, pass)
				if err := res.Release(t.Context()); err != nil {
					t.Error(err)
				}
				st := s.Stats()
				if st.Vertices != n {
					t.Errorf("%d active vertices of %d", st.Vertices, n)
				}
				if execs, loads := st.Execs-before.Execs, st.Loads-before.Loads; pass == 0 && execs != uint64(n) || pass == 1 && (execs != 0 || loads != 1) {
					t.Errorf("pass %d: %d ops were run and %d records loaded", pass, execs, loads)
				}
				if err := j.Discard(); err != nil {
					t.Error(err)
				}
				if st := s.Stats(); st.Vertices != 0 || st.Edges != 0 {
					t.Errorf("left: %+v", st)
				}
			}
		})
	}
}

func chainInputs(i int) []int {
	if i == 0 {
		return nil
	}
	return []int{i - 1}
}

// fanInInputs: everything goes into the last.
func fanInInputs(n int) func(int) []int {
	return func(i int) []int {
		if i < n-1 {
			return nil
		}
		all := make([]int, n-1)
		for k := range all {
			all[k] = k
		}
		return all
	}
}

// fanOutInputs: the first goes into all, and those into the last.
func fanOutInputs(n int) func(int) []int {
	return func(i int) []int {
		switch i {
		case 0:
			return nil
		case n - 1:
			all := make([]int, n-2)
			for k := range all {
				all[k] = k + 1
			}
			return all
		}
		return []int{0}
	}
}

// ladderInputs: both of a rung use both of the rung below.
func ladderInputs(i int) []int {
	if i < 2 {
		return nil
	}
	rung := i / 2 * 2
	return []int{rung - 2, rung - 1}
}

// scaleTarget counts what is exported.
type scaleTarget struct {
	visited        map[any]bool
	records, links int
}

func (t *scaleTarget) Add(digest.Digest) solver.CacheExporterRecord {
	t.records++
	return scaleRecord{t}
}
func (t *scaleTarget) Visit(x interface{})        { t.visited[x] = true }
func (t *scaleTarget) Visited(x interface{}) bool { return t.visited[x] }

type scaleRecord struct{ t *scaleTarget }

func (r scaleRecord) AddResult(time.Time, *solver.Remote)              {}
func (r scaleRecord) LinkFrom(solver.CacheExporterRecord, int, string) { r.t.links++ }

// scaleExport exports everything below a result.
func scaleExport(t *testing.T, res solver.CachedResult, n, pass int) {
	target := &scaleTarget{visited: map[any]bool{}}
	for _, k := range res.CacheKeys() {
		_, err := k.Exporter.ExportTo(t.Context(), target, solver.CacheExportOpt{
			Mode:    solver.CacheExportModeMax,
			Convert: func(context.Context, solver.Result) (*solver.Remote, error) { return &solver.Remote{}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The top of a fan-in has itself and its inputs, and so on.
	if target.records < n-n/2 || target.records > n {
		t.Errorf("pass %d: %d records were exported of %d vertices", pass, target.records, n)
	}
}

// TestScaleEqualLadders builds a ladder in two jobs at once, whose vertices have
// equal keys and different digests: nothing is run twice.
func TestScaleEqualLadders(t *testing.T) {
	shallow(t)
	visits := map[int]float64{}
	for _, rungs := range []int{100, 1000} {
		s := newScaleSolver(t)
		var execs int64
		var jobs sync.WaitGroup
		graphs := make([]*scaleGraph, 2)
		for k := range graphs {
			g := newScaleGraph(fmt.Sprint("job", k, "-"), 2*rungs, ladderInputs)
			g.key = func(i int) string { return fmt.Sprint("rung", i) }
			graphs[k] = g
			jobs.Go(func() {
				j, err := s.NewJob(g.name)
				if err != nil {
					t.Error(err)
					return
				}
				res, err := j.Build(t.Context(), g.top())
				if err != nil {
					t.Error(err)
					return
				}
				_ = res.Release(t.Context())
			})
		}
		jobs.Wait()
		for _, g := range graphs {
			execs += g.execs.Load()
		}
		// What one job has run is shared with the other, or loaded.
		if want := int64(2*rungs - 1); execs != want {
			t.Errorf("%d rungs: %d ops were run in place of %d", rungs, execs, want)
		}
		st := s.Stats()
		visits[rungs] = float64(st.Visits) / float64(st.Edges)
		s.Close()
	}
	t.Logf("visits an edge: %v", visits)
	if visits[1000] > 1.3*visits[100] {
		t.Errorf("visits an edge grow with the ladder: %v", visits)
	}
}

// TestScaleVisits: how often an edge is looked at does not depend on how large
// the graph is.
func TestScaleVisits(t *testing.T) {
	tree := func(n int) func(int) []int {
		return func(i int) []int {
			var in []int
			for k := 2 * (n - 1 - i); k < 2*(n-1-i)+2 && k+1 < n; k++ {
				in = append(in, n-2-k)
			}
			return in
		}
	}
	for name, inputs := range map[string]func(n int) func(int) []int{
		"chain":   func(int) func(int) []int { return chainInputs },
		"fan-in":  fanInInputs,
		"fan-out": fanOutInputs,
		"ladder":  func(int) func(int) []int { return ladderInputs },
		"tree":    tree,
	} {
		var small float64
		for _, n := range []int{301, 10_001} {
			g := newScaleGraph(name, n, inputs(n))
			s := newScaleSolver(t)
			for _, phase := range []string{"cold", "warm"} {
				j, err := s.NewJob(phase)
				if err != nil {
					t.Fatal(err)
				}
				before := s.Stats()
				res, err := j.Build(t.Context(), g.top())
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Release(t.Context())
				st := s.Stats()
				visits := float64(st.Visits-before.Visits) / float64(st.Edges)
				if phase == "cold" && n == 301 {
					small = visits
				}
				if phase == "cold" && visits > 1.3*small {
					t.Errorf("%s of %d: %.2f visits an edge; of 301: %.2f", name, n, visits, small)
				}
				if err := j.Discard(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
