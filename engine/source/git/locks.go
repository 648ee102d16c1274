package git

import (
	"context"
	"sync"
)

// locks are locks by name, of which there are as many as remotes.
type locks struct {
	mu   sync.Mutex // guards held
	held map[string]chan struct{}
}

// lock waits for a name until ctx ends.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	ch, ok := l.held[name]
	if !ok {
		ch = make(chan struct{}, 1)
		l.held[name] = ch
	}
	l.mu.Unlock()
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
