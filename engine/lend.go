package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc/codes"

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
func (e *Engine) lent(ctx context.Context, x session.Session, id, client string) (_ session.Session, remove func(), err error) {
	if x == nil {
		ctx, cancel := context.WithTimeoutCause(ctx, sessionWait, fmt.Errorf("it did not connect within %v", sessionWait))
		defer cancel()
		if x, err = e.sessions.Wait(ctx, id); err == nil {
			err = owned(x, client)
		}
		return x, func() {}, err
	}
	if remove, err = e.sessions.Add(x); err != nil {
		remove = func() {}
	}
	return x, remove, err
}

// ForeignSessionError says that a build names a session which another client lends.
type ForeignSessionError struct{ ID string }

func (e *ForeignSessionError) Error() string {
	return fmt.Sprintf("session %q is another client's: a build uses those of its own client", e.ID)
}

// Code is what the error is for gRPC.
func (*ForeignSessionError) Code() codes.Code { return codes.PermissionDenied }

// owned refuses a session that is another client's.
func owned(x session.Session, client string) error {
	if o, ok := x.(session.Owned); ok && o.Client() != client {
		return &ForeignSessionError{x.ID()}
	}
	return nil
}

// mayRead refuses a source of the session of another client. One that is not there is told of
// when it is read.
func (b *build) mayRead(op *pb.SourceOp) error {
	for _, key := range []string{pb.AttrLocalSessionID, pb.AttrOCILayoutSessionID} {
		if err := b.mayUse(op.GetAttrs()[key]); err != nil {
			return fmt.Errorf("source %s: %w", op.GetIdentifier(), err)
		}
	}
	return nil
}

func (b *build) mayUse(session string) error {
	x, err := b.engine.sessions.Get(session)
	if err != nil {
		return nil
	}
	return owned(x, b.req.Client)
}

// newJob makes the job of a build whose caller is a session, or will be.
func (e *Engine) newJob(id, caller string) (*solver.Job, error) {
	job, err := e.solver.NewJob(id)
	if err == nil {
		job.SessionID = session.OfBuild(caller, identity.NewID())
	}
	return job, err
}
