package measure

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
)

// together times several jobs of one solver that build at the same time, each a
// definition of its own, as clients have.
func (t *trial) together(ctx context.Context, phase Phase, graphs []*graph.Graph, want calls) error {
	defs := make([]bench.Definition, len(graphs))
	for i, g := range graphs {
		defs[i] = t.subject.Define(g, false, &t.counts)
	}
	settle()
	var sv bench.Solver
	var jobs []bench.Job
	err := t.labelled(ctx, phase, func(ctx context.Context) (err error) {
		if sv, err = t.subject.NewSolver(t.store); err != nil {
			return err
		}
		for i := range graphs {
			job, err := sv.NewJob(fmt.Sprint("bench-", i))
			if err != nil {
				return err
			}
			jobs = append(jobs, job)
		}
		elapsed, err := buildAll(ctx, jobs, defs)
		t.add(Time, phase, perUnit(elapsed, len(graphs)*t.c.N))
		return err
	})
	if err != nil {
		return err
	}
	defer sv.Close()
	t.check(phase, want, t.counts.Load())
	for _, job := range jobs {
		if err := errors.Join(job.Release(ctx), job.Discard()); err != nil {
			return err
		}
	}
	return nil
}

// buildAll starts all jobs at once and waits for the last.
func buildAll(ctx context.Context, jobs []bench.Job, defs []bench.Definition) (time.Duration, error) {
	gate := make(chan struct{})
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() {
			<-gate
			errs[i] = jobs[i].Build(ctx, defs[i])
		})
	}
	start := time.Now()
	close(gate)
	wg.Wait()
	return time.Since(start), errors.Join(errs...)
}

func (t *trial) same(ctx context.Context) error {
	graphs := make([]*graph.Graph, Jobs)
	for i := range graphs {
		graphs[i] = t.g
	}
	n := t.g.Len()
	if t.subject.Name() == floorName {
		// It forgets what a job asked as soon as the job ends.
		return t.together(ctx, Same, graphs, calls{exec: n, cacheMap: n * Jobs})
	}
	return t.together(ctx, Same, graphs, calls{exec: n, cacheMap: n})
}

func (t *trial) disjoint(ctx context.Context) error {
	graphs := make([]*graph.Graph, Jobs)
	for i := range graphs {
		g, err := graph.New(t.c.Shape, t.c.N, seed+uint64(i))
		if err != nil {
			return err
		}
		graphs[i] = g
	}
	n := t.g.Len() * Jobs
	return t.together(ctx, Disjoint, graphs, calls{exec: n, cacheMap: n})
}

func (t *trial) equal(ctx context.Context) error {
	graphs := []*graph.Graph{t.g, t.g.Salted("another job")}
	return t.together(ctx, Equal, graphs, calls{exec: t.g.Len(), cacheMap: 2 * t.g.Len()})
}

// beside times the Discard of a job while a larger one stays.
func (t *trial) beside(ctx context.Context) error {
	large, err := graph.New(t.c.Shape, t.c.N*besideFactor, seed+1)
	if err != nil {
		return err
	}
	r, err := t.start("large")
	if err != nil {
		return err
	}
	defer r.solver.Close()
	if err := r.job.Build(ctx, t.subject.Define(large, false, &t.counts)); err != nil {
		return err
	}
	small, err := r.solver.NewJob("small")
	if err != nil {
		return err
	}
	if err := small.Build(ctx, t.subject.Define(t.g, false, &t.counts)); err != nil {
		return err
	}
	if err := small.Release(ctx); err != nil {
		return err
	}
	settle()
	err = t.labelled(ctx, Beside, func(context.Context) error {
		start := time.Now()
		err := small.Discard()
		t.add(Time, Beside, perUnit(time.Since(start), t.c.N))
		return err
	})
	return errors.Join(err, r.job.Release(ctx), r.job.Discard())
}
