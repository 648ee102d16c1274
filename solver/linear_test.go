package solver_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// cpu is how much processor time the process has used.
func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// linearly checks that fn of twice as much takes about twice the processor time. Others on
// the machine may disturb it, so it has several tries.
func linearly(t *testing.T, n int, fn func(t *testing.T, n int)) {
	t.Helper()
	n = scaled(n)
	timed := func(n int) time.Duration {
		runtime.GC()
		begin := cpu(t)
		fn(t, n)
		return cpu(t) - begin
	}
	timed(n / 4)
	var ratios []float64
	for range 5 {
		small, large := timed(n), timed(2*n)
		ratio := float64(large) / float64(small)
		t.Logf("%d: %v, %d: %v", n, small, 2*n, large)
		if ratio < 3.5 || large < 50*time.Millisecond {
			return
		}
		ratios = append(ratios, ratio)
	}
	t.Errorf("twice as much takes %.1f times the time", ratios)
}

// buildScale builds the top of a graph in a job of its own.
func buildScale(t *testing.T, s *solver.Solver, e solver.Edge) (*solver.Job, solver.CachedResult) {
	t.Helper()
	j, err := s.NewJob(fmt.Sprint(scaleJobs.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	res, err := j.Build(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return j, res
}

var scaleJobs atomic.Int64

// fault 4: many vertices wait for one run, or one load.
func TestLinearWaiters(t *testing.T) {
	for _, loaded := range []bool{false, true} {
		t.Run(fmt.Sprint("loaded ", loaded), func(t *testing.T) {
			linearly(t, 40_000, func(t *testing.T, n int) {
				g := newScaleGraph("waiters", n+1, fanInInputs(n+1))
				g.key = func(i int) string {
					if i == n {
						return "top"
					}
					return "leaf"
				}
				s := newScaleSolver(t)
				if loaded {
					j, res := buildScale(t, s, g.edge(0))
					_ = res.Release(t.Context())
					_ = j.Discard()
				}
				j, res := buildScale(t, s, g.top())
				_ = res.Release(t.Context())
				if err := j.Discard(); err != nil {
					t.Error(err)
				}
				if execs := g.execs.Load(); execs != 2 {
					t.Errorf("%d ops were run, not 2", execs)
				}
				s.Close()
			})
		})
	}
}

// scaleBuilder is an op that builds edges of another graph.
type scaleBuilder struct {
	*scaleVertex
	b      solver.Builder
	builds []solver.Edge
}

func (o *scaleBuilder) Exec(ctx context.Context, _ []solver.Result) ([]solver.Result, error) {
	for _, e := range o.builds {
		r, err := o.b.Build(ctx, e)
		if err != nil {
			return nil, err
		}
		_ = r.Release(ctx)
	}
	return []solver.Result{scaleResult(o.Name())}, nil
}

// subBuilding returns a solver in which vertex 0 of the graph "outer" builds edges.
func subBuilding(t *testing.T, builds []solver.Edge) (*solver.Solver, *scaleGraph) {
	outer := newScaleGraph("outer", 1, chainInputs)
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, b solver.Builder) (solver.Op, error) {
		op := v.(*scaleVertex)
		if op.g == outer {
			return &scaleBuilder{scaleVertex: op, b: b, builds: builds}, nil
		}
		return op, nil
	}})
	t.Cleanup(s.Close)
	return s, outer
}

// fault 4: sub-builds over one large base that is not solved yet: their number is doubled,
// the base is not. Each reads the graph below it, which takes as long as that is large.
func TestLinearSubBuilds(t *testing.T) {
	linearly(t, 200, func(t *testing.T, n int) {
		base := newScaleGraph("base", 1000, chainInputs)
		above := newScaleGraph("above", n, func(int) []int { return nil })
		tops := make([]solver.Edge, n)
		for i := range tops {
			tops[i] = solver.Edge{Vertex: &aboveVertex{scaleVertex{above, i}, base.top()}}
		}
		outer := newScaleGraph("outer", 1, chainInputs)
		s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, b solver.Builder) (solver.Op, error) {
			switch op := v.(type) {
			case *aboveVertex:
				return op, nil
			case *scaleVertex:
				if op.g == outer {
					return &scaleBuilder{scaleVertex: op, b: b, builds: tops}, nil
				}
				return op, nil
			}
			return nil, errBroken
		}})
		j, res := buildScale(t, s, outer.top())
		_ = res.Release(t.Context())
		_ = j.Discard()
		s.Close()
	})
}

// aboveVertex stands on an edge of another graph.
type aboveVertex struct {
	scaleVertex
	in solver.Edge
}

func (v *aboveVertex) Inputs() []solver.Edge { return []solver.Edge{v.in} }
func (v *aboveVertex) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return withDeps(v.Name(), nil), true, nil
}

// withDeps is a cache map of one input.
func withDeps(key string, content solver.ResultBasedCacheFunc) *solver.CacheMap {
	return &solver.CacheMap{Digest: digest.FromString(key), Deps: []solver.CacheMapDep{{ComputeDigestFunc: content}}}
}

// fault 4: export of n sub-builds over a chain of n.
func TestLinearExportOfSubBuilds(t *testing.T) {
	solvers := map[int]solver.CachedResult{}
	result := func(n int) solver.CachedResult {
		if solvers[n] == nil {
			base := newScaleGraph("base", n, chainInputs)
			var tops []solver.Edge
			for i := range n {
				tops = append(tops, base.edge(i))
			}
			s, outer := subBuilding(t, tops)
			_, solvers[n] = buildScale(t, s, outer.top())
		}
		return solvers[n]
	}
	for _, n := range []int{scaled(600), 2 * scaled(600), scaled(600) / 4} {
		result(n)
	}
	linearly(t, 600, func(t *testing.T, n int) {
		for range 20 {
			target := &scaleTarget{visited: map[any]bool{}}
			for _, k := range result(n).CacheKeys() {
				_, err := k.Exporter.ExportTo(t.Context(), target, solver.CacheExportOpt{
					Mode:    solver.CacheExportModeMax,
					Convert: func(context.Context, solver.Result) (*solver.Remote, error) { return &solver.Remote{}, nil },
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if target.records != n+1 {
				t.Errorf("%d records, not %d", target.records, n+1)
			}
		}
	})
	for _, r := range solvers {
		_ = r.Release(t.Context())
	}
}

// contentVertex is a vertex whose input has the content key of all others.
type contentVertex struct {
	scaleVertex
	in solver.Edge
}

func (v *contentVertex) Inputs() []solver.Edge { return []solver.Edge{v.in} }
func (v *contentVertex) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return withDeps("by content", func(context.Context, solver.Result) (digest.Digest, error) {
		return digest.FromString("equal content"), nil
	}), true, nil
}

// fault 4: n keys are found by one content key: of n vertices that have run in builds of
// their own, and of one more.
func TestLinearKeysOfOneContent(t *testing.T) {
	linearly(t, 2000, func(t *testing.T, n int) {
		leaves := newScaleGraph("leaf", n+1, func(int) []int { return nil })
		above := newScaleGraph("n", n+1, nil)
		s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) { return v.(solver.Op), nil }})
		for i := range n + 1 {
			j, res := buildScale(t, s, solver.Edge{Vertex: &contentVertex{scaleVertex{above, i}, leaves.edge(i)}})
			_ = res.Release(t.Context())
			_ = j.Discard()
		}
		if execs := above.execs.Load(); execs != 1 {
			t.Errorf("%d ops were run, not 1", execs)
		}
		s.Close()
	})
}
