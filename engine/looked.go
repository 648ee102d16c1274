package engine

import (
	"sync"

	"github.com/tenonbuild/tenon/engine/frontend"
)

// looked is what builds may look at of another: they do not find it gone.
type looked struct {
	mu     sync.Mutex // guards what follows
	top    *frontend.Client
	guests int
	left   chan struct{} // is closed when the last guest has left, once somebody waits
}

// open lets others look at a client, until close.
func (l *looked) open(top *frontend.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.top = top
}

// close waits for those who look.
func (l *looked) close() {
	l.mu.Lock()
	l.top = nil
	var left chan struct{}
	if l.guests > 0 {
		left = make(chan struct{})
		l.left = left
	}
	l.mu.Unlock()
	if left != nil {
		<-left
	}
}

// look calls f with the client of the build's frontend, unless the build has ended. The
// build does not end before f returns.
func (b *build) look(f func(top *frontend.Client)) {
	l := &b.looked
	l.mu.Lock()
	top := l.top
	if top != nil {
		l.guests++
	}
	l.mu.Unlock()
	if top == nil {
		return
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.guests--; l.guests == 0 && l.left != nil {
			close(l.left)
		}
	}()
	f(top)
}
