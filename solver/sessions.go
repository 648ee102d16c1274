package solver

import (
	"context"
	"maps"
	"slices"
)

// SessionID returns the session of a job that ctx works for. For an op that
// several jobs share it is one that is alive; each call may find another.
// Without one it returns "".
func SessionID(ctx context.Context) string {
	for _, j := range jobsFor(ctx) {
		if j.SessionID != "" {
			return j.SessionID
		}
	}
	return ""
}

// SessionIDs returns the sessions of all jobs that ctx works for, each once, beginning with
// that of SessionID. Jobs may join and leave while an op runs: another call may find others.
func SessionIDs(ctx context.Context) []string {
	var ids []string
	add := func(id string) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, j := range jobsFor(ctx) {
		add(j.SessionID)
	}
	if callers, ok := ctx.Value(callersKey{}).(func() []context.Context); ok {
		for _, c := range callers() {
			for _, id := range SessionIDs(c) {
				add(id)
			}
		}
	}
	return ids
}

// WithCallers returns a context for work that several callers have joined, each with a
// context of its own: SessionIDs finds the sessions of all of them. Callers is called for
// each look, and returns those who wait then.
func WithCallers(ctx context.Context, callers func() []context.Context) context.Context {
	return context.WithValue(ctx, callersKey{}, callers)
}

type callersKey struct{}

// jobsFor are the jobs that ctx works for.
func jobsFor(ctx context.Context) []*Job {
	if t := taskOf(ctx); t != nil {
		s := t.s
		s.lock()
		defer s.unlock()
		return s.jobsOf(t)
	}
	if b, ok := ctx.Value(builderKey{}).(*builder); ok {
		b.s.lock()
		defer b.s.unlock()
		return b.jobs(nil)
	}
	if j, ok := ctx.Value(jobKey{}).(*Job); ok {
		return []*Job{j}
	}
	return nil
}

// jobsOf are the jobs a call is made for.
func (s *Solver) jobsOf(t *task) []*Job {
	if t.taken {
		return nil
	}
	return s.jobsHolding(func(yield func(*vertex)) {
		yield(t.v)
		t.work().vertices(yield)
	})
}

// jobsHolding are the jobs that hold any of some vertices, in the order of their
// numbers.
func (s *Solver) jobsHolding(each func(func(*vertex))) []*Job {
	seen := map[int]struct{}{}
	each(func(v *vertex) {
		for job := range s.g.Jobs(v.id) {
			seen[job] = struct{}{}
		}
	})
	var jobs []*Job
	for _, job := range slices.Sorted(maps.Keys(seen)) {
		jobs = append(jobs, s.numbers[job])
	}
	return jobs
}
