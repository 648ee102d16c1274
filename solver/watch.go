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
	v         *vertex // nil: it is a report
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
	p := &v.progress
	sh := shown{v: v, started: p.started.Load(), completed: p.completed, outcome: p.outcome.name(), err: v.has().err}
	if (sh.outcome == client.Executed || sh.outcome == client.Cached) && p.owner != j.serial {
		sh.outcome = client.Shared
	}
	return sh
}

// tellWatchers shows a vertex that has changed. Solver.mu is held.
func (s *Solver) tellWatchers(v *vertex) {
	if !v.progress.watched.Load() {
		return
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	v.progress.journal.ended = v.progress.outcome != 0
	for _, w := range v.progress.journal.watchers {
		w.show(v.look(w.job))
	}
}

// tellStarted shows that something has begun to run for a vertex. Solver.mu is
// not held, and so what else is to be told of it stays for tellWatchers.
func (s *Solver) tellStarted(v *vertex) {
	s.watching.Lock()
	defer s.watching.Unlock()
	if v.progress.journal.ended {
		return
	}
	for _, w := range v.progress.journal.watchers {
		w.show(shown{v: v, started: v.progress.started.Load()})
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

// showTo has a watcher follow a vertex, from all that has happened on.
func (s *Solver) showTo(w *watcher, v *vertex) {
	p := &v.progress
	if p.journal == nil {
		p.journal = &journal{}
	}
	for _, o := range p.journal.watchers {
		if o == w {
			return
		}
	}
	p.journal.watchers = append(p.journal.watchers, w)
	p.journal.ended = p.outcome != 0
	p.watched.Store(true)
	w.show(v.look(w.job))
	for _, en := range p.journal.entries {
		w.show(shown{entry: en})
	}
}

// watchChunk is how many vertices a subscriber that joins late is shown at a
// time, so that it does not hold the graph for long.
const watchChunk = 1000

// watch serves one subscriber until the job ends.
func (s *Solver) watch(ctx context.Context, j *Job, ch chan *client.SolveStatus) error {
	defer close(ch)
	w := &watcher{job: j, signal: make(chan struct{}, 1)}
	s.watching.Lock()
	j.watchers = append(j.watchers, w)
	j.watched.Store(true)
	for _, en := range j.journal {
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
	s.mu.Lock()
	defer s.unlock(true)
	s.watching.Lock()
	defer s.watching.Unlock()
	if w.job.ended {
		s.showRest(w)
		return false
	}
	vertices := w.job.vertices
	to := min(from+watchChunk, len(vertices))
	for _, v := range vertices[min(from, to):to] {
		s.showTo(w, v)
	}
	return to < len(vertices)
}

// showRest shows a subscriber, once, how the job's vertices ended that it does not
// know of, and what was reported for those that it did not follow.
func (s *Solver) showRest(w *watcher) {
	if w.ended {
		return
	}
	for _, v := range w.job.vertices {
		follows := v.progress.journal != nil && slices.Contains(v.progress.journal.watchers, w)
		switch {
		case v.progress.outcome == 0:
			w.show(s.final(v, w.job))
		case !follows:
			w.show(v.look(w.job))
		}
		if !follows && v.progress.journal != nil {
			for _, en := range v.progress.journal.entries {
				w.show(shown{entry: en})
			}
		}
	}
	w.ended = true
	w.wake()
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
		case sh.v != nil:
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
	v := &client.Vertex{Digest: sh.v.digest, Name: sh.v.name, Outcome: sh.outcome, Cached: sh.outcome == client.Cached}
	if len(sh.v.inputs) > 0 {
		v.Inputs = make([]digest.Digest, len(sh.v.inputs))
		for i, in := range sh.v.inputs {
			v.Inputs[i] = in.v.digest
		}
	}
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
// this job. Solver.mu is held.
func (s *Solver) endWatch(j *Job) {
	s.watching.Lock()
	defer s.watching.Unlock()
	j.ended = true
	for _, w := range j.watchers {
		s.showRest(w)
	}
}

// final is how a vertex that has not ended ends for a job that does. Of the two
// variants of one digest, a stream tells the one that was needed.
func (s *Solver) final(v *vertex, j *Job) shown {
	sh := v.end(j)
	known := s.active(v.digest, hashOf(string(v.digest)))
	for _, o := range []*vertex{known.ignoring, known.normal} {
		if o == nil || !o.jobs.has(j.slot) {
			continue
		}
		if o.progress.outcome != 0 {
			return o.look(j)
		}
		if sh.outcome == client.NotNeeded {
			sh = o.end(j)
		}
	}
	return sh
}

// end is a vertex as a job sees it that ends.
func (v *vertex) end(j *Job) shown {
	sh := v.look(j)
	if sh.outcome == "" {
		sh.outcome = client.NotNeeded
		if j.failed && v.progress.wanted {
			sh.outcome = client.Canceled
		}
		sh.completed = time.Now().UnixNano()
	}
	return sh
}

// unwatch ends a subscription.
func (s *Solver) unwatch(w *watcher) {
	s.mu.Lock()
	defer s.unlock(true)
	s.watching.Lock()
	defer s.watching.Unlock()
	j := w.job
	j.watchers = withoutWatcher(j.watchers, w)
	for _, v := range j.vertices {
		if p := &v.progress; p.journal != nil {
			p.journal.watchers = withoutWatcher(p.journal.watchers, w)
			p.watched.Store(len(p.journal.watchers) > 0)
		}
	}
}

func withoutWatcher(list []*watcher, w *watcher) []*watcher {
	for i, o := range list {
		if o == w {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}
