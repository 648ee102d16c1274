package solver

import (
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// watcher is one subscriber of a job's status. What it has not read waits in its
// queue, so that it delays nobody. Guarded by Solver.watching.
type watcher struct {
	job    *Job
	queue  []shown
	ended  bool          // nothing more will come
	signal chan struct{} // holds one if queue or ended has changed
}

// shown is a vertex as it stood at a moment, or a report.
type shown struct {
	op        *opState // nil: it is a report
	inputs    []digest.Digest
	started   int64
	completed int64
	outcome   client.Outcome
	err       error
	entry     entry
}

// show puts something into a watcher's queue.
func (w *watcher) show(what shown) {
	if w.ended {
		return
	}
	w.queue = append(w.queue, what)
	w.wake()
}

func (w *watcher) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// look is a vertex as a job sees it. Solver.mu is held.
func (v *vertex) look(j *Job) shown {
	sh := v.last(j)
	if v.progress.remaking {
		sh.started, sh.completed, sh.outcome, sh.err = v.progress.started.Load(), 0, "", nil
	}
	return sh
}

// last is how a vertex has ended last, though it may be under way again.
func (v *vertex) last(j *Job) shown {
	p := &v.progress
	sh := shown{op: v.op, inputs: v.op.journal.inputs, started: p.started.Load(), completed: p.completed, outcome: p.outcome.name(), err: v.readExtra().err}
	if sh.outcome == client.Executed && p.owner != j.serial {
		sh.outcome = client.Shared
	}
	return sh.timed()
}

// timed gives a vertex that has ended the times that its outcome goes with: both where
// something was run or loaded, or failed; none where nothing was begun.
func (sh shown) timed() shown {
	switch sh.outcome {
	case client.Executed, client.Cached, client.Shared, client.Failed:
		if sh.started == 0 || sh.started > sh.completed {
			sh.started = sh.completed
		}
	case client.NotNeeded, client.Canceled:
		if sh.started == 0 {
			sh.completed = 0
		}
	}
	return sh
}

// tellWatchers shows a vertex that has changed. Solver.mu is held.
func (s *Solver) tellWatchers(v *vertex) {
	if !v.op.watched.Load() {
		return
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	for _, w := range v.op.journal.watchers {
		if s.g.Holds(v.id, w.job.number) {
			w.show(v.look(w.job))
		}
	}
}

// showVertex shows a vertex that a job has taken. Solver.mu is held: whoever begins
// to watch now is shown all the job's vertices afterwards.
func (s *Solver) showVertex(j *Job, v *vertex) {
	if !j.watched.Load() {
		return
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	for _, w := range j.watchers {
		s.showTo(w, v)
	}
}

// follow returns what is told of a vertex to those who watch. Solver.watching is held.
func (s *Solver) follow(v *vertex) *journal {
	j := v.op.journal
	if j == nil {
		j = &journal{}
		v.op.journal = j
	}
	if n := s.g.Inputs(v.id); j.inputs == nil && n > 0 {
		j.inputs = make([]digest.Digest, n)
		for i, in := range s.g.Below(v.id) {
			j.inputs[i] = s.edge(in).v.op.digest
		}
	}
	return j
}

// showTo has a watcher follow a vertex, from all that has happened on.
func (s *Solver) showTo(w *watcher, v *vertex) {
	j := s.follow(v)
	if slices.Contains(j.watchers, w) {
		return
	}
	j.watchers = append(j.watchers, w)
	v.op.watched.Store(true)
	w.show(v.look(w.job))
	for en := range j.all {
		w.show(shown{entry: en})
	}
}

// watchChunk is how many vertices a subscriber that joins late is shown at a
// time, so that it does not hold the graph for long.
const watchChunk = 256

// watch serves one subscriber until the job ends.
func (s *Solver) watch(ctx context.Context, j *Job, ch chan *client.SolveStatus) error {
	defer close(ch)
	w := &watcher{job: j, signal: make(chan struct{}, 1)}
	s.watching.Lock()
	j.watchers = append(j.watchers, w)
	j.watched.Store(true)
	for en := range j.journal.all {
		w.show(shown{entry: en})
	}
	w.wake()
	s.watching.Unlock()
	for from := 0; s.showSome(w, from); from += watchChunk {
		if ctx.Err() != nil {
			break
		}
	}
	err := s.send(ctx, w, ch)
	s.unwatch(w)
	return err
}

// showSome shows a subscriber some of the job's vertices, and reports whether
// there are more.
func (s *Solver) showSome(w *watcher, from int) bool {
	s.lock()
	defer s.unlock()
	s.watching.Lock()
	defer s.watching.Unlock()
	if w.ended {
		return false // it was shown the rest
	}
	vertices := w.job.held.vertices
	to := min(from+watchChunk, len(vertices))
	for _, v := range vertices[min(from, to):to] {
		if w.job.ended {
			s.showLast(w, s.vertex(v))
		} else {
			s.showTo(w, s.vertex(v))
		}
	}
	if w.job.ended && to == len(vertices) {
		w.ended = true
		w.wake()
	}
	return to < len(vertices)
}

// showLast shows a subscriber how a vertex has ended that it does not know of, and
// what was reported for one that it did not follow.
func (s *Solver) showLast(w *watcher, v *vertex) {
	j := s.follow(v)
	follows := slices.Contains(j.watchers, w)
	switch {
	case v.progress.outcome == 0:
		w.show(s.final(v, w.job))
	case !follows || v.progress.remaking:
		w.show(v.last(w.job))
	}
	if !follows {
		for en := range j.all {
			w.show(shown{entry: en})
		}
	}
}

// send sends what is in a watcher's queue until the end.
func (s *Solver) send(ctx context.Context, w *watcher, ch chan *client.SolveStatus) error {
	for {
		s.watching.Lock()
		queue, ended := w.queue, w.ended
		w.queue = nil
		s.watching.Unlock()
		for len(queue) > 0 {
			n := min(len(queue), watchChunk)
			select {
			case ch <- message(queue[:n]):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			queue = queue[n:]
		}
		if ended {
			return nil
		}
		select {
		case <-w.signal:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// message is what is sent of a part of a queue.
func message(queue []shown) *client.SolveStatus {
	st := &client.SolveStatus{}
	for _, sh := range queue {
		switch en := sh.entry; {
		case sh.op != nil:
			st.Vertexes = append(st.Vertexes, sh.vertex())
		case en.step != nil:
			st.Vertexes = append(st.Vertexes, en.step)
		case en.status != nil:
			st.Statuses = append(st.Statuses, en.status)
		case en.log != nil:
			st.Logs = append(st.Logs, en.log)
		case en.warning != nil:
			st.Warnings = append(st.Warnings, en.warning)
		}
	}
	return st
}

func (sh shown) vertex() *client.Vertex {
	v := &client.Vertex{Digest: sh.op.digest, Name: sh.op.name, Inputs: sh.inputs, Outcome: sh.outcome, Cached: sh.outcome == client.Cached}
	v.Started, v.Completed = instant(sh.started), instant(sh.completed)
	if sh.err != nil {
		v.Error = sh.err.Error()
	}
	return v
}

func instant(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns)
	return &t
}

// endWatch ends a job's streams: every vertex that has not ended ends now, for
// this job. Solver.mu is held, and given up now and then by pause.
func (s *Solver) endWatch(j *Job, pause func()) {
	s.watching.Lock()
	watchers := slices.Clone(j.watchers)
	j.ended, j.watchers = true, nil
	s.watching.Unlock()
	if len(watchers) > 0 {
		for n, id := range j.held.vertices {
			v := s.vertex(id)
			if n%loadSteps == loadSteps-1 {
				pause()
			}
			s.watching.Lock()
			for _, w := range watchers {
				s.showLast(w, v)
			}
			s.unfollow(v, watchers)
			s.watching.Unlock()
		}
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	for _, w := range watchers {
		w.ended = true
		w.wake()
	}
}

// unfollow ends what watchers are shown of a vertex. Solver.watching is held.
func (s *Solver) unfollow(v *vertex, watchers []*watcher) {
	j := v.op.journal
	if j == nil {
		return
	}
	j.watchers = slices.DeleteFunc(j.watchers, func(w *watcher) bool { return slices.Contains(watchers, w) })
	v.op.watched.Store(len(j.watchers) > 0)
}

// final is how a vertex that has not ended ends for a job that does. Of the two
// variants of one digest, a stream tells the one that was needed.
func (s *Solver) final(v *vertex, j *Job) shown {
	sh := s.endOfVertex(v, j)
	for o := range v.op.vertices.all {
		if o == v || !s.g.Holds(o.id, j.number) {
			continue
		}
		if o.progress.outcome != 0 {
			return o.last(j)
		}
		if sh.outcome == client.NotNeeded {
			sh = s.endOfVertex(o, j)
		}
	}
	return sh
}

// endOfVertex is a vertex as a job sees it that ends.
func (s *Solver) endOfVertex(v *vertex, j *Job) shown {
	sh := v.last(j)
	if sh.outcome == "" {
		sh.outcome, sh.err = client.NotNeeded, nil
		if j.failed && v.progress.wanted {
			sh.outcome, sh.err = client.Canceled, context.Canceled
			for id := range s.g.Outputs(v.id) {
				if err := s.edge(id).readExtra().err; err != nil {
					sh.err = err // of an input
				}
			}
		}
		sh.completed = time.Now().UnixNano()
	}
	return sh.timed()
}

// unwatch ends a subscription.
func (s *Solver) unwatch(w *watcher) {
	for from, more := 0, true; more; from += loadSteps {
		more = s.unwatchSome(w, from)
	}
}

func (s *Solver) unwatchSome(w *watcher, from int) (more bool) {
	s.lock()
	defer s.unlock()
	s.watching.Lock()
	defer s.watching.Unlock()
	j := w.job
	if j.ended {
		return false
	}
	j.watchers = slices.DeleteFunc(j.watchers, func(o *watcher) bool { return o == w })
	all := j.held.vertices
	to := min(from+loadSteps, len(all))
	for _, v := range all[min(from, to):to] {
		s.unfollow(s.vertex(v), []*watcher{w})
	}
	return to < len(all)
}
