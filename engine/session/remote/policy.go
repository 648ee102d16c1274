package remote

import (
	"context"

	"github.com/moby/buildkit/sourcepolicy/policysession"
)

// CheckPolicy has the caller decide about a source.
func (s *Session) CheckPolicy(ctx context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
	return policysession.NewPolicyVerifierClient(s.caller.Conn()).CheckPolicy(s.caller.Context(ctx), req)
}
