package remotecache

import (
	"context"
	"sync"
)

// mailbox is a list that many fill and one empties. Nobody who fills it waits. It is made by
// newMailbox.
type mailbox[T any] struct {
	news chan struct{} // has one when there is something new

	mu     sync.Mutex // guards what follows
	list   []T
	closed bool
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{news: make(chan struct{}, 1)} }

// put adds to the list.
func (m *mailbox[T]) put(all ...T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, all...)
	m.ring()
}

// close has take give what is left, and then end.
func (m *mailbox[T]) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.ring()
}

// ring has take look. The caller has mu.
func (m *mailbox[T]) ring() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// take takes all that is there, and waits where that is nothing. More is false when nothing
// will come, or when ctx has ended.
func (m *mailbox[T]) take(ctx context.Context) (all []T, more bool) {
	for {
		m.mu.Lock()
		all, m.list = m.list, nil
		closed := m.closed
		m.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return all, false
		case len(all) > 0:
			return all, true
		case closed:
			return nil, false
		}
		select {
		case <-m.news:
		case <-ctx.Done():
		}
	}
}
