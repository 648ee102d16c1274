package solver_test

import (
	"context"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/solver/client"
)

// watch is one subscriber. Of a stream that it has read to the end, it checks
// how every vertex has ended.
func (r *simRun) watch(ctx context.Context, j *simJobRun, spec *simWatcher) {
	time.Sleep(spec.at)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if spec.leave > 0 {
		defer time.AfterFunc(spec.leave, cancel).Stop()
	}
	r.mu.Lock()
	late := !j.discarding.IsZero() || r.closing
	r.mu.Unlock()
	joined := time.Now()
	ch := make(chan *client.SolveStatus)
	returned := make(chan error, 1)
	go func() { returned <- j.job.Status(ctx, ch) }()
	if spec.stalls {
		<-ctx.Done()
		for range ch { // it must be closed
		}
		<-returned
		return
	}
	stream := simStream{j: j, last: map[string]*client.Vertex{}, again: map[string]int{}}
	for st := range ch {
		for _, v := range st.Vertexes {
			if before := stream.last[v.Name]; before != nil && before.Outcome != "" && before.Outcome != v.Outcome {
				stream.again[v.Name]++
			}
			stream.last[v.Name] = v
		}
	}
	if err := <-returned; err != nil || late || ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if (joined.Equal(j.discarding) || joined.Equal(r.closed)) && len(stream.last) == 0 {
		return // it came too late by an instant
	}
	r.streams = append(r.streams, stream)
}

// simStream is a stream that was read to the end.
type simStream struct {
	j     *simJobRun
	last  map[string]*client.Vertex // by name
	again map[string]int            // how often the vertex ended anew
}

// checkOutcomes checks how the vertices of a job have ended.
func (r *simRun) checkOutcomes(s simStream) {
	j, last, again := s.j, s.last, s.again
	id := j.job.SessionID
	for name, n := range again {
		if r.c.losses == 0 && r.ignorersOf(name) == 0 && r.c.vertices[r.index(name)].outputs == 1 {
			r.failf("%s: %s ended, and %d times otherwise: %s", id, name, n, last[name].Outcome)
		}
	}
	r.mu.Lock()
	builds := append([]*simBuildRun(nil), r.builds...)
	r.mu.Unlock()
	for _, b := range builds {
		if b.j != j {
			continue
		}
		for i := range b.below {
			v := last[r.c.vertices[i].id]
			if v == nil && r.buildsLoaded(b, i) {
				r.failf("%s: %s is not in the stream", id, r.c.vertices[i].id)
			}
		}
		spec := &r.c.vertices[b.spec.vertex]
		v := last[spec.id]
		if spec.outputs > 1 && r.o.mayFail(b.spec.vertex) {
			continue // this output may have come of an equal vertex, and another have failed
		}
		if r.lostTooOften(b.spec.vertex) || r.mayFailAgain(b.spec.vertex) {
			continue
		}
		if v != nil && b.err == nil && !b.ended.IsZero() && v.Outcome != client.Executed && v.Outcome != client.Cached && v.Outcome != client.Shared {
			r.failf("%s: %s was built, and ended as %q", id, v.Name, v.Outcome)
		}
	}
	for name, v := range last {
		if v.Outcome == "" {
			r.failf("%s: %s did not end: %+v", id, name, *v)
			continue
		}
		if why := r.unfounded(j, r.index(name), v); why != "" {
			r.failf("%s: %s ended as %q: %s", id, name, v.Outcome, why)
		}
	}
}

// buildsLoaded reports whether a vertex is among those that a build loads at
// once: not one that an op builds.
func (r *simRun) buildsLoaded(b *simBuildRun, i int) bool {
	var reach func(int) bool
	reach = func(k int) bool {
		if k == i {
			return true
		}
		for _, in := range r.c.vertices[k].in {
			if reach(in.vertex) {
				return true
			}
		}
		return false
	}
	// A build that was over before it began has loaded nothing.
	began := b.cancels.IsZero() || b.err == nil
	return began && reach(b.spec.vertex) && !(b.err != nil && !b.j.discarding.IsZero())
}

func (r *simRun) index(name string) int {
	for i := range r.c.vertices {
		if r.c.vertices[i].id == name {
			return i
		}
	}
	r.failf("an unknown vertex in a stream: %s", name)
	return 0
}

func (r *simRun) ignorersOf(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, below := 0, r.o.below(r.index(name))
	for v, times := range r.ignored {
		if below[v] {
			n += times
		}
	}
	return n
}

// unfounded says what a vertex's outcome lacks.
func (r *simRun) unfounded(j *simJobRun, i int, v *client.Vertex) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.Cached != (v.Outcome == client.Cached) {
		return "Cached says otherwise"
	}
	begun := v.Outcome != client.NotNeeded && v.Outcome != client.Canceled
	if begun && (v.Started == nil || v.Completed == nil) {
		return "it was not completed"
	}
	if !begun && v.Started == nil && v.Completed != nil {
		return "it was completed and never begun"
	}
	if (v.Error != "") != (v.Outcome == client.Failed || v.Outcome == client.Canceled) {
		return "its error is " + v.Error
	}
	switch v.Outcome {
	case client.Executed:
		for _, x := range r.execs {
			if x.vertex == i && !x.end.IsZero() && !x.end.Before(j.from) {
				return ""
			}
		}
		return "it was not executed"
	case client.Cached:
		for value, times := range r.loads {
			if r.o.produces(i, value) && len(times) > 0 {
				return ""
			}
		}
		return "nothing was loaded"
	case client.Failed:
		if !r.o.mayFail(i) && !strings.Contains(v.Error, errLost.Error()) {
			return "nothing is wrong with it"
		}
	case client.Canceled:
		if !j.failed {
			return "all builds of the job succeeded"
		}
	case client.NotNeeded:
		for _, b := range r.builds {
			if b.j == j && b.spec.vertex == i && b.began.Before(j.discarding) && (b.ended.IsZero() || !b.ended.Before(j.discarding)) {
				return "it was wanted to the end"
			}
		}
	case client.Shared:
	default:
		return "an unknown outcome"
	}
	return ""
}
