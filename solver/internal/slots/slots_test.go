package slots

import (
	"fmt"
	"testing"
)

// harness is a queue whose workers are not started: the test takes tickets itself.
type harness struct{ *Queue }

func newHarness() *harness {
	h := &harness{}
	hired := make(chan struct{})
	h.Queue = New(func() { hired <- struct{}{} })
	go func() {
		for range hired {
		}
	}()
	return h
}

func (h *harness) push(ln *Lane, c *Client, name string) *Ticket {
	t := &Ticket{Work: name, Lane: ln, Weight: 1}
	t.Ready()
	h.Push([]Place{{t, c}}, true)
	return t
}

func (h *harness) next(prev *Ticket) *Ticket {
	t, _ := h.Next(prev, false)
	return t
}

func (h *harness) take(t *testing.T, want string) *Ticket {
	t.Helper()
	got := h.next(nil)
	name := ""
	if got != nil {
		name = got.Work.(string)
	}
	if name != want {
		t.Fatalf("took %q, not %q", name, want)
	}
	return got
}

func (h *harness) hasSlot(t *Ticket) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return t.line != nil
}

// Who has the least running is served next, and what is not in the queue any more is
// left out.
func TestFairness(t *testing.T) {
	h, ln := newHarness(), NewLane(3, false)
	var wide, small Client
	for i := range 4 {
		h.push(ln, &wide, fmt.Sprint("wide ", i))
	}
	first := h.take(t, "wide 0")
	h.take(t, "wide 1")
	gone := h.push(ln, &small, "gone")
	h.push(ln, &small, "small")
	if !h.Forget(gone) {
		t.Error("it was not waiting")
	}
	h.take(t, "small")
	h.take(t, "") // all slots are taken
	if got := h.next(first); got == nil || got.Work != "wide 2" {
		t.Errorf("after a slot was given back: %v", got)
	}
}

// In an elastic lane a client without a slot gets one although all are taken.
func TestElastic(t *testing.T) {
	h, ln := newHarness(), NewLane(1, true)
	var wide, small Client
	h.push(ln, &wide, "wide 0")
	h.push(ln, &wide, "wide 1")
	h.take(t, "wide 0")
	h.take(t, "")
	h.push(ln, &small, "small 0")
	h.push(ln, &small, "small 1")
	h.take(t, "small 0")
	h.take(t, "")
}

// Those who wait in one lane do not wait for all who wait in another.
func TestLanesInTurn(t *testing.T) {
	h, light, ops := newHarness(), NewLane(100, false), NewLane(100, false)
	var c Client
	for i := range 10 {
		h.push(light, &c, fmt.Sprint("light ", i))
	}
	h.push(ops, &c, "op")
	for range 2 {
		if got := h.next(nil); got.Work == "op" {
			return
		}
	}
	t.Error("the op was not among the first two")
}

// A ticket that is left gives its slot back, and Wait waits for it only if it is owed.
func TestAbandon(t *testing.T) {
	h, ln := newHarness(), NewLane(1, false)
	var c Client
	h.push(ln, &c, "stuck")
	h.push(ln, &c, "next")
	stuck := h.take(t, "stuck")
	h.Abandon(stuck, true)
	h.take(t, "next")
	if h.owed != 1 {
		t.Errorf("%d are owed", h.owed)
	}
	if got := h.next(stuck); got != nil {
		t.Errorf("its worker was given %v", got.Work)
	}
	if h.owed != 0 {
		t.Errorf("%d are owed", h.owed)
	}
}

// A call that waits for what it builds has no slot meanwhile, and gets one again.
func TestYield(t *testing.T) {
	h, ln := newHarness(), NewLane(1, false)
	var c Client
	h.push(ln, &c, "outer")
	outer := h.take(t, "outer")
	h.Yield(outer)
	h.push(ln, &c, "inner")
	inner := h.take(t, "inner")
	back := make(chan struct{})
	go func() {
		h.Reclaim(outer, nil)
		close(back)
	}()
	for h.next(inner) != nil || !h.hasSlot(outer) && !waiting(back) {
		inner = nil
	}
	<-back
	if !h.hasSlot(outer) {
		t.Error("it goes on without a slot")
	}
}

func waiting(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
