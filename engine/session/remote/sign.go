package remote

import (
	"context"
	"fmt"

	bksession "github.com/moby/buildkit/session"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tenonbuild/tenon/engine/session"
)

// SignCache implements session.CacheSigner. BuildKit's own clients do not sign.
func (s *Session) SignCache(ctx context.Context, key string, statement []byte) ([]byte, error) {
	method := bksession.MethodURL(session.CacheSigning, session.CacheSigningMethod)
	if !s.caller.Supports(method) {
		return nil, fmt.Errorf("the client does not sign caches, as tenon build does: %w", session.ErrNotFound)
	}
	out := &wrapperspb.BytesValue{}
	ctx = metadata.AppendToOutgoingContext(s.caller.Context(ctx), session.CacheSigningKey, key)
	err := s.caller.Conn().Invoke(ctx, method, wrapperspb.Bytes(statement), out)
	return out.GetValue(), told(err)
}
