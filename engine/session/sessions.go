package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tenonbuild/tenon/solver"
)

// Sessions are those that are alive. A session may serve many builds, one after the other
// or at the same time, and may outlive them.
type Sessions struct {
	mu    sync.Mutex // guards what follows
	byID  map[string]*member
	added chan struct{} // closed when a session is added; nil while nobody waits
}

// member is a session that was added, once or more.
type member struct {
	Session
	times int
}

// Add makes a session known until remove is called. A session may be added again: then
// it is known until the last remove. The ID of another one is an error.
func (s *Sessions) Add(x Session) (remove func(), err error) {
	id := x.ID()
	if id == "" {
		return nil, errors.New("session without an ID")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.byID[id]
	if m == nil {
		m = &member{Session: x}
		if s.byID == nil {
			s.byID = map[string]*member{}
		}
		s.byID[id] = m
	}
	if m.Session != x {
		return nil, fmt.Errorf("session %s is there already", id)
	}
	m.times++
	if s.added != nil {
		close(s.added)
		s.added = nil
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.times--; m.times == 0 {
			delete(s.byID, id)
		}
	}), nil
}

// Get returns a session by its ID. ErrNotFound if it is not, or no longer, there. Who
// knows an ID may use the session: IDs that others should not guess are random.
func (s *Sessions) Get(id string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(id)
}

// Len is how many sessions are known.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

func (s *Sessions) get(id string) (Session, error) {
	m, ok := s.byID[id]
	if !ok {
		return nil, fmt.Errorf("session %q: %w", id, ErrNotFound)
	}
	return m.Session, nil
}

// Wait is Get for a session that may not have been added yet: it waits until ctx ends,
// and then returns an error that wraps ErrNotFound and the cause of that.
func (s *Sessions) Wait(ctx context.Context, id string) (Session, error) {
	for {
		s.mu.Lock()
		x, err := s.get(id)
		if s.added == nil {
			s.added = make(chan struct{})
		}
		added := s.added
		s.mu.Unlock()
		if err == nil {
			return x, nil
		}
		select {
		case <-added:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
	}
}

// OfBuild is what a build whose caller is a session has as its job's session ID (see
// solver.Job): Of finds the session by it, and what is to be done once a build is
// remembered by it. No two builds have the same build.
func OfBuild(id, build string) string { return id + buildMark + build }

// buildMark is in no ID that comes over a wire.
const buildMark = "\x00"

// Of returns a session of one of the builds that ctx works for. For work that
// several builds share, call it again when the session goes away: it finds one that
// is alive. ErrNotFound if none of them has a session.
func (s *Sessions) Of(ctx context.Context) (Session, error) {
	id, _, _ := strings.Cut(solver.SessionID(ctx), buildMark)
	if id == "" {
		return nil, fmt.Errorf("no session: %w", ErrNotFound)
	}
	return s.Get(id)
}
