// Package slots decides which call is made next: it hands tickets to workers, and
// shares the slots of a lane fairly between the clients who wait there.
package slots

import (
	"container/heap"
	"slices"
	"sync"
)

// Work is what a ticket stands for. The package does not look into it.
type Work any

// Ticket is one call that waits for a slot, or has one. Work and Weight are set before
// it is pushed; the rest is the queue's.
type Ticket struct {
	Work   Work
	Lane   *Lane
	Weight int32
	// Owner is the client in whose turn the ticket was taken; set before it is handed
	// out.
	Owner *Client

	line   *line  // whose slot it has; nil without one
	pause  *pause // nil unless it has given its slot back for a while
	queued bool   // it is to be handed out
	over   bool   // its call has returned
	left   bool   // nobody waits for it, and its slot was given back
	owed   bool   // it was left, and counts in Queue.owed
}

// pause is a ticket's time without a slot.
type pause struct {
	waits   int           // for how many things it waits at once
	yielded *line         // whose slot it gave back; nil if it had none
	resumed chan struct{} // the ticket is a place in line for one that goes on
}

// Place is a client in whose line a ticket is to wait. One that waits in the lines of
// several clients is handed out once.
type Place struct {
	Ticket *Ticket
	Client *Client
}

// Lane is a number of slots and who waits for them.
type Lane struct {
	slots, busy int
	// elastic: a client that has no slot gets one, also where all are taken.
	elastic bool
	lines   lines
	listed  bool // in Queue.lanes
}

// NewLane returns a lane. In an elastic one nobody waits for others who hold all slots.
func NewLane(slots int, elastic bool) *Lane { return &Lane{slots: slots, elastic: elastic} }

// Client is who waits. The zero value has priority 1.
type Client struct {
	// Of is what the client is, for whoever takes the ticket.
	Of any

	priority int
	lines    []*line // one a lane that it has waited in
}

// line is what one client has waiting in one lane.
type line struct {
	client  *Client
	lane    *Lane
	tickets []*Ticket
	head    int // tickets[:head] were taken
	busy    int // weight of those that have slots
	served  uint64
	at      int // in Lane.lines; -1 when not there
}

// Queue hands tickets to workers. It is made by New.
type Queue struct {
	// work is what a worker does, in a goroutine of its own: Arrive, then Next for as long
	// as it likes, and Quit.
	work func()

	// mu guards everything below and the fields of lanes, clients, lines and tickets. It
	// is held for a few instructions, never while calling anything.
	mu       sync.Mutex
	lanes    []*Lane // that have lines
	turn     int     // the lane that was served last
	workers  int
	calling  int       // workers that have a ticket
	owed     int       // tickets that were left, and that Wait waits for
	starting int       // workers that have not arrived yet
	idle     sync.Cond // signalled when workers and owed become 0
	serial   uint64    // orders lines that have the same share
}

// New returns a queue whose workers do work.
func New(work func()) *Queue {
	q := &Queue{work: work}
	q.idle.L = &q.mu
	return q
}

// Ready marks a ticket as one to be handed out. Push follows.
func (t *Ticket) Ready() { t.queued = true }

// Push puts tickets into the lines of their clients. Those that were forgotten
// meanwhile are left out. A worker that is about to ask for one passes starts = false.
func (q *Queue) Push(places []Place, starts bool) {
	q.mu.Lock()
	for _, p := range places {
		if p.Ticket.queued {
			q.add(p.Client.line(p.Ticket.Lane), p.Ticket)
		}
	}
	if starts {
		q.start()
	}
	q.mu.Unlock()
}

// Also puts a ticket that may be waiting already into the line of a further client.
func (q *Queue) Also(t *Ticket, c *Client) {
	q.mu.Lock()
	if t.queued {
		q.add(c.line(t.Lane), t)
	}
	q.mu.Unlock()
}

func (c *Client) line(ln *Lane) *line {
	for _, l := range c.lines {
		if l.lane == ln {
			return l
		}
	}
	l := &line{client: c, lane: ln, at: -1}
	c.lines = append(c.lines, l)
	return l
}

func (q *Queue) add(l *line, t *Ticket) {
	l.tickets = append(l.tickets, t)
	if l.at < 0 {
		heap.Push(&l.lane.lines, l)
	}
	if !l.lane.listed {
		l.lane.listed = true
		q.lanes = append(q.lanes, l.lane)
	}
}

// Arrive notes that a worker has started. What was pushed before that, it finds.
func (q *Queue) Arrive() {
	q.mu.Lock()
	q.starting--
	q.mu.Unlock()
}

// Next ends prev, if any, and takes the next ticket; nil if there is none. More says that
// there is something to do that has no ticket: where all other workers have one, another
// is started for it. Stays is false for a worker whose place another one has: it must end
// without Quit.
func (q *Queue) Next(prev *Ticket, more bool) (t *Ticket, stays bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.end(prev) {
		return nil, false
	}
	if t = q.take(); t != nil {
		q.calling++
		if q.start(); more && q.starting == 0 && q.calling == q.workers {
			q.hire()
		}
	}
	return t, true
}

// Quit ends a worker, with the ticket it has, if any.
func (q *Queue) Quit(t *Ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end(t) {
		q.start()
		q.stop()
	}
}

// end ends a worker's ticket, if it has one. It reports whether the worker still has its
// place.
func (q *Queue) end(t *Ticket) bool {
	switch {
	case t == nil:
	case t.left:
		q.paid(t)
		return false
	default:
		q.leave(t)
		t.over = true
		q.calling--
	}
	return true
}

func (q *Queue) stop() {
	q.workers--
	q.rest()
}

func (q *Queue) rest() {
	if q.workers == 0 && q.owed == 0 {
		q.idle.Broadcast()
	}
}

// paid ends a ticket that was left, and whose call has returned.
func (q *Queue) paid(t *Ticket) {
	q.start()
	if t.owed {
		q.owed--
		q.rest()
	}
}

// start starts a worker if there is a ticket for it and none on its way. So there are
// never many more workers than can find work: where they are busy computing, the one on
// its way does not get to run before they are through.
func (q *Queue) start() {
	if q.starting > 0 {
		return
	}
	for i := 0; i < len(q.lanes); i++ {
		if q.lanes[i].peek() != nil {
			q.hire()
			return
		}
	}
}

func (q *Queue) hire() {
	q.workers++
	q.starting++
	go q.work()
}

// Visit starts a worker although there may be no ticket for it: it is to do something
// else that the caller leaves to it.
func (q *Queue) Visit() {
	q.mu.Lock()
	if q.starting == 0 {
		q.hire()
	}
	q.mu.Unlock()
}

// take takes a ticket from the lanes in turn, so that those who wait in one do not wait
// for all who wait in another.
func (q *Queue) take() *Ticket {
	for n := len(q.lanes); n > 0; n-- {
		if q.turn++; q.turn >= len(q.lanes) {
			q.turn = 0
		}
		ln := q.lanes[q.turn]
		for t := ln.peek(); t != nil; t = ln.peek() {
			q.occupy(ln, t)
			if t.pause == nil || t.pause.resumed == nil {
				return t
			}
			close(t.pause.resumed) // the slot is its call's, which goes on in its own goroutine
		}
		if len(ln.lines) == 0 {
			ln.listed = false
			q.lanes = slices.Delete(q.lanes, q.turn, q.turn+1)
			q.turn--
		}
	}
	return nil
}

// occupy takes the ticket that peek returned.
func (q *Queue) occupy(ln *Lane, t *Ticket) {
	l := ln.lines[0]
	l.pop()
	t.queued, t.line, t.Owner = false, l, l.client
	w := ln.weight(t)
	ln.busy += w
	l.busy += w
	q.serial++
	l.served = q.serial
	heap.Fix(&ln.lines, 0)
}

func (ln *Lane) weight(t *Ticket) int { return min(int(t.Weight), ln.slots) }

// leave gives a ticket's slot back.
func (q *Queue) leave(t *Ticket) {
	if t.line == nil {
		return
	}
	w := t.Lane.weight(t)
	t.Lane.busy -= w
	t.line.busy -= w
	if t.line.at >= 0 {
		heap.Fix(&t.Lane.lines, t.line.at)
	}
	t.line = nil
}

// Yield gives the slot of a ticket back while its call waits for something. It may
// wait for several things at once: the slot comes back with the last of them.
func (q *Queue) Yield(t *Ticket) {
	q.mu.Lock()
	if t.pause == nil {
		t.pause = &pause{}
	}
	t.pause.waits++
	q.giveWay(t)
	q.mu.Unlock()
}

func (q *Queue) giveWay(t *Ticket) {
	if t.line != nil {
		t.pause.yielded = t.line
		q.leave(t)
		q.start()
	}
}

// Reclaim waits in line for a slot for t again. If done is closed first, the call goes
// on without one.
func (q *Queue) Reclaim(t *Ticket, done <-chan struct{}) {
	q.mu.Lock()
	p := t.pause
	p.waits--
	l := p.yielded
	if p.waits > 0 || l == nil || t.over || t.left {
		q.mu.Unlock()
		return
	}
	p.yielded = nil
	resumed := make(chan struct{})
	r := &Ticket{Lane: t.Lane, Weight: t.Weight, pause: &pause{resumed: resumed}, queued: true}
	q.add(l, r)
	q.start()
	q.mu.Unlock()
	select {
	case <-resumed:
	case <-done:
	}
	q.mu.Lock()
	r.queued = false
	t.line = r.line // nil if it did not get one
	switch {
	case (t.over || t.left) && t.line != nil: // the call has left this goroutine behind
		q.leave(t)
		q.start()
	case p.waits > 0: // the call has begun to wait for something else
		q.giveWay(t)
	}
	q.mu.Unlock()
}

// maxPriority keeps the comparison of shares within an int.
const maxPriority = 1 << 20

// SetPriority says how large a client's share of the slots is, relative to others.
func (q *Queue) SetPriority(c *Client, priority int) {
	q.mu.Lock()
	c.priority = min(max(1, priority), maxPriority)
	q.mu.Unlock()
}

// Forget takes a ticket out that need not be handed out any more, and reports whether it
// was still waiting.
func (q *Queue) Forget(t *Ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := t.queued
	t.queued = false
	return waiting
}

// Abandon gives the slot of a ticket back, whose call nobody waits for any more and which
// may never return. Its worker stops when it does. Wait waits for that if it is owed.
func (q *Queue) Abandon(t *Ticket, owed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.queued || t.over || t.left {
		return
	}
	t.left, t.owed = true, owed
	if owed {
		q.owed++
	}
	q.leave(t)
	q.calling--
	q.start()
	q.stop()
}

// Wait blocks until no worker is left, but for those with abandoned tickets that are not
// owed.
func (q *Queue) Wait() {
	q.mu.Lock()
	for q.workers > 0 || q.owed > 0 {
		q.idle.Wait()
	}
	q.mu.Unlock()
}

// peek returns the ticket to be taken next, which fits into the slots; nil if none.
func (ln *Lane) peek() *Ticket {
	for len(ln.lines) > 0 {
		l := ln.lines[0]
		for l.head < len(l.tickets) && !l.tickets[l.head].queued {
			l.pop()
		}
		if l.head == len(l.tickets) {
			heap.Pop(&ln.lines)
			continue
		}
		t := l.tickets[l.head]
		if ln.busy+ln.weight(t) > ln.slots && !(ln.elastic && l.busy == 0) {
			return nil
		}
		return t
	}
	return nil
}

func (l *line) pop() {
	l.tickets[l.head] = nil
	if l.head++; l.head == len(l.tickets) {
		l.tickets, l.head = l.tickets[:0], 0
	}
}

// lines orders by what the clients have running for their priority.
type lines []*line

func (h lines) Len() int { return len(h) }
func (h lines) Less(i, j int) bool {
	a, b := h[i], h[j]
	if x, y := a.busy*b.client.share(), b.busy*a.client.share(); x != y {
		return x < y
	}
	return a.served < b.served
}
func (h lines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *lines) Push(x any) {
	l := x.(*line)
	l.at = len(*h)
	*h = append(*h, l)
}
func (h *lines) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	l.at = -1
	*h = old[:len(old)-1]
	return l
}

func (c *Client) share() int { return max(1, c.priority) }
