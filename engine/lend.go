package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/buildkit/identity"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/solver"
)

// sessionWait is how long a build waits for a session that it names: clients connect it
// and ask for the build at the same time.
const sessionWait = 10 * time.Second

// Sessions are those that builds can name (Request.SessionID). Who adds one says when it
// is gone; builds that use it then fail where they need it.
func (e *Engine) Sessions() *session.Sessions { return e.sessions }

// lent makes x the session of a build; if that is nil, it waits for the one of the ID. It
// is alive until remove is called, or until whoever added it removes it.
func (e *Engine) lent(ctx context.Context, x session.Session, id string) (_ session.Session, remove func(), err error) {
	if x == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, sessionWait, fmt.Errorf("it did not connect within %v", sessionWait))
		defer cancel()
		x, err = e.sessions.Wait(ctx, id)
		return x, func() {}, err
	}
	if remove, err = e.sessions.Add(x); err != nil {
		remove = func() {}
	}
	return x, remove, err
}

// newJob makes the job of a build whose caller is a session, or will be.
func (e *Engine) newJob(id, caller string) (*solver.Job, error) {
	job, err := e.solver.NewJob(id)
	if err == nil {
		job.SessionID = session.OfBuild(caller, identity.NewID())
	}
	return job, err
}
