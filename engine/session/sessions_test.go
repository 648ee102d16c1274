package session_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver"
)

// A session serves many builds, and is known until the last of those who added it has
// removed it.
func TestSessionOfManyBuilds(t *testing.T) {
	var all session.Sessions
	x := session.Empty("x")
	one, err := all.Add(x)
	check.OK(t, err)
	two, err := all.Add(x)
	check.OK(t, err)
	if _, err := all.Add(&other{session.Empty("x")}); err == nil {
		t.Error("another session has the same ID")
	}
	if _, err := all.Add(session.Empty("")); err == nil {
		t.Error("a session without an ID was added")
	}
	one()
	one()
	if got, err := all.Get("x"); err != nil || got != x {
		t.Errorf("removed once: %v, %v", got, err)
	}
	two()
	if _, err := all.Get("x"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
}

type other struct{ session.Session }

// A session may be named before it is there.
func TestWaitForSession(t *testing.T) {
	var all session.Sessions
	x := session.Empty("x")
	done := make(chan error)
	go func() {
		got, err := all.Wait(t.Context(), "x")
		if err == nil && got != x {
			err = errors.New("another session")
		}
		done <- err
	}()
	_, err := all.Add(session.Empty("y"))
	check.OK(t, err)
	_, err = all.Add(x)
	check.OK(t, err)
	check.OK(t, <-done)

	late := errors.New("too late")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(late)
	if _, err := all.Wait(ctx, "z"); !errors.Is(err, session.ErrNotFound) || !errors.Is(err, late) {
		t.Errorf("one that does not come: %v", err)
	}
}

// A build finds its caller's session, and by no name that a client could give.
func TestOfBuild(t *testing.T) {
	var all session.Sessions
	x := session.Empty("x")
	remove, err := all.Add(x)
	check.OK(t, err)
	s := solver.NewSolver(solver.SolverOpt{})
	defer s.Close()
	job, err := s.NewJob("job")
	check.OK(t, err)
	job.SessionID = session.OfBuild("x", "build")
	ctx := job.Context(t.Context())
	got, err := all.Of(ctx)
	check.OK(t, err)
	check.Equal(t, "session", got, x)
	if _, err := all.Get("build"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a session by its build: %v", err)
	}
	remove()
	if _, err := all.Of(ctx); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a session that is gone: %v", err)
	}
	check.OK(t, job.Discard())
}
