package gateway

import (
	"context"
	"errors"

	"github.com/moby/buildkit/client/buildid"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/util/registrar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Forwarder serves the API for many builds: a header of each call (buildid) says which
// one is meant. A call waits a few seconds for a build that is about to begin.
type Forwarder struct {
	bridges *registrar.Registrar[string, driven]
	sender  func(ctx context.Context) string
}

// driven is a build that its client drives.
type driven struct {
	*Bridge
	client string
}

// NewForwarder makes a Forwarder. Sender names whom a call comes from, as far as that is known.
func NewForwarder(sender func(ctx context.Context) string) *Forwarder {
	return &Forwarder{bridges: registrar.New[string, driven](), sender: sender}
}

// Frontend is a frontend whose work the client of a build does, and nobody else: it ends when
// that calls Return, or with ctx. After that, while the client can still ask about them, then is told
// the names of the result's references, if it is not nil.
func (f *Forwarder) Frontend(build, client string, then func(ctx context.Context, res *gwclient.Result, refs []string) error) gwclient.BuildFunc {
	return func(ctx context.Context, c gwclient.Client) (_ *gwclient.Result, err error) {
		own, ok := c.(Client)
		if !ok {
			return nil, errors.New("the frontend's client cannot be lent to another process")
		}
		b := New(own)
		defer func() { err = errors.Join(err, b.Close(ctx)) }()
		f.bridges.Register(build, driven{b, client})
		defer f.bridges.Discard(build)
		res, err := b.Returned(ctx)
		if err == nil && then != nil {
			err = then(ctx, res, b.names(res))
		}
		return res, err
	}
}

// names gives the references of a result names.
func (b *Bridge) names(res *gwclient.Result) (all []string) {
	_ = res.EachRef(func(ref gwclient.Reference) error {
		if ref != nil {
			all = append(all, b.keep(ref).Id)
		}
		return nil
	})
	return all
}

// Register serves the API.
func (f *Forwarder) Register(s grpc.ServiceRegistrar) { s.RegisterService(&forwarding, f) }

// forwarding is the API's service, each of whose calls goes to the bridge that it is for.
var forwarding = forwarded(gwpb.LLBBridge_ServiceDesc)

func forwarded(desc grpc.ServiceDesc) grpc.ServiceDesc {
	desc.HandlerType = (*any)(nil)
	methods := make([]grpc.MethodDesc, 0, len(desc.Methods))
	for _, m := range desc.Methods {
		handle := m.Handler
		m.Handler = func(srv any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			b, err := srv.(*Forwarder).bridge(ctx)
			if err != nil {
				return nil, err
			}
			return handle(b, ctx, dec, i)
		}
		methods = append(methods, m)
	}
	streams := make([]grpc.StreamDesc, 0, len(desc.Streams))
	for _, s := range desc.Streams {
		handle := s.Handler
		s.Handler = func(srv any, stream grpc.ServerStream) error {
			b, err := srv.(*Forwarder).bridge(stream.Context())
			if err != nil {
				return err
			}
			return handle(b, stream)
		}
		streams = append(streams, s)
	}
	desc.Methods, desc.Streams = methods, streams
	return desc
}

// bridge is the one that a call is for.
func (f *Forwarder) bridge(ctx context.Context) (*Bridge, error) {
	id := buildid.FromIncomingContext(ctx)
	if id == "" {
		return nil, status.Error(codes.InvalidArgument, "no buildid found in context")
	}
	b, err := f.bridges.Get(ctx, id)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil, grpcerrors.ToGRPC(ctx, errdefs.NewUnknownJobError(id))
	}
	if err == nil && b.client != f.sender(ctx) {
		return nil, status.Errorf(codes.PermissionDenied, "build %q is another client's", id)
	}
	return b.Bridge, err
}
