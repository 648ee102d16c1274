package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// Sessions are those that are alive. A session may serve many builds, one after the other
// or at the same time, and may outlive them.
type Sessions struct {
	// Patience is how long a session may take to answer until others are asked, too: see
	// Ask. 0: 3 seconds. It is set before anything else.
	Patience time.Duration

	mu    sync.Mutex // guards what follows
	byID  map[string]*member
	added chan struct{} // closed when a session is added; nil while nobody waits
}

// member is a session that was added, once or more.
type member struct {
	Session
	times   int
	silence int // see ask.go
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
// is alive. ErrNotFound if none of them has a session. What takes an answer of a client's is
// for Ask: the client may not answer.
func (s *Sessions) Of(ctx context.Context) (Session, error) {
	if alive := s.of(ctx, ""); len(alive) > 0 {
		return alive[0], nil
	}
	id := sessionOf(solver.SessionID(ctx))
	if id == "" {
		return nil, fmt.Errorf("no session: %w", ErrNotFound)
	}
	return s.Get(id)
}

// of returns the session of an ID, and then those of the builds that ctx works for; each
// once, if it is alive.
func (s *Sessions) of(ctx context.Context, first string) []Session {
	ids := append([]string{first}, solver.SessionIDs(ctx)...)
	s.mu.Lock()
	defer s.mu.Unlock()
	var alive []Session
	for _, id := range ids {
		if m := s.byID[sessionOf(id)]; m != nil && !slices.Contains(alive, m.Session) {
			alive = append(alive, m.Session)
		}
	}
	return alive
}

// sessionOf is the session of what OfBuild has made.
func sessionOf(build string) string {
	id, _, _ := strings.Cut(build, buildMark)
	return id
}

// has says whether a session is alive.
func (s *Sessions) has(x Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.byID[x.ID()]
	return m != nil && m.Session == x
}

func (s *Sessions) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return defaultPatience
}
