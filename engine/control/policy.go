package control

import (
	"context"
	"fmt"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"google.golang.org/grpc"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/remote"
)

// verifier asks a session of the client's about sources.
type verifier struct {
	sessions *session.Sessions
	session  string
	client   string
}

// verifier is what decides about the sources of a build, if the client wants to.
func (s *Server) verifier(client string, req *controlapi.SolveRequest) policysession.PolicyVerifierClient {
	if req.SourcePolicySession == "" {
		return nil
	}
	return &verifier{sessions: s.opt.Engine.Sessions(), session: req.SourcePolicySession, client: client}
}

// verifierWait is how long a source waits for the session to connect.
const verifierWait = 10 * time.Second

// CheckPolicy implements policysession.PolicyVerifierClient.
func (v *verifier) CheckPolicy(ctx context.Context, req *policysession.CheckPolicyRequest, _ ...grpc.CallOption) (*policysession.CheckPolicyResponse, error) {
	waiting, cancel := context.WithTimeout(ctx, verifierWait)
	defer cancel()
	x, err := v.sessions.Wait(waiting, v.session)
	if err != nil {
		return nil, fmt.Errorf("the client that decides about sources: %w", err)
	}
	r, ok := x.(*remote.Session)
	if !ok {
		return nil, fmt.Errorf("session %s decides about no sources", v.session)
	}
	if r.Client() != v.client {
		return nil, &engine.ForeignSessionError{ID: v.session}
	}
	return r.CheckPolicy(ctx, req)
}
