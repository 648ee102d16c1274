package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
)

// seed is that of every graph.
const seed = 1

// sample is one figure of one trial.
type sample struct {
	metric Metric
	phase  Phase
	value  float64
}

// trial is one solver on one case, once.
type trial struct {
	subject bench.Subject
	c       Case
	g       *graph.Graph

	counts  bench.Counts
	store   bench.Store
	dir     string
	samples []sample
	// wrong lists what was run and should not have been, or was not and should.
	wrong []string
}

// run performs the trial.
func (t *trial) run(ctx context.Context) (err error) {
	if t.c.Storage == Bolt {
		if t.dir, err = os.MkdirTemp("", "bench-solver-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(t.dir)) }()
	}
	if t.store, err = t.subject.NewStore(t.dir); err != nil {
		return err
	}
	if err := t.store.Open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.store.Close()) }()
	switch t.c.Kind {
	case Plain:
		return t.plain(ctx)
	case WithContent:
		return t.content(ctx)
	case Watched:
		return t.solve(ctx, Status, t.g, calls{exec: t.g.Len(), cacheMap: t.g.Len()})
	case Export:
		return t.export(ctx)
	case SameJobs:
		return t.same(ctx)
	case DisjointJob:
		return t.disjoint(ctx)
	case EqualKeys:
		return t.equal(ctx)
	case DiscardJob:
		return t.beside(ctx)
	}
	return fmt.Errorf("no such kind of trial: %s", t.c.Kind)
}

func (t *trial) plain(ctx context.Context) error {
	n := t.g.Len()
	if err := t.solve(ctx, Cold, t.g, calls{exec: n, cacheMap: n}); err != nil {
		return err
	}
	if t.c.wants(Warm) {
		if err := t.solve(ctx, Warm, t.g, calls{exec: 0, cacheMap: n}); err != nil {
			return err
		}
	}
	if t.c.wants(Leaf) {
		changed := t.g.Change()
		if err := t.solve(ctx, Leaf, changed, calls{exec: t.g.Above(t.g.Leaf()), cacheMap: n}); err != nil {
			return err
		}
	}
	if !t.c.wants(Reopen) {
		return nil
	}
	if err := t.store.Close(); err != nil {
		return err
	}
	size, err := sizeOf(t.dir)
	if err != nil {
		return err
	}
	t.add(Disk, Cold, float64(size)/float64(n))
	start := time.Now()
	if err := t.store.Open(); err != nil {
		return err
	}
	t.add(ReopenTime, Reopen, perUnit(time.Since(start), n))
	return t.solve(ctx, WarmReopened, t.g, calls{exec: 0, cacheMap: n})
}

func (t *trial) content(ctx context.Context) error {
	n := t.g.Len()
	if err := t.solve(ctx, Content, t.g, calls{exec: n, cacheMap: n}); err != nil {
		return err
	}
	if !t.c.wants(ContentLeaf) {
		return nil
	}
	return t.solve(ctx, ContentLeaf, t.g.Change(), calls{exec: 1, cacheMap: n})
}

// running is a solver with one job.
type running struct {
	solver bench.Solver
	job    bench.Job
}

func (t *trial) start(name string) (running, error) {
	sv, err := t.subject.NewSolver(t.store)
	if err != nil {
		return running{}, err
	}
	job, err := sv.NewJob(name)
	return running{sv, job}, err
}

// solve times one Build by a new solver, and the Discard of a cold one.
func (t *trial) solve(ctx context.Context, phase Phase, g *graph.Graph, want calls) error {
	content := t.c.Kind == WithContent
	def := t.subject.Define(g, content, &t.counts)
	before := t.counts.Load()
	settle()
	var r running
	var elapsed time.Duration
	err := t.labelled(ctx, phase, func(ctx context.Context) (err error) {
		if r, err = t.start("bench"); err != nil {
			return err
		}
		var stop func() int
		if phase == Status {
			stop = r.job.Watch(ctx)
		}
		allocated := totalAlloc()
		start := time.Now()
		err = r.job.Build(ctx, def)
		elapsed = time.Since(start)
		t.add(Alloc, phase, float64(totalAlloc()-allocated)/float64(g.Len()))
		if stop != nil {
			stop()
		}
		return err
	})
	if err != nil {
		return err
	}
	t.add(Time, phase, perUnit(elapsed, g.Len()))
	t.check(phase, want, t.counts.Load().Sub(before))
	if visits, ok := r.solver.Visits(); ok {
		t.add(Visits, phase, float64(visits)/float64(g.Len()))
	}
	if phase == Cold && t.c.wants(Flush) {
		start := time.Now()
		if err := t.store.Sync(); err != nil {
			return err
		}
		t.add(Time, Flush, perUnit(time.Since(start), g.Len()))
	}
	return t.discard(ctx, phase, r, g.Len())
}

// discard ends the one job of a solver and the solver.
func (t *trial) discard(ctx context.Context, phase Phase, r running, n int) error {
	defer r.solver.Close()
	if err := r.job.Release(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := r.job.Discard(); err != nil {
		return err
	}
	if phase == Cold && t.c.wants(Discard) {
		t.add(Time, Discard, perUnit(time.Since(start), n))
	}
	return nil
}

func (t *trial) export(ctx context.Context) error {
	def := t.subject.Define(t.g, false, &t.counts)
	r, err := t.start("bench")
	if err != nil {
		return err
	}
	if err := r.job.Build(ctx, def); err != nil {
		return err
	}
	modes := map[Phase]bench.ExportMode{ExportMax: bench.ExportMax, ExportMin: bench.ExportMin}
	for _, phase := range phasesOf[Export] {
		if !t.c.wants(phase) {
			continue
		}
		settle()
		err := t.labelled(ctx, phase, func(ctx context.Context) error {
			start := time.Now()
			records, err := r.job.Export(ctx, modes[phase])
			t.add(Time, phase, perUnit(time.Since(start), t.g.Len()))
			if err == nil && records == 0 {
				err = errors.New("nothing was exported")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return t.discard(ctx, "", r, t.g.Len())
}

// labelled runs what is timed under labels that a profile shows, so that what
// is measured can be told from the work around it.
func (t *trial) labelled(ctx context.Context, phase Phase, fn func(context.Context) error) (err error) {
	labels := pprof.Labels("measured", string(phase), "solver", t.subject.Name(), "n", strconv.Itoa(t.c.N))
	pprof.Do(ctx, labels, func(ctx context.Context) { err = fn(ctx) })
	return err
}

func (t *trial) add(m Metric, p Phase, value float64) {
	t.samples = append(t.samples, sample{m, p, value})
}

// calls is what a Build should have asked of the operations.
type calls struct{ exec, cacheMap int }

// check compares what was run with what should have been. A solver that calls
// CacheMap less often than once a vertex found a way not to need it.
func (t *trial) check(phase Phase, want calls, got bench.Calls) {
	if int(got.Exec) != want.exec || int(got.CacheMap) > want.cacheMap {
		t.wrong = append(t.wrong, fmt.Sprintf("%s %s %s: %d Exec and %d CacheMap, want %d and at most %d",
			t.subject.Name(), t.c, phase, got.Exec, got.CacheMap, want.exec, want.cacheMap))
	}
}

// settle collects all garbage and returns what stays, in bytes.
func settle() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func perUnit(d time.Duration, units int) float64 {
	return float64(d.Nanoseconds()) / float64(units)
}

// sizeOf is what the files of a folder take.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
