package solver_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// checkError checks that a build had a reason to fail.
func (r *simRun) checkError(b *simBuildRun, what string, err error) {
	r.mu.Lock()
	discarded := !b.j.discarding.IsZero() || r.closing
	b.j.failed = true
	r.mu.Unlock()
	cancelled := !b.cancels.IsZero() && !b.ended.Before(b.cancels)
	switch {
	case cancelled && b.ended.After(b.cancels):
		r.failf("%s: was cancelled and returned %v later", what, b.ended.Sub(b.cancels))
	case cancelled && errors.Is(err, errCancelled):
	case errors.Is(err, errCancelled):
		r.failf("%s: returns the cancellation of another: %v", what, err)
	case errors.Is(err, errLost):
		if !r.lostTooOften(b.spec.vertex) && !discarded {
			r.failf("%s: fails for a result that can be made again: %v", what, err)
		}
	case r.o.mayFail(b.spec.vertex):
		if reason := r.unreasonable(err); reason != "" && !discarded {
			r.failf("%s: %s: %v", what, reason, err)
		}
	case discarded:
	default:
		r.failf("%s: fails, and nothing is wrong with it: %v", what, err)
	}
}

// unreasonable says what is wrong with an op's error. It must lead to a vertex at
// fault and name its fault.
func (r *simRun) unreasonable(err error) string {
	var ve *solver.VertexError
	if !errors.As(err, &ve) {
		return "an error without a vertex"
	}
	if errors.Is(err, context.Canceled) {
		return "a cancellation is remembered"
	}
	for ; ve != nil; ve = innerVertexError(ve) {
		i := slices.IndexFunc(r.c.vertices, func(v simVertex) bool { return v.id == ve.Name })
		if i < 0 {
			return "an unknown vertex"
		}
		for k := range r.c.vertices {
			if k != i && !r.o.equal(i, k) {
				continue
			}
			text, known := simFaultTexts[r.c.vertices[k].fault]
			if known && strings.Contains(ve.Err.Error(), text) {
				return ""
			}
			if r.c.vertices[k].unreadable() != sound && strings.Contains(ve.Err.Error(), "content key of input") {
				return ""
			}
		}
	}
	return "an error of a vertex that has no such fault"
}

func innerVertexError(ve *solver.VertexError) *solver.VertexError {
	var inner *solver.VertexError
	errors.As(ve.Err, &inner)
	return inner
}

// simFaultTexts are what errors of the faults say.
var simFaultTexts = map[simFault]string{
	execFails: errOp.Error(), execPanics: "Exec panicked", execFailsOnce: errOp.Error(),
	mapFails: errOp.Error(), mapPanics: "CacheMap panicked",
	resolveFails: errOp.Error(), resolvePanics: "resolving the op panicked",
	tooFew: "outputs, and output", nilOutput: "returned nothing for output",
}

// checkExecs checks that no op was run more often than there was reason to.
func (r *simRun) checkExecs() {
	kept := map[string]int{}
	for i, x := range r.execs {
		def := r.o.defs[x.vertex]
		if x.ctx.Err() != nil {
			continue // it was cancelled
		}
		for _, y := range r.execs[:i] {
			if r.o.defs[y.vertex] != def || y.s != x.s || y.ctx.Err() != nil || r.ignorers(def) > 0 || r.o.buildsItself(def) {
				continue
			}
			if y.end.After(x.start) {
				r.failf("%s and %s were run at the same time: from %v to %v, and from %v on", r.c.vertices[y.vertex].id, r.c.vertices[x.vertex].id,
					moment(y.start), moment(y.end), moment(x.start))
			}
		}
		if x.ok && r.c.vertices[x.vertex].unreadable() == sound {
			kept[def]++
		}
	}
	if r.c.faults != 0 {
		return // what a cache loses is run again
	}
	for i := range r.c.vertices {
		def := r.o.defs[i]
		// An execution is saved for the output it was begun for.
		allowed := r.outputsUsed(def) + r.ignorers(def) + r.remade(def)
		if n := kept[def]; n > allowed && !r.o.buildsItself(def) {
			r.failf("%s was run %d times, %d allowed%s", r.c.vertices[i].id, n, allowed, r.traces())
		}
		delete(kept, def)
	}
}

// ignorers counts the jobs that ignore the caches of a vertex of one definition, or of
// something below it, once for each: what depends on who ignores caches is evaluated
// again. An op that builds things may be that of an ignoring job, and be called for
// others when that one has gone: it then asks for a run of its own.
func (r *simRun) ignorers(def string) int {
	n := 0
	for v, times := range r.ignored {
		if times == 0 || !slices.ContainsFunc(r.ofDefinition(def), func(i int) bool { return r.o.below(i)[v] }) {
			continue
		}
		n += times
		for i := range r.c.vertices {
			if len(r.c.vertices[i].subs) > 0 {
				n++
			}
		}
	}
	return n
}

// ofDefinition are the vertices of one definition.
func (r *simRun) ofDefinition(def string) (all []int) {
	for i, d := range r.o.defs {
		if d == def {
			all = append(all, i)
		}
	}
	return all
}

// outputsUsed is how many outputs of a definition's vertices may be wanted.
func (r *simRun) outputsUsed(def string) int {
	used := map[int]bool{}
	note := func(e simEdge) {
		if r.o.defs[e.vertex] == def {
			used[e.output] = true
		}
	}
	for i := range r.c.vertices {
		for _, in := range r.c.vertices[i].in {
			note(in.simEdge)
		}
		for _, s := range r.c.vertices[i].subs {
			note(s)
		}
	}
	for _, round := range r.c.rounds {
		for _, j := range round.jobs {
			for _, b := range j.builds {
				note(b.simEdge)
			}
		}
	}
	return len(used)
}

// checkWarm builds everything once more, with nothing going wrong, and then
// again: the second time nothing is run, and one record is loaded for each edge.
func (r *simRun) checkWarm() {
	r.world.quiet.Store(true)
	var edges []simEdge
	for _, round := range r.c.rounds {
		for _, j := range round.jobs {
			for _, b := range j.builds {
				if !slices.Contains(edges, b.simEdge) {
					edges = append(edges, b.simEdge)
				}
			}
		}
	}
	first := map[simEdge]string{}
	for pass := range 2 {
		r.newSolver()
		for i, e := range edges {
			before := r.s.Stats()
			j := &simJobRun{spec: &simJob{}}
			job, err := r.s.NewJob(fmt.Sprintf("warm %d.%d", pass, i))
			if err != nil {
				r.failf("%v", err)
				return
			}
			j.job = job
			job.SessionID = fmt.Sprintf("warm %d.%d", pass, i)
			r.mu.Lock()
			r.jobs[job.SessionID] = j
			r.builds = append(r.builds, &simBuildRun{j: j, spec: &simBuild{simEdge: e}, below: r.o.below(e.vertex), runs: r.o.mayRun(e.vertex)})
			r.mu.Unlock()
			j.nodes = r.nodes(j)
			ctx, cancel := context.WithTimeoutCause(context.Background(), time.Hour, errors.New("it does not end"))
			res, err := job.Build(ctx, j.nodes[e.vertex].Edge(e.output))
			cancel()
			if err != nil {
				r.failf("warm build %d of %s: %v", pass, r.c.edge(e), err)
			} else {
				if got := solvertest.Value(res); got != r.o.value(e) {
					r.failf("warm build %d of %s: %s in place of %s", pass, r.c.edge(e), got, r.o.value(e))
				}
				_ = res.Release(context.Background())
			}
			if err := job.Discard(); err != nil {
				r.failf("%v", err)
			}
			st := r.s.Stats()
			if execs, loads := st.Execs-before.Execs, st.Loads-before.Loads; pass == 1 && (execs != 0 || loads < 1 || loads > r.warmLoads(e)) {
				r.failf("warm build of %s: %d ops were run and %d records loaded\n%s    before:\n%s", r.c.edge(e), execs, loads, traceText(job), first[e])
			} else if r.failures == nil {
				first[e] = traceText(job)
			}
		}
	}
	r.close()
	r.checkReleased()
}

// traces is what was decided in all jobs.
func (r *simRun) traces() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(r.jobs)) {
		fmt.Fprintf(&b, "\n  %s\n%s", id, traceText(r.jobs[id].job))
	}
	return b.String()
}

// warmLoads is how many records a warm build of an edge loads at most: its own,
// and those of what is built in order to find its key.
func (r *simRun) warmLoads(e simEdge) uint64 {
	n := uint64(1)
	for i := range r.o.below(e.vertex) {
		if v := &r.c.vertices[i]; v.subWhen == subsInCacheMap {
			n += uint64(len(v.subs))
		}
	}
	return n
}

// traceText is what was decided in a job, for a person.
func traceText(j *solver.Job) string {
	var b strings.Builder
	for _, tr := range j.Trace() {
		fmt.Fprintf(&b, "    %s.%d keys", tr.Name, tr.Output)
		for _, k := range tr.Keys {
			fmt.Fprintf(&b, " %.12s", strings.TrimPrefix(k.ID, "sha256:"))
		}
		for _, d := range tr.Decisions {
			fmt.Fprintf(&b, "; %s %d asked %v answered %v keys %d ok %v", d.Kind, d.Input, d.Asked, d.Answered, d.Keys, d.OK)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// moment is a time of the bubble, which begins at midnight of a certain day.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).String()
}
