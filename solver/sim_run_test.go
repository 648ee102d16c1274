package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// simRun is one run of a case. Time in it is the bubble's: it passes when
// everybody waits, so that a moment is an order of events and costs nothing.
type simRun struct {
	c     *simCase
	o     *simOracle
	stats *solvertest.Stats
	world *simWorld
	s     *solver.Solver

	// mu guards what follows. Nobody sleeps with it.
	mu       sync.Mutex
	failures []string
	jobs     map[string]*simJobRun // by session ID
	builds   []*simBuildRun
	execs    []*simExec
	loads    map[string][]time.Time // by value
	running  int                    // weight of the ops that run
	tried    map[int]bool           // ops that have failed once
	closing  bool
	closed   time.Time
	ignored  map[int]int // in how many jobs a vertex ignored caches
	kept     []solver.CachedResult
	streams  []simStream
	lost     simLosses
}

type simJobRun struct {
	spec       *simJob
	job        *solver.Job
	from       time.Time
	discarding time.Time // zero before
	discarded  bool      // Discard has returned
	nodes      []*solvertest.Node
	failed     bool
}

type simBuildRun struct {
	j       *simJobRun
	spec    *simBuild
	below   map[int]bool
	runs    map[int]bool // what may be run for it
	began   time.Time
	ended   time.Time // zero while it is under way
	err     error
	cancels time.Time
}

// simExec is one call of Exec.
type simExec struct {
	vertex     int
	s          *solver.Solver
	ctx        context.Context
	start, end time.Time
	ok         bool
	slotless   bool
}

// runCase runs a case and returns what was wrong.
func runCase(t *testing.T, c *simCase) (failures []string) {
	r := &simRun{c: c, o: newSimOracle(c), stats: &solvertest.Stats{}, jobs: map[string]*simJobRun{}, loads: map[string][]time.Time{}, tried: map[int]bool{}, ignored: map[int]int{},
		lost: newSimLosses()}
	defer func() {
		if p := recover(); p != nil {
			r.failf("not everything ends: %v", p)
		}
		failures = r.failures
	}()
	synctest.Test(t, func(*testing.T) { r.run() })
	return
}

func (r *simRun) failf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < 10 {
		r.failures = append(r.failures, fmt.Sprintf(format, args...))
	}
}

func (r *simRun) run() {
	r.world = newSimWorld(r.c, r.stats)
	r.world.loaded = func(value string) {
		r.mu.Lock()
		r.loads[value] = append(r.loads[value], time.Now())
		r.mu.Unlock()
	}
	r.world.refuses = r.savedGone
	for i := range r.c.rounds {
		if !r.round(i) {
			return
		}
	}
	r.close()
	synctest.Wait() // for what ops have left behind
	for _, res := range r.kept {
		if err := res.Release(context.Background()); err != nil {
			r.failf("releasing a kept result: %v", err)
		}
	}
	r.checkReleased()
	r.checkExecs()
	r.checkWarm()
}

func (r *simRun) newSolver() {
	r.close()
	r.s = solver.NewSolver(solver.SolverOpt{ResolveOpFunc: r.resolve, DefaultCache: r.world.caches[0].manager, Parallelism: r.c.parallel})
	r.closing = false
}

// close closes the solver and checks that nothing is left of it.
func (r *simRun) close() {
	if r.s == nil {
		return
	}
	r.s.Close()
	if st := r.s.Stats(); st.Jobs != 0 || st.Vertices != 0 || st.Edges != 0 {
		r.failf("left after Close: %+v", st)
	}
	if r.running != 0 {
		r.failf("ops run after Close")
	}
	r.s = nil
}

func (r *simRun) checkReleased() {
	if n := r.stats.Live.Load(); n != 0 {
		r.failf("%d results were not released", n)
	}
	for _, f := range r.stats.Faults() {
		r.failf("%s", f)
	}
}

// round runs the jobs of a round, and reports whether all of them have ended.
func (r *simRun) round(i int) bool {
	round := &r.c.rounds[i]
	if r.s == nil || round.fresh || r.closing {
		r.newSolver()
	}
	var wg sync.WaitGroup
	for k := range round.jobs {
		wg.Go(func() { r.job(fmt.Sprintf("job %d.%d", i, k), &round.jobs[k]) })
	}
	if round.closeAt > 0 {
		s := r.s
		wg.Go(func() {
			time.Sleep(round.closeAt)
			r.mu.Lock()
			r.closing, r.closed = true, time.Now()
			r.mu.Unlock()
			s.Close()
		})
	}
	done := make(chan struct{})
	if r.c.faults&pruned != 0 {
		go r.world.prune(done)
	}
	defer close(done)
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
		for _, stream := range r.streams {
			r.checkOutcomes(stream)
		}
		r.streams = nil
		if st := r.s.Stats(); st.Jobs != 0 || st.Vertices != 0 || st.Edges != 0 {
			r.failf("round %d: left after all jobs were discarded: %+v", i, st)
		}
		return true
	case <-time.After(time.Hour):
		r.stuck(i)
		return false
	}
}

// stuck tells who still waits.
func (r *simRun) stuck(round int) {
	var b strings.Builder
	r.mu.Lock()
	for _, bu := range r.builds {
		if bu.ended.IsZero() {
			fmt.Fprintf(&b, "\n  build of %s in %s\n%s", r.c.edge(bu.spec.simEdge), bu.j.job.SessionID, traceText(bu.j.job))
		}
	}
	r.mu.Unlock()
	r.failf("round %d does not end:%s", round, b.String())
}

// job is one caller, from NewJob to Discard.
func (r *simRun) job(id string, spec *simJob) {
	time.Sleep(spec.at)
	s := r.s
	job, err := s.NewJob(id)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.closing {
			r.failures = append(r.failures, fmt.Sprintf("NewJob: %v", err))
		}
		return
	}
	j := &simJobRun{spec: spec, job: job, from: time.Now()}
	job.SessionID, job.Priority = id, spec.priority
	j.nodes = r.nodes(j)
	r.mu.Lock()
	r.jobs[id] = j
	for _, v := range spec.ignore {
		r.ignored[v]++
	}
	r.mu.Unlock()
	var watchers, builds sync.WaitGroup
	gone, leave := context.WithCancel(context.Background())
	defer leave()
	for i := range spec.watchers {
		watchers.Go(func() { r.watch(gone, j, &spec.watchers[i]) })
	}
	for i := range spec.builds {
		builds.Go(func() { r.build(j, &spec.builds[i]) })
	}
	if spec.traceAt > 0 {
		watchers.Go(func() {
			time.Sleep(spec.traceAt)
			for _, tr := range job.Trace() {
				if tr.Vertex == "" || len(tr.Inputs) > 0 && len(tr.Keys) == 0 && tr.Output < 0 {
					r.failf("%s: trace of nothing: %+v", id, tr)
				}
			}
		})
	}
	if spec.discardAt > 0 {
		time.Sleep(spec.discardAt)
		r.discard(j)
	}
	builds.Wait()
	r.discard(j)
	leave() // subscribers that stall
	watchers.Wait()
}

func (r *simRun) discard(j *simJobRun) {
	r.mu.Lock()
	if j.discarding.IsZero() {
		j.discarding = time.Now()
	}
	r.mu.Unlock()
	if err := j.job.Discard(); err != nil {
		r.failf("%s: Discard: %v", j.job.SessionID, err)
	}
	r.mu.Lock()
	j.discarded = true
	r.mu.Unlock()
}

// errCancelled is the cause with which builds are cancelled.
var errCancelled = errors.New("cancelled by the simulation")

// build builds one edge and checks what comes of it.
func (r *simRun) build(j *simJobRun, spec *simBuild) {
	time.Sleep(spec.at)
	b := &simBuildRun{j: j, spec: spec, below: r.o.below(spec.vertex), runs: r.o.mayRun(spec.vertex), began: time.Now()}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if spec.cancelAt > 0 {
		b.cancels = time.Now().Add(spec.cancelAt)
		stop := time.AfterFunc(spec.cancelAt, func() { cancel(errCancelled) })
		defer stop.Stop()
	}
	r.mu.Lock()
	r.builds = append(r.builds, b)
	r.mu.Unlock()
	res, err := j.job.Build(ctx, j.nodes[spec.vertex].Edge(spec.output))
	r.mu.Lock()
	b.ended, b.err = time.Now(), err
	r.mu.Unlock()
	what := fmt.Sprintf("%s: build of %s", j.job.SessionID, r.c.edge(spec.simEdge))
	if err != nil {
		r.checkError(b, what, err)
		return
	}
	if want := r.o.value(spec.simEdge); solvertest.Value(res) != want {
		r.failf("%s: %s in place of %s", what, solvertest.Value(res), want)
	}
	if len(res.CacheKeys()) == 0 {
		r.failf("%s: a result without keys", what)
	}
	if r.o.mustFail(spec.simEdge) {
		r.failf("%s: succeeds, and cannot", what)
	}
	if spec.export {
		r.export(what, res)
	}
	if j.spec.keep {
		r.mu.Lock()
		r.kept = append(r.kept, res)
		r.mu.Unlock()
	} else if err := res.Release(context.Background()); err != nil {
		r.failf("%s: Release: %v", what, err)
	}
}
