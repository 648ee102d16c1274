package solver

import (
	"container/heap"
	"runtime"
	"sync"
)

// lane separates what waits for a slot: ops that run have slots of their own, so
// that a build which only asks caches does not wait for another's long ops.
type lane uint8

const (
	lightLane lane = iota // CacheMap, look-ups, loads, digests, saves
	opLane                // Exec
	lanes
)

// DefaultParallelism is how many slots there are for running ops unless
// SolverOpt.Parallelism says otherwise: enough to keep ops busy that wait for
// disks and networks.
func DefaultParallelism() int { return max(64, 8*runtime.GOMAXPROCS(0)) }

// queue hands tasks to workers. Each lane serves the job that has the least
// running, by its priority, so that a wide job does not starve a small one. A
// task that several jobs want stands in the line of each and is taken once.
type queue struct {
	// work is what a worker does, in a goroutine of its own.
	work func()

	// mu guards everything below, and the fields of lines and tasks that say so.
	// It is held for a few instructions, never while calling anything.
	mu       sync.Mutex
	lanes    [lanes]laneState
	workers  int
	starting int       // workers that have not arrived yet
	idle     sync.Cond // signalled when workers becomes 0
	serial   uint64    // orders lines that have the same share
}

type laneState struct {
	slots, busy int
	lines       lineHeap
}

// line is what one job has waiting in one lane. Guarded by queue.mu.
type line struct {
	job      *Job
	tasks    []*task
	head     int // tasks[:head] have been taken
	busy     int // weight of the job's running tasks
	priority int // at least 1
	served   uint64
	pos      int // in the heap; -1 when not there
}

func (q *queue) init(slots int, work func()) {
	q.work = work
	q.idle.L = &q.mu
	q.lanes[opLane].slots = slots
	q.lanes[lightLane].slots = slots
}

// push puts tasks into their jobs' lines. A worker that is about to ask for a
// task passes starts = false.
func (q *queue) push(places []place, starts bool) {
	q.mu.Lock()
	for _, p := range places {
		if p.t.queued {
			q.add(p.l, p.t)
		}
	}
	if starts {
		q.start()
	}
	q.mu.Unlock()
}

// pushAlso puts a task that may be waiting already into a further line.
func (q *queue) pushAlso(t *task, l *line) {
	q.mu.Lock()
	if t.queued {
		q.add(l, t)
	}
	q.mu.Unlock()
}

func (q *queue) add(l *line, t *task) {
	l.tasks = append(l.tasks, t)
	if l.pos < 0 {
		heap.Push(&q.lanes[t.lane].lines, l)
	}
}

// next ends prev, if any, and takes the next task. Without one the worker must
// stop.
func (q *queue) next(prev *task) *task {
	q.mu.Lock()
	defer q.mu.Unlock()
	if prev != nil {
		q.leave(prev)
		prev.over = true
	}
	t := q.take()
	if t == nil {
		q.workers--
		if q.workers == 0 {
			q.idle.Broadcast()
		}
		return nil
	}
	q.start()
	return t
}

// start starts a worker if there is a task for it and none on its way. So there
// are never many more workers than can find work: where they are busy computing,
// the one on its way does not get to run before they are through.
func (q *queue) start() {
	if q.starting > 0 {
		return
	}
	for i := range q.lanes {
		if q.lanes[i].peek() != nil {
			q.hire()
			return
		}
	}
}

func (q *queue) hire() {
	q.workers++
	q.starting++
	go q.work()
}

// arrive notes that a worker is there. What is put down for it before that, it
// finds; for what comes later another may have to be started.
func (q *queue) arrive() {
	q.mu.Lock()
	q.starting--
	q.mu.Unlock()
}

// visit starts a worker to take back what was run, which the caller leaves to it.
func (q *queue) visit() {
	q.mu.Lock()
	if q.starting == 0 {
		q.hire()
	}
	q.mu.Unlock()
}

func (q *queue) take() *task {
	for i := range q.lanes {
		ln := &q.lanes[i]
		for {
			t := ln.peek()
			if t == nil {
				break
			}
			q.occupy(ln, t)
			if t.pause == nil || t.pause.resumed == nil {
				return t
			}
			close(t.pause.resumed) // the slot is its op's, which goes on in its own goroutine
		}
	}
	return nil
}

// occupy takes the task that peek returned.
func (q *queue) occupy(ln *laneState, t *task) {
	l := ln.lines[0]
	l.pop()
	t.queued, t.line, t.owner = false, l, l.job
	w := min(int(t.weight), ln.slots)
	ln.busy += w
	l.busy += w
	q.serial++
	l.served = q.serial
	heap.Fix(&ln.lines, 0)
}

// leave gives a task's slot back.
func (q *queue) leave(t *task) {
	if t.line == nil {
		return
	}
	ln := &q.lanes[t.lane]
	w := min(int(t.weight), ln.slots)
	ln.busy -= w
	t.line.busy -= w
	if t.line.pos >= 0 {
		heap.Fix(&ln.lines, t.line.pos)
	}
	t.line = nil
}

// yield gives the slot of a running task back while its op waits for what it
// builds. The op may build several things at once: the slot comes back with the
// last of them.
func (q *queue) yield(t *task) {
	q.mu.Lock()
	if t.pause == nil {
		t.pause = &pause{}
	}
	t.pause.builds++
	q.giveWay(t)
	q.mu.Unlock()
}

func (q *queue) giveWay(t *task) {
	if t.line != nil {
		t.pause.yielded = t.line
		q.leave(t)
		q.start()
	}
}

// reclaim waits in line for a slot for t again. If done is closed first, the
// task goes on without one.
func (q *queue) reclaim(t *task, done <-chan struct{}) {
	q.mu.Lock()
	p := t.pause
	p.builds--
	l := p.yielded
	if p.builds > 0 || l == nil || t.over {
		q.mu.Unlock()
		return
	}
	p.yielded = nil
	resumed := make(chan struct{})
	r := &task{lane: t.lane, weight: t.weight, pause: &pause{resumed: resumed}, queued: true}
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
	case t.over && t.line != nil: // the op has left this goroutine behind
		q.leave(t)
		q.start()
	case p.builds > 0: // the op has begun to build something else meanwhile
		q.giveWay(t)
	}
	q.mu.Unlock()
}

// maxPriority keeps the comparison of shares within an int.
const maxPriority = 1 << 20

// setPriority takes a job's priority over.
func (q *queue) setPriority(j *Job) {
	q.mu.Lock()
	for i := range j.lines {
		j.lines[i].priority = min(max(1, j.Priority), maxPriority)
	}
	q.mu.Unlock()
}

// forget takes a task out that need not run any more, and reports whether it
// was still waiting.
func (q *queue) forget(t *task) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := t.queued
	t.queued = false
	return waiting
}

// wait blocks until no worker is left.
func (q *queue) wait() {
	q.mu.Lock()
	for q.workers > 0 {
		q.idle.Wait()
	}
	q.mu.Unlock()
}

// peek returns the task to be taken next, which fits into the slots; nil if none.
func (ln *laneState) peek() *task {
	for len(ln.lines) > 0 {
		l := ln.lines[0]
		for l.head < len(l.tasks) && !l.tasks[l.head].queued {
			l.pop()
		}
		if l.head == len(l.tasks) {
			heap.Pop(&ln.lines)
			continue
		}
		t := l.tasks[l.head]
		if ln.busy+min(int(t.weight), ln.slots) > ln.slots {
			return nil
		}
		return t
	}
	return nil
}

func (l *line) pop() {
	l.tasks[l.head] = nil
	if l.head++; l.head == len(l.tasks) {
		l.tasks, l.head = l.tasks[:0], 0
	}
}

// lineHeap orders the lines by what their jobs have running for their priority.
type lineHeap []*line

func (h lineHeap) Len() int { return len(h) }
func (h lineHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if x, y := a.busy*b.priority, b.busy*a.priority; x != y {
		return x < y
	}
	return a.served < b.served
}
func (h lineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *lineHeap) Push(x any) {
	l := x.(*line)
	l.pos = len(*h)
	*h = append(*h, l)
}
func (h *lineHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	l.pos = -1
	*h = old[:len(old)-1]
	return l
}
