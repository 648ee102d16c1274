// Package sessiontest is for tests: a client that does not answer.
package sessiontest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/solver"
)

// Stalled is a client that is there, takes every question, and answers none. The question
// ends with its context.
type Stalled struct {
	id string
	// Asked has a question, as long as there is room.
	Asked chan struct{}
}

var _ session.Session = (*Stalled)(nil)

// New makes one.
func New(id string) *Stalled { return &Stalled{id: id, Asked: make(chan struct{}, 1)} }

// ID implements session.Session.
func (s *Stalled) ID() string { return s.id }

func (s *Stalled) stall(ctx context.Context) error {
	select {
	case s.Asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// Dir implements session.Session.
func (s *Stalled) Dir(ctx context.Context, _ string) (session.Dir, error) {
	return session.Dir{}, s.stall(ctx)
}

// Secret implements session.Session.
func (s *Stalled) Secret(ctx context.Context, _ string) ([]byte, error) { return nil, s.stall(ctx) }

// SSH implements session.Session.
func (s *Stalled) SSH(ctx context.Context, _ string) (net.Conn, error) { return nil, s.stall(ctx) }

// Credentials implements session.Session.
func (s *Stalled) Credentials(ctx context.Context, _, _ string) (session.Credentials, error) {
	return session.Credentials{}, s.stall(ctx)
}

// Layout implements session.Session.
func (s *Stalled) Layout(ctx context.Context, _ string) (content.Store, error) {
	return nil, s.stall(ctx)
}

// Beside adds a stalled client to sessions, and returns the context of work that a build of
// it shares with that of ctx. The stalled client is asked first, and others are asked soon.
func Beside(ctx context.Context, t testing.TB, all *session.Sessions) (context.Context, *Stalled) {
	t.Helper()
	all.Patience = time.Millisecond
	x := New("stalled")
	remove, err := all.Add(x)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	s := solver.NewSolver(solver.SolverOpt{})
	t.Cleanup(s.Close)
	job, err := s.NewJob("stalled")
	if err != nil {
		t.Fatal(err)
	}
	job.SessionID = session.OfBuild(x.id, "build")
	return Together(job.Context(ctx), ctx), x
}

// Together is the context of work that builds share, which are asked in this order.
func Together(first context.Context, others ...context.Context) context.Context {
	return solver.WithCallers(first, func() []context.Context { return others })
}
