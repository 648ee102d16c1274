package control_test

import (
	"context"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tenonbuild/tenon/engine/tracing"
	"github.com/tenonbuild/tenon/internal/check"
)

// collector is one of OpenTelemetry's, which hands on what it gets.
type collector struct {
	tracev1.UnimplementedTraceServiceServer
	got chan []*tracepb.ResourceSpans
}

func (c *collector) Export(_ context.Context, req *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	c.got <- req.ResourceSpans
	return &tracev1.ExportTraceServiceResponse{}, nil
}

// next are the spans of the next batch, by name, and what they say of the process.
func (c *collector) next(t *testing.T) (spans map[string]*tracepb.Span, about string) {
	t.Helper()
	spans = map[string]*tracepb.Span{}
	for _, r := range <-c.got {
		about += r.Resource.String()
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				spans[s.Name] = s
			}
		}
	}
	return spans, about
}

// startTraced starts a daemon with a collector of its own.
func startTraced(t *testing.T) (*daemon, *collector) {
	t.Helper()
	c := &collector{got: make(chan []*tracepb.ResourceSpans, 10)}
	s := grpc.NewServer()
	tracev1.RegisterTraceServiceServer(s, c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check.OK(t, err)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "site=here")
	traces, err := tracing.FromEnv(t.Context(), "tenond", func(text string) { t.Error(text) })
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, traces.Close()) })
	return startWith(t, traces), c
}

const (
	callerTrace = "0af7651916cd43dd8448eb211c80319c"
	callerSpan  = "b7ad6b7169203331"
)

// Builds have spans, below those of the client that says which they are.
func TestTraces(t *testing.T) {
	d, c := startTraced(t)
	build := func(flags, file string) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+callerTrace+"-"+callerSpan+"-"+flags)
		def, err := llb.Scratch().File(llb.Mkfile(file, 0o644, nil), llb.WithCustomName("step")).Marshal(ctx)
		check.OK(t, err)
		_, err = d.Solve(ctx, def, bkclient.SolveOpt{}, nil)
		return err
	}
	check.OK(t, build("00", "/none")) // the client has decided that this one is not traced
	check.OK(t, build("01", "/f"))
	spans, about := c.next(t)
	for _, want := range []string{"tenond", "site"} {
		if !strings.Contains(about, want) {
			t.Errorf("%s is not in %s", want, about)
		}
	}
	root, step := spans["build"], spans["step"]
	if root == nil || step == nil {
		t.Fatalf("the spans are %v", spans)
	}
	check.Equal(t, "trace", hex.EncodeToString(root.TraceId), callerTrace)
	check.Equal(t, "parent", hex.EncodeToString(root.ParentSpanId), callerSpan)
	check.Equal(t, "trace of the step", hex.EncodeToString(step.TraceId), callerTrace)
	check.Equal(t, "parent of the step", string(step.ParentSpanId), string(root.SpanId))
	if root.StartTimeUnixNano > step.StartTimeUnixNano || step.EndTimeUnixNano < step.StartTimeUnixNano || root.EndTimeUnixNano < step.EndTimeUnixNano {
		t.Errorf("the times are %v and %v", root, step)
	}
	check.Says(t, build("01", "/no/f"), "/no")
	spans, _ = c.next(t)
	for _, name := range []string{"build", "step"} {
		if spans[name].GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("the span %s has the status %v", name, spans[name].GetStatus())
		}
	}
}

// What clients trace goes to the daemon's collector, as it is, and nowhere without one.
func TestTracesOfClients(t *testing.T) {
	for _, with := range []bool{true, false} {
		var d *daemon
		var c *collector
		if with {
			d, c = startTraced(t)
		} else {
			d = start(t)
		}
		conn, err := grpc.NewClient(d.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		check.OK(t, err)
		svc := tracev1.NewTraceServiceClient(conn)
		for _, req := range []*tracev1.ExportTraceServiceRequest{{}, {ResourceSpans: []*tracepb.ResourceSpans{{
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: "the client's"}}}},
		}}}} {
			resp, err := svc.Export(t.Context(), req)
			check.OK(t, err)
			check.Equal(t, "dropped", resp.GetPartialSuccess().GetRejectedSpans(), int64(0))
		}
		if with {
			if spans, _ := c.next(t); spans["the client's"] == nil {
				t.Errorf("the collector got %v", spans)
			}
		}
		check.OK(t, conn.Close())
	}
}
