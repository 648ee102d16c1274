package serve

import (
	"context"

	bksession "github.com/moby/buildkit/session"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tenonbuild/tenon/engine/session"
)

// registerSigning serves it for a session that signs.
func registerSigning(g *grpc.Server, s session.CacheSigner) {
	sign := func(ctx context.Context, statement *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
		sig, err := s.SignCache(ctx, fromMetadata(ctx, session.CacheSigningKey), statement.GetValue())
		return wrapperspb.Bytes(sig), refused(err)
	}
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: session.CacheSigning,
		HandlerType: (*session.CacheSigner)(nil),
		Methods: []grpc.MethodDesc{{MethodName: session.CacheSigningMethod, Handler: func(_ any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.BytesValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			if through == nil {
				return sign(ctx, in)
			}
			return through(ctx, in, &grpc.UnaryServerInfo{Server: s, FullMethod: bksession.MethodURL(session.CacheSigning, session.CacheSigningMethod)}, func(ctx context.Context, in any) (any, error) {
				return sign(ctx, in.(*wrapperspb.BytesValue))
			})
		}}},
	}, s)
}
