package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver/client"
)

// buildWait is how long Status waits for a build: clients ask for both at the same time.
const buildWait = 5 * time.Second

// builds are those under way, by ID.
type builds struct {
	mu    sync.Mutex // guards what follows
	byID  map[string]*build
	added chan struct{} // closed when a build is added; nil while nobody waits
}

// add makes a build known until remove is called. Its ID is that of its job, which no
// other has.
func (l *builds) add(id string, b *build) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = map[string]*build{}
	}
	l.byID[id] = b
	if l.added != nil {
		close(l.added)
		l.added = nil
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.byID, id)
	}
}

// wait returns a build, or one that comes before ctx ends or refused is closed.
func (l *builds) wait(ctx context.Context, id string, refused <-chan struct{}) (*build, error) {
	for {
		l.mu.Lock()
		b := l.byID[id]
		if l.added == nil {
			l.added = make(chan struct{})
		}
		added := l.added
		l.mu.Unlock()
		if b != nil {
			return b, nil
		}
		select {
		case <-added:
		case <-refused:
			return nil, &UnknownBuildError{ID: id}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// which are the builds that a condition holds for.
func (l *builds) which(holds func(*build) bool) (all []*build) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.byID {
		if holds(b) {
			all = append(all, b)
		}
	}
	return all
}

// UnknownBuildError says that no build of an ID is under way.
type UnknownBuildError struct{ ID string }

func (e *UnknownBuildError) Error() string { return fmt.Sprintf("no such build: %q", e.ID) }

// Status sends what happens in a build, beginning with all that has happened, until it
// ends or ctx does; then it closes to. Many may listen; one that does not read delays
// nobody. It waits a few seconds for a build that is about to begin, but not when refused is
// closed, and returns an *UnknownBuildError if none does.
func (e *Engine) Status(ctx context.Context, id string, refused <-chan struct{}, to chan<- *client.SolveStatus) error {
	defer close(to)
	unknown := &UnknownBuildError{ID: id}
	waiting, cancel := context.WithTimeoutCause(ctx, buildWait, unknown)
	b, err := e.builds.wait(waiting, id, refused)
	cancel()
	if err != nil {
		return err
	}
	b.watching.Do(func() { close(b.watched) })
	return b.stream(ctx, to)
}

// awaitStatus waits for somebody to ask for the status, as long as the request says.
func (b *build) awaitStatus(ctx context.Context) {
	left := b.req.AwaitStatus - time.Since(b.begun)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-b.watched:
	case <-timer.C:
	case <-ctx.Done():
	}
}
