package solver_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// world is a cache and the counters of what was called.
type world struct {
	t       testing.TB
	stats   *solvertest.Stats
	results *solvertest.Results
	storage solver.CacheKeyStorage
	cache   solver.CacheManager
	jobs    atomic.Int64
	// bubble: the world is in a bubble, which has all goroutines but those of the runtime.
	bubble bool
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, stats: &solvertest.Stats{}}
	w.results = &solvertest.Results{Stats: w.stats}
	w.storage = solver.NewInMemoryCacheStorage()
	w.cache = solver.NewCacheManager("local", w.storage, w.results)
	return w
}

// bubble runs a test in a bubble, in which time passes when all are waiting.
func bubble(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bubble = true
		fn(w)
	})
}

// solver returns a solver on the world's cache. When the test ends, nothing may
// be left of it.
func (w *world) solver(opts ...func(*solver.SolverOpt)) *solver.Solver {
	opt := solver.SolverOpt{ResolveOpFunc: solvertest.Resolve, DefaultCache: w.cache}
	for _, o := range opts {
		o(&opt)
	}
	s := solver.NewSolver(opt)
	w.t.Cleanup(func() { w.close(s) })
	return s
}

// slots sets the parallelism of a solver.
func slots(n int) func(*solver.SolverOpt) {
	return func(o *solver.SolverOpt) { o.Parallelism = n }
}

// close closes a solver and checks that nothing is left.
func (w *world) close(s *solver.Solver) {
	w.t.Helper()
	s.Close()
	if st := s.Stats(); st.Vertices != 0 || st.Edges != 0 || st.Jobs != 0 {
		w.t.Errorf("left after close: %+v", st)
	}
	w.released()
}

// released checks that every result was released once.
func (w *world) released() {
	w.t.Helper()
	if n := w.stats.Live.Load(); n != 0 {
		w.t.Errorf("%d results were not released", n)
	}
	for _, f := range w.stats.Faults() {
		w.t.Error(f)
	}
}

// idle checks that a solver holds nothing, and that it still solves. It is for use
// in a bubble: who gives a result back may be a moment behind.
func (w *world) idle(s *solver.Solver) {
	w.t.Helper()
	bubbleWait()
	if st := s.Stats(); st.Vertices != 0 || st.Edges != 0 || st.Jobs != 0 {
		w.t.Errorf("not idle: %+v", st)
	}
	w.released()
	id := fmt.Sprint("another-", w.jobs.Add(1))
	if got := w.build(s, w.node(id, w.node(id+"-input")).Edge(0)); got != id+"("+id+"-input())" {
		w.t.Errorf("another build gave %q", got)
	}
}

// build builds an edge in a job of its own and returns the value.
func (w *world) build(s *solver.Solver, e solver.Edge) string {
	w.t.Helper()
	j := w.job(s)
	defer j.Discard()
	return w.buildIn(j, e)
}

// fails builds an edge in a job of its own and returns the error.
func (w *world) fails(s *solver.Solver, e solver.Edge) error {
	w.t.Helper()
	j := w.job(s)
	defer j.Discard()
	r, err := j.Build(context.Background(), e)
	if err == nil {
		w.t.Errorf("no error, but %q", solvertest.Value(r))
		r.Release(context.Background())
		return errors.New("none")
	}
	return err
}

func (w *world) job(s *solver.Solver) *solver.Job {
	w.t.Helper()
	j, err := s.NewJob(fmt.Sprint("job-", w.jobs.Add(1)))
	if err != nil {
		w.t.Fatal(err)
	}
	if w.bubble {
		// What the solver does when the collector finds that nobody has the job any more
		// it does outside of the bubble, which may seem to hang meanwhile.
		w.t.Cleanup(func() { runtime.KeepAlive(j) })
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

// building is a Build under way.
type building struct {
	w      *world
	job    *solver.Job
	cancel context.CancelFunc
	done   chan struct{}
	value  string
	err    error
}

// start builds an edge in a goroutine.
func (w *world) start(j *solver.Job, e solver.Edge) *building {
	ctx, cancel := context.WithCancel(context.Background())
	b := &building{w: w, job: j, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		defer cancel()
		r, err := j.Build(ctx, e)
		if b.err = err; err == nil {
			b.value = solvertest.Value(r)
			r.Release(context.Background())
		}
	}()
	return b
}

// wait waits for the build, and checks that it gave a value.
func (b *building) wait(value string) {
	b.w.t.Helper()
	<-b.done
	if b.err != nil {
		b.w.t.Error(b.err)
	} else if b.value != value {
		b.w.t.Errorf("built %q, not %q", b.value, value)
	}
}

// canceled cancels the build and checks that it returns at once.
func (b *building) canceled() {
	b.w.t.Helper()
	b.cancel()
	<-b.done
	if !errors.Is(b.err, context.Canceled) {
		b.w.t.Errorf("canceled, it returned %v (%q)", b.err, b.value)
	}
}

func (w *world) node(id string, in ...*solvertest.Node) *solvertest.Node {
	n := &solvertest.Node{ID: id, Stats: w.stats}
	for _, i := range in {
		n.In = append(n.In, solvertest.Input{Node: i})
	}
	return n
}

// executed checks how often the ops of some nodes were run in all.
func (w *world) executed(want map[string]int) {
	w.t.Helper()
	for id, n := range want {
		if got := w.stats.Executed(id); got != n {
			w.t.Errorf("%s was run %d times, not %d", id, got, n)
		}
	}
}

// counts are numbers of calls.
type counts struct{ maps, execs, loads, digests int }

// during returns how many calls fn leads to.
func (w *world) during(fn func()) counts {
	now := func() counts {
		return counts{int(w.stats.CacheMaps.Load()), int(w.stats.Execs.Load()), w.results.Loads(), int(w.stats.Digests.Load())}
	}
	before := now()
	fn()
	after := now()
	return counts{after.maps - before.maps, after.execs - before.execs, after.loads - before.loads, after.digests - before.digests}
}

// costs checks how many calls fn leads to.
func (w *world) costs(what string, want counts, fn func()) {
	w.t.Helper()
	if got := w.during(fn); got != want {
		w.t.Errorf("%s: %+v, not %+v", what, got, want)
	}
}

// gate holds up whoever passes until it is opened.
type gate struct {
	// reached is closed when the first one has come.
	reached chan struct{}
	once    sync.Once
	opened  chan struct{}
}

func newGate() *gate {
	return &gate{reached: make(chan struct{}), opened: make(chan struct{})}
}

func (g *gate) open() { close(g.opened) }

// pass waits for the gate, or for the end of ctx.
func (g *gate) pass(ctx context.Context) error {
	g.once.Do(func() { close(g.reached) })
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stuck waits for the gate whatever happens to ctx.
func (g *gate) stuck(context.Context) error {
	g.once.Do(func() { close(g.reached) })
	<-g.opened
	return nil
}

// exec makes a gate a Node.OnExec.
func (g *gate) exec(ctx context.Context, _ []solver.Result) error { return g.pass(ctx) }

// clock tells a later time at each call.
type clock struct{ n atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1_000_000+c.n.Add(1), 0) }

// bubbleWait waits until all that can happen in the bubble has happened.
func bubbleWait() { synctest.Wait() }
