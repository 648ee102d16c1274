package solver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// stress is many builders at once, over graphs that overlap.
type stress struct {
	t       *testing.T
	c       *simCase
	o       *simOracle
	stats   *solvertest.Stats
	results *solvertest.Results
	s       *solver.Solver

	built, failed, cancelled atomic.Int64
}

const (
	stressBuilders = 64
	stressBuilds   = 60 // for each
	stressGraph    = 48 // vertices
	stressEra      = 4  // builds; after so many a builder turns to a new graph
)

// TestStress is meant for the race detector: 64 builders, with cancellations,
// ignored caches, failing ops, pruned results and jobs that are discarded in the
// middle. When they are through, nothing is left.
func TestStress(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runStress(t, seed) })
	}
}

func runStress(t *testing.T, seed uint64) {
	g := &simGen{Rand: rand.New(rand.NewPCG(seed, 64)), c: &simCase{seed: seed, parallel: 16}}
	for range stressGraph {
		g.vertex(g.chance(30))
	}
	r := &stress{t: t, c: g.c, o: newSimOracle(g.c), stats: &solvertest.Stats{}}
	r.results = &solvertest.Results{Stats: r.stats}
	r.s = solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: solvertest.Resolve,
		DefaultCache:  solver.NewCacheManager("stress", nil, r.results),
		Parallelism:   g.c.parallel,
	})
	var builders sync.WaitGroup
	for b := range stressBuilders {
		builders.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(b)))
			for i := range stressBuilds {
				r.job(fmt.Sprintf("%d.%d", b, i), i/stressEra, rng)
			}
		})
	}
	stop, pruner := make(chan struct{}), sync.WaitGroup{}
	pruner.Go(func() { r.prune(stop) })
	builders.Wait()
	close(stop)
	pruner.Wait()
	if st := r.s.Stats(); st.Jobs != 0 || st.Vertices != 0 || st.Edges != 0 {
		t.Errorf("left after the last job: %+v", st)
	}
	r.s.Close()
	if left := solverGoroutines(); left != "" {
		t.Errorf("goroutines are left:\n%s", left)
	}
	if n := r.stats.Live.Load(); n != 0 {
		t.Errorf("%d results were not released", n)
	}
	for _, f := range r.stats.Faults() {
		t.Error(f)
	}
	t.Logf("%d built, %d failed, %d cancelled or discarded; %+v", r.built.Load(), r.failed.Load(), r.cancelled.Load(), r.s.Stats())
}

// prune takes results away while builds run.
func (r *stress) prune(stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(r.c.seed, 1<<32))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		for _, id := range r.results.IDs() {
			if rng.IntN(3) == 0 {
				r.results.Prune(id)
			}
		}
	}
}

// job is one job of a builder: one or two builds at once.
func (r *stress) job(id string, era int, rng *rand.Rand) {
	j, err := r.s.NewJob(id)
	if err != nil {
		r.t.Error(err)
		return
	}
	j.SessionID, j.Priority = id, rng.IntN(3)
	nodes := r.nodes(era, rng)
	var discarded atomic.Bool
	var builds sync.WaitGroup
	for range 1 + rng.IntN(2) {
		e := simEdge{vertex: len(r.c.vertices) - 1 - rng.IntN(len(r.c.vertices)*2/3)}
		e.output = rng.IntN(r.c.vertices[e.vertex].outputs)
		patience := time.Hour
		if rng.IntN(4) == 0 {
			patience = time.Duration(rng.IntN(int(4 * time.Millisecond)))
		}
		builds.Go(func() { r.build(j, nodes, e, patience, &discarded) })
	}
	if rng.IntN(5) == 0 {
		time.Sleep(time.Duration(rng.IntN(int(2 * time.Millisecond))))
		discarded.Store(true)
		if err := j.Discard(); err != nil {
			r.t.Error(err)
		}
	}
	if rng.IntN(10) == 0 {
		j.Trace()
	}
	builds.Wait()
	if err := j.Discard(); err != nil {
		r.t.Error(err)
	}
}

func (r *stress) build(j *solver.Job, nodes []*solvertest.Node, e simEdge, patience time.Duration, discarded *atomic.Bool) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errCancelled)
	defer cancel()
	res, err := j.Build(ctx, nodes[e.vertex].Edge(e.output))
	switch {
	case err == nil:
		r.built.Add(1)
		if got, want := solvertest.Value(res), r.o.value(e); got != want {
			r.t.Errorf("%s: %s in place of %s", r.c.edge(e), got, want)
		}
		if err := res.Release(context.Background()); err != nil {
			r.t.Error(err)
		}
	case errors.Is(err, errCancelled) && ctx.Err() != nil, discarded.Load():
		r.cancelled.Add(1)
	case r.o.mayFail(e.vertex) && errors.As(err, new(*solver.VertexError)) && !errors.Is(err, context.Canceled):
		r.failed.Add(1)
	default:
		r.t.Errorf("%s: %v", r.c.edge(e), err)
	}
}

// nodes makes the vertices of one job. Those of another era have other keys.
func (r *stress) nodes(era int, rng *rand.Rand) []*solvertest.Node {
	nodes := make([]*solvertest.Node, len(r.c.vertices))
	ignores := rng.IntN(4) == 0
	for i := range nodes {
		v := &r.c.vertices[i]
		key := func(n int) string { return fmt.Sprintf("%s in era %d", r.o.key(i, n), era) }
		n := &solvertest.Node{ID: fmt.Sprintf("%s-%d", v.id, era), Key: key(0), Outputs: v.outputs, Stats: r.stats}
		if len(v.keys) > 1 {
			for k := range v.keys {
				n.Keys = append(n.Keys, key(k))
			}
		}
		n.Opts.IgnoreCache = ignores && rng.IntN(8) == 0
		n.Opts.Weight = v.weight
		for _, in := range v.in {
			n.In = append(n.In, solvertest.Input{Node: nodes[in.vertex], Output: in.output, Selector: in.selector, Content: in.content})
		}
		n.OnCacheMap = func(context.Context, int) error {
			if v.fault == mapFails {
				return errOp
			}
			return nil
		}
		n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
			return r.exec(ctx, b, i, nodes)
		}
		nodes[i] = n
	}
	return nodes
}

func (r *stress) exec(ctx context.Context, b solver.Builder, i int, nodes []*solvertest.Node) ([]solver.Result, error) {
	v := &r.c.vertices[i]
	select {
	case <-time.After(v.delay / 100):
	case <-ctx.Done():
		if !v.deaf {
			return nil, ctx.Err()
		}
	}
	switch v.fault {
	case execFails, execFailsOnce:
		return nil, errOp
	case execPanics:
		panic("the op of " + v.id)
	}
	for _, s := range v.subs {
		res, err := b.Build(ctx, nodes[s.vertex].Edge(s.output))
		if err != nil {
			return nil, err
		}
		if err := res.Release(ctx); err != nil {
			return nil, err
		}
	}
	var out []solver.Result
	for n := range v.outputs {
		if n == v.outputs-1 && v.fault == tooFew {
			break
		}
		out = append(out, solvertest.NewResult(r.o.value(simEdge{i, n}), r.stats))
	}
	return out, nil
}

// solverGoroutines returns the stacks of goroutines that run code of the solver's.
// One that has done its work is given the time to return.
func solverGoroutines() string {
	var left []string
	for range 1000 {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = slices.DeleteFunc(strings.Split(string(stacks), "\n\n"), func(g string) bool {
			return !strings.Contains(g, "tenon/solver.")
		})
		if len(left) == 0 {
			break
		}
		runtime.Gosched()
	}
	return strings.Join(left, "\n\n")
}
