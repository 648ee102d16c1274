// Package control is BuildKit's control API over an engine: what buildctl, buildx and
// their kind ask a daemon for. Each call is translated, and decided by the engine.
package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/util/grpcerrors"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // clients send what only this decodes fast
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/tracing"
)

// Options are what a Server works with.
type Options struct {
	// Engine builds. It is the caller's, who closes it when the server has stopped.
	Engine *engine.Engine
	// History keeps records of builds.
	History *history.Store
	// Traces get the spans of builds and of clients; nil for none. They are the caller's, who
	// closes them when the server has stopped.
	Traces *tracing.Sender
	// Version is what clients are told of the daemon.
	Version *apitypes.BuildkitVersion
	// Notice is told what went wrong that is nobody's request's fault, if it is not nil.
	Notice func(text string)
}

// Server serves the API.
type Server struct {
	controlapi.UnimplementedControlServer
	opt       Options
	forwarder *gateway.Forwarder
	answers   answers
	// stopping ends by Cancel.
	stopping context.Context
	cancel   context.CancelFunc
	ending   chan struct{} // closed by End
	end      func()
}

var _ controlapi.ControlServer = (*Server)(nil)

// New makes a Server.
func New(opt Options) *Server {
	s := &Server{opt: opt, forwarder: gateway.NewForwarder(sender), ending: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.ending) })
	s.stopping, s.cancel = context.WithCancel(context.Background())
	return s
}

// Cancel cancels the builds that are under way, and those that come. Their clients are told
// that it is the daemon that stops.
func (s *Server) Cancel() { s.cancel() }

// errStopping is what a build fails with that Cancel has canceled.
var errStopping = grpcerrors.WrapCode(errors.New("the daemon is stopping, and has canceled this build"), codes.Aborted)

// untilCancel is ctx until Cancel is called. The function that is returned has to be called.
func (s *Server) untilCancel(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.stopping, func() { cancel(errStopping) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// End tells the server that it is to stop: who listens to the history, for as long as he likes,
// is not waited for.
func (s *Server) End() { s.end() }

// Register adds the control API, the gateway API, the content of records, the service for
// spans and gRPC's health to a server that GRPCOptions are for.
func (s *Server) Register(to grpc.ServiceRegistrar) {
	controlapi.RegisterControlServer(to, s)
	s.forwarder.Register(to)
	s.registerContent(to)
	tracev1.RegisterTraceServiceServer(to, &traces{s: s})
	grpc_health_v1.RegisterHealthServer(to, health.NewServer())
}

// GRPCOptions are those of a server that the API is registered with.
func (s *Server) GRPCOptions() []grpc.ServerOption {
	return append(gateway.Recovering(s.opt.Notice),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize))
}

// Info tells which version this is.
func (s *Server) Info(context.Context, *controlapi.InfoRequest) (*controlapi.InfoResponse, error) {
	return &controlapi.InfoResponse{BuildkitVersion: s.opt.Version}, nil
}

// timestampHeader is when a stream began by the daemon's clock: clients reckon with the
// difference.
const timestampHeader = "buildkit-current-timestamp"

func sendTime(stream grpc.ServerStream) error {
	return stream.SendHeader(metadata.Pairs(timestampHeader, time.Now().Format(time.RFC3339Nano)))
}
