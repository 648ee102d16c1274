package control

import (
	"context"
	"fmt"

	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
)

// traces takes the spans of clients, which have no collector of their own, for the daemon's.
// Where it has none, they are dropped: a client does not ask before.
type traces struct {
	tracev1.UnimplementedTraceServiceServer
	s *Server
}

// Export implements tracev1.TraceServiceServer.
func (t *traces) Export(_ context.Context, req *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	resp := &tracev1.ExportTraceServiceResponse{}
	if n := t.s.opt.Traces.Send(req.GetResourceSpans()); n > 0 {
		resp.PartialSuccess = &tracev1.ExportTracePartialSuccess{
			RejectedSpans: int64(n), ErrorMessage: fmt.Sprintf("%d spans were dropped: the daemon's collector does not keep up", n),
		}
	}
	return resp, nil
}
