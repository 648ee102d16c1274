package tracing

import (
	"context"
	"crypto/rand"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"
)

// maxSteps is how many steps of a build have a span.
const maxSteps = 10000

// Build is the trace of a build under way: a span of its own, and below it one of each step
// that took time. It is for one goroutine. A nil Build traces nothing.
type Build struct {
	to    *Sender
	root  *tracepb.Span
	steps map[string]*tracepb.Span // by the vertex's digest
}

// Begin begins the trace of a build that a request asks for. If the request says so, the trace
// is one that the client has begun; the client may also have decided that there is none.
func (s *Sender) Begin(ctx context.Context, name string, attrs map[string]string) *Build {
	if s == nil {
		return nil
	}
	root := &tracepb.Span{
		Name: name, SpanId: random(8), Kind: tracepb.Span_SPAN_KIND_SERVER, StartTimeUnixNano: now(),
	}
	for k, v := range attrs {
		root.Attributes = append(root.Attributes, text(k, v))
	}
	md, _ := metadata.FromIncomingContext(ctx)
	caller := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier(md)))
	switch {
	case !caller.IsValid():
		root.TraceId = random(16)
	case !caller.IsSampled():
		return nil
	default:
		traceID, spanID := caller.TraceID(), caller.SpanID()
		root.TraceId, root.ParentSpanId, root.TraceState = traceID[:], spanID[:], caller.TraceState().String()
	}
	return &Build{to: s, root: root, steps: map[string]*tracepb.Span{}}
}

// See notes what a message says of steps.
func (b *Build) See(m *controlapi.StatusResponse) {
	if b == nil {
		return
	}
	for _, v := range m.Vertexes {
		if v.Started == nil {
			continue
		}
		step := b.steps[v.Digest]
		if step == nil {
			if len(b.steps) == maxSteps {
				continue
			}
			step = &tracepb.Span{
				TraceId: b.root.TraceId, SpanId: random(8), ParentSpanId: b.root.SpanId, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
				StartTimeUnixNano: uint64(v.Started.AsTime().UnixNano()), Attributes: []*commonpb.KeyValue{text("vertex", v.Digest)},
			}
			b.steps[v.Digest] = step
		}
		step.Name = v.Name
		if v.Completed != nil {
			step.EndTimeUnixNano, step.Status = uint64(v.Completed.AsTime().UnixNano()), statusOf(v.Error)
		}
	}
}

// End ends the trace, with the error that the build failed with, and sends it.
func (b *Build) End(failed error) {
	if b == nil {
		return
	}
	b.root.EndTimeUnixNano = now()
	if failed != nil {
		b.root.Status = statusOf(failed.Error())
	}
	spans := []*tracepb.Span{b.root}
	for _, step := range b.steps {
		if step.EndTimeUnixNano != 0 {
			spans = append(spans, step)
		}
	}
	b.to.Send([]*tracepb.ResourceSpans{{
		Resource:   b.to.about,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "github.com/tenonbuild/tenon"}, Spans: spans}},
	}})
}

func statusOf(err string) *tracepb.Status {
	if err == "" {
		return nil
	}
	return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: err}
}

func now() uint64 { return uint64(time.Now().UnixNano()) }

func random(n int) []byte {
	id := make([]byte, n)
	_, _ = rand.Read(id) // it does not fail
	return id
}

// carrier reads a request's metadata.
type carrier metadata.MD

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string {
	if v := metadata.MD(c).Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set implements propagation.TextMapCarrier: nothing is sent.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() (all []string) {
	for k := range c {
		all = append(all, k)
	}
	return all
}
