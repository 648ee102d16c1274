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

// of returns the lock of a name, which whoever puts something into it has.
func (l *locks) of(name string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	ch, ok := l.held[name]
	if !ok {
		ch = make(chan struct{}, 1)
		l.held[name] = ch
	}
	return ch
}

// lock waits for a name until ctx ends.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	ch := l.of(name)
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// tryLock takes a name if nobody has it.
func (l *locks) tryLock(name string) (unlock func(), ok bool) {
	ch := l.of(name)
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, true
	default:
		return nil, false
	}
}

// taken says whether somebody has a name.
func (l *locks) taken(name string) bool { return len(l.of(name)) > 0 }
