package solver

import (
	"github.com/opencontainers/go-digest"
)

// reports are what a run has told while its op ran. The vertices of other ops that share
// the run tell it, too, as their own: it is their work as much. Guarded by
// Solver.watching.
type reports struct {
	journal journal
	to      map[*opState]bool // the other ops: there may be very many
	over    bool              // nobody will share the run: nothing more is kept
}

// needReports returns what a call tells of its run.
func (c *callContext) needReports() *reports {
	if r := c.reports.Load(); r != nil {
		return r
	}
	c.reports.CompareAndSwap(nil, &reports{})
	return c.reports.Load()
}

// told are the reports of a run; nil if there are none yet.
func (x *run) told() *reports {
	if x.call == nil {
		return x.readExtra().reports
	}
	if c := x.call.ctx.Load(); c != nil {
		return c.reports.Load()
	}
	return nil
}

// relay has an op tell what a run tells, if that is another op's. Solver.mu is held.
func (s *Solver) relay(x *run, to *opState) {
	if to == x.op {
		return
	}
	r := x.told()
	switch {
	case r == nil && x.call == nil:
		return
	case r == nil:
		r = x.call.context().needReports()
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	if r.to[to] {
		return
	}
	if r.to == nil {
		r.to = map[*opState]bool{}
	}
	r.to[to] = true
	for en := range r.journal.all {
		s.journalise(to, en.about(to.digest))
	}
}

// endRelay ends that an op tells what a run tells, unless a vertex of the op still uses
// the run. Solver.mu is held.
func (s *Solver) endRelay(x *run, to *opState) {
	r := x.told()
	if to == x.op || r == nil {
		return
	}
	for v := range to.vertices.all {
		if v.run == x {
			return
		}
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	delete(r.to, to)
}

// endRelays ends that others tell what a run tells, for good. Solver.mu is held.
func (s *Solver) endRelays(x *run) {
	r := x.told()
	if r == nil && x.call != nil {
		if c := x.call.ctx.Load(); c != nil { // the op may go on telling
			r = c.needReports()
		}
	}
	if r == nil {
		return
	}
	s.watching.Lock()
	defer s.watching.Unlock()
	*r = reports{over: true}
}

// tell keeps what a run reports, and has those who share it report it. What is reported
// when the call is over, and nothing was before, is for the op alone.
// Solver.watching is held.
func (c *callContext) tell(en entry) {
	r := c.reports.Load()
	if r == nil && c.task.Load() != nil {
		r = c.needReports()
	}
	if r == nil || r.over {
		return
	}
	r.journal.add(en)
	for op := range r.to {
		c.s.journalise(op, en.about(op.digest))
	}
}

// about is a report of the same about another vertex.
func (en entry) about(vertex digest.Digest) entry {
	switch {
	case en.log != nil:
		log := *en.log
		log.Vertex = vertex
		en.log = &log
	case en.status != nil:
		status := *en.status
		status.Vertex = vertex
		en.status = &status
	case en.warning != nil:
		warning := *en.warning
		warning.Vertex = vertex
		en.warning = &warning
	}
	return en
}
