package solver

import (
	"context"
	"errors"
	"runtime"

	"github.com/tenonbuild/tenon/solver/internal/slots"
)

// turnSteps is how many steps are taken before the lock is given up, so that nobody
// waits for it longer than a fraction of a millisecond, whatever others build.
const turnSteps = 128

// lock takes the graph. Whoever has it longer than for one turn lets other goroutines run
// between two turns, with runtime.Gosched: otherwise it would be preempted at any time, and
// keep the graph from all who wait, for as long as others run.
func (s *Solver) lock() {
	if s.waiting.Load() == 0 && s.mu.TryLock() {
		return
	}
	s.waiting.Add(1)
	s.mu.Lock()
	s.waiting.Add(-1)
}

// unlock takes some steps, and gives the graph up. What is left is done by a worker.
func (s *Solver) unlock() {
	s.turn(false)
	s.flush(true)
	s.mu.Unlock()
	s.sendVisitor()
}

// pause gives the graph up for a moment.
func (s *Solver) pause() {
	s.unlock()
	runtime.Gosched()
	s.lock()
}

// sendVisitor has a worker take a turn in the graph, if there is something to do.
func (s *Solver) sendVisitor() {
	if s.pending() && s.visitor.CompareAndSwap(noVisitor, visitorSent) {
		s.queue.Visit()
	}
}

// The states of Solver.visitor. Only one worker at a time waits for the graph.
const (
	noVisitor   = iota
	visitorSent // the next worker that arrives is the visitor
	visitorWaits
)

// pending reports whether there is something to do in the graph.
func (s *Solver) pending() bool { return s.backlog.Load() || s.inbox.Load() != nil }

// step takes a turn in the graph, and reports whether there may be more to do. If another
// goroutine has the graph, or waits for it, that one goes on, or has a visitor go on.
func (s *Solver) step() bool {
	if !s.pending() || s.waiting.Load() > 0 || !s.mu.TryLock() {
		return false
	}
	s.workTurn()
	return true
}

// visit is the turn of a worker that is the visitor.
func (s *Solver) visit() {
	if !s.pending() {
		s.visitor.Store(noVisitor) // somebody else has done it; from now on another may come
		s.step()
		return
	}
	s.lock()
	s.visitor.Store(noVisitor)
	s.workTurn()
}

// workTurn is a worker's turn. It gives the graph up.
func (s *Solver) workTurn() {
	s.turnAndFlush()
	runtime.Gosched()
}

func (s *Solver) turnAndFlush() {
	defer s.mu.Unlock()
	s.turn(true)
	s.flush(false)
}

// turn takes a number of steps of every kind in turn, so that none holds up another.
// Only workers take back what was run: they have what they need at hand.
func (s *Solver) turn(worker bool) {
	for left := turnSteps; left > 0; {
		before := left
		if worker {
			left -= s.takeSome(min(left, turnSteps/4))
		}
		left -= s.g.Turn(min(left, turnSteps/4))
		left -= s.holdSome(min(left, turnSteps/8))
		left -= s.g.Reap(min(left, turnSteps/8))
		if left == before {
			break
		}
	}
	if more := !s.back.Empty() || len(s.holds) > 0 || s.g.Pending(); more != s.backlog.Load() {
		s.backlog.Store(more)
	}
}

// takeSome takes tasks back that were run, at most n, and returns how many it took.
func (s *Solver) takeSome(n int) (taken int) {
	for t := s.inbox.Swap(nil); t != nil; {
		next := t.next
		t.next = nil
		line := 0
		if j := t.owner(); j != nil {
			line = j.number + 1
		}
		s.back.Add(line, t)
		t = next
	}
	for ; taken < n && !s.back.Empty(); taken++ {
		s.takeBack(s.back.Next())
	}
	return taken
}

// flush hands what is ready to the queue, and what is to be released.
func (s *Solver) flush(starts bool) {
	s.turns++
	if len(s.trash) > 0 {
		s.ready = append(s.ready, s.releaseLater(s.trash))
		s.trash = nil
	}
	if len(s.ready) > 0 {
		s.queue.Push(s.ready, starts)
		clear(s.ready)
		s.ready = s.ready[:0]
	}
}

// takeBack takes a finished task into the graph. A fault there fails the edges
// that the task was for.
func (s *Solver) takeBack(t *task) {
	v := t.v
	defer func() {
		if reason := recover(); reason != nil {
			t.kept = true
			t.work().vertices(func(v *vertex) { s.fault(v, reason) })
		}
		t.taken = true
		s.g.Unpin(v.id)
		if !t.kept {
			t.ended()
		}
	}()
	t.work().done()
}

// enqueue has a call be made for v once the current turn ends.
func (s *Solver) enqueue(w work, v *vertex, lane *slots.Lane, weight int32) {
	t := w.base()
	t.Work, t.Lane, t.Weight, t.s, t.v = w, lane, weight, s, v
	t.Ready()
	s.g.Pin(v.id)
	waiting := false
	for job := range s.g.Jobs(v.id) {
		s.ready = append(s.ready, slots.Place{Ticket: &t.Ticket, Client: &s.numbers[job].client})
		t.kept = waiting // in the lines of several
		waiting = true
	}
	if !waiting {
		s.ready = append(s.ready, slots.Place{Ticket: &t.Ticket, Client: &s.orphans})
	}
}

// alsoFor has a call be made for a further vertex, too: its jobs' shares of the slots
// count.
func (s *Solver) alsoFor(t *task, v *vertex) {
	if v == t.v {
		return
	}
	for job := range s.g.Jobs(v.id) {
		if !s.g.Holds(t.v.id, job) {
			s.alsoJob(t, s.numbers[job])
		}
	}
}

func (s *Solver) alsoJob(t *task, j *Job) {
	if t.join(j.number) {
		t.kept = true
		s.queue.Also(&t.Ticket, &j.client)
	}
}

// drop says that nobody waits for a task any more, and reports whether it had not
// begun: then neither do nor done will be called. The slot of one that is running is
// given back at once, unless it is an op's: an op that does not end yet still works.
func (s *Solver) drop(t *task) bool {
	t.dropped, t.kept = true, true
	if s.queue.Forget(&t.Ticket) {
		s.g.Unpin(t.v.id)
		return true
	}
	t.context().cancel()
	if t.Lane != s.ops {
		s.queue.Abandon(&t.Ticket, owed(t.work()))
	}
	return false
}

// owed reports whether Close waits for a call that was left. It does not for those of a
// cache that may never answer.
func owed(w work) bool {
	switch c := w.(type) {
	case *lookupCall:
		return false
	case *loadCall:
		return c.from.manager == 0
	}
	return true
}

// finish leaves a task that was run to whoever takes the next turn in the graph.
func (s *Solver) finish(t *task) {
	for {
		head := s.inbox.Load()
		t.next = head
		if s.inbox.CompareAndSwap(head, t) {
			return
		}
	}
}

// callsATurn is how many calls a worker makes before it takes a turn in the graph, although
// there are more: somebody may wait for what came of one.
const callsATurn = 64

// runWorker makes calls, and takes a turn in the graph where there is none to be made. So
// few calls of a large graph wait at a time. It ends when there is nothing to do.
func (s *Solver) runWorker() {
	var t *slots.Ticket
	ended := false
	defer func() {
		if !ended { // by runtime.Goexit in code that is not ours
			s.rescue(t)
		}
	}()
	s.queue.Arrive()
	if s.visitor.CompareAndSwap(visitorSent, visitorWaits) {
		s.visit()
	}
	for n, stays := 1, true; ; n++ {
		prev := t
		t, stays = s.queue.Next(t, s.pending())
		if prev != nil {
			prev.Work.(work).base().ended()
		}
		if t != nil {
			s.call(t.Work.(work))
			if n%callsATurn == 0 {
				s.step()
				runtime.Gosched()
			}
		} else if !stays {
			s.lookAgain()
			break
		} else if !s.step() {
			s.retire(nil)
			break
		}
	}
	ended = true
}

// call makes a call.
func (s *Solver) call(w work) {
	t := w.base()
	if t.v == nil { // a releaseCall: there is nothing to be taken back
		w.do(context.Background())
		return
	}
	ctx := t.context()
	w.do(ctx)
	t.returned = true
	s.finish(t)
	if t.Lane != s.ops && ctx.Err() != nil { // the worker may have lost its place, and be the last that Close waits for
		for s.step() {
		}
	}
}

// errGoexit is what a call ends with that ended its goroutine.
var errGoexit = errors.New("the goroutine of the call was ended, by runtime.Goexit or a test's FailNow")

// rescue ends a task whose goroutine is being ended, and lets another worker take this
// one's place.
func (s *Solver) rescue(t *slots.Ticket) {
	if t != nil {
		if w := t.Work.(work); !w.base().returned {
			w.fail(errGoexit)
			s.finish(w.base())
		}
	}
	s.retire(t)
}

// retire ends a worker.
func (s *Solver) retire(t *slots.Ticket) {
	s.queue.Quit(t)
	s.lookAgain()
}

// lookAgain is what a worker does last. Others have counted on it to do what has come up
// meanwhile: it leaves that to another one, unless somebody has the graph and will see it.
func (s *Solver) lookAgain() {
	if s.pending() && s.waiting.Load() == 0 && s.mu.TryLock() {
		s.mu.Unlock()
		s.sendVisitor()
	}
}
