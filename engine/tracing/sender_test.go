package tracing

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tenonbuild/tenon/internal/check"
)

// fake is a collector whose answer is a function's.
type fake func(ctx context.Context, spans []*tracepb.ResourceSpans) error

func (fake) Start(context.Context) error { return nil }
func (fake) Stop(context.Context) error  { return nil }
func (f fake) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	return f(ctx, spans)
}

func batch(size int) []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: strings.Repeat("x", size)}}}}}}
}

// A collector that never answers is not waited for: what does not fit is dropped, and said.
func TestCollectorHangs(t *testing.T) {
	for _, size := range []int{1, 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			var said []string
			s := newSender(fake(func(ctx context.Context, _ []*tracepb.ResourceSpans) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}), nil, func(text string) { said = append(said, text) })
			sent := 0
			for s.Send(batch(size)) == 0 {
				if sent++; sent > 2*maxBatches {
					t.Fatal("it takes all that is sent")
				}
			}
			check.OK(t, s.Close())
			check.Equal(t, "notices", len(said), 1)
			check.Equal(t, "dropped after the end", s.Send(batch(size)), 1)
			check.OK(t, s.Close())
		})
	}
}

// One that fails for a time is said once, and how much was lost then.
func TestCollectorFails(t *testing.T) {
	var said []string
	fails := true
	synctest.Test(t, func(t *testing.T) {
		s := newSender(fake(func(context.Context, []*tracepb.ResourceSpans) error {
			if fails {
				return errors.New("out of order")
			}
			return nil
		}), nil, func(text string) { said = append(said, text) })
		for range 3 {
			check.Equal(t, "dropped", s.Send(batch(1)), 0)
			synctest.Wait()
		}
		fails = false
		check.Equal(t, "dropped", s.Send(batch(1)), 0)
		check.OK(t, s.Close())
	})
	if len(said) != 2 || !strings.Contains(said[0], "out of order") || !strings.Contains(said[1], "3 spans were dropped") {
		t.Errorf("it says %q", said)
	}
}

func TestFromEnv(t *testing.T) {
	for _, c := range []struct {
		name, value string
		is          bool
		says        string
	}{
		{"OTEL_TRACES_EXPORTER", "", false, ""},
		{"OTEL_TRACES_EXPORTER", "none", false, ""},
		{"OTEL_TRACES_EXPORTER", "otlp", true, ""},
		{"OTEL_TRACES_EXPORTER", "jaeger", false, "it can be otlp or none"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1", true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1", true, ""},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			s, err := FromEnv(t.Context(), "test", func(string) {})
			if c.says != "" {
				check.Says(t, err, c.says)
				return
			}
			check.OK(t, err)
			check.Equal(t, "a sender", s != nil, c.is)
			check.OK(t, s.Close())
		})
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	_, err := FromEnv(t.Context(), "test", nil)
	check.Says(t, err, "http/protobuf")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	s, err := FromEnv(t.Context(), "test", nil)
	check.OK(t, err)
	check.Equal(t, "a sender", s == nil, true)
}
