package history

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
)

const mediaTypeTrace = "application/vnd.buildkit.otlp.json.v0"

// span is a span of a trace as clients of BuildKit read it: as OpenTelemetry's SDK for Go
// writes one.
type span struct {
	Name               string
	SpanContext        spanContext
	Parent             spanContext
	SpanKind           int
	StartTime, EndTime time.Time
	Attributes         []attribute
	Status             spanStatus
	ChildSpanCount     int
	Resource           []attribute
}

type spanContext struct {
	TraceID, SpanID, TraceFlags string
}

type attribute struct {
	Key   string
	Value struct{ Type, Value string }
}

type spanStatus struct {
	Code        string
	Description string
}

const spanInternal = 1

func text(key, value string) attribute {
	a := attribute{Key: key}
	a.Value.Type, a.Value.Value = "STRING", value
	return a
}

func outcomeOf(err string) spanStatus {
	if err != "" {
		return spanStatus{Code: "Error", Description: err}
	}
	return spanStatus{Code: "Unset"}
}

// trace writes the trace of a build: a span of itself, and below it one of each step that
// took time.
func (r *Recording) trace(rec *controlapi.BuildHistoryRecord) (*controlapi.Descriptor, error) {
	id := sha256.Sum256([]byte(rec.Ref + rec.CreatedAt.AsTime().String()))
	traceID := hex.EncodeToString(id[:16])
	contextOf := func(name string) spanContext {
		sum := sha256.Sum256([]byte(traceID + name))
		return spanContext{TraceID: traceID, SpanID: hex.EncodeToString(sum[:8]), TraceFlags: "01"}
	}
	resource := []attribute{text("service.name", "tenond")}
	root := span{
		Name: "build", SpanContext: contextOf(""), Parent: spanContext{hex.EncodeToString(make([]byte, 16)), hex.EncodeToString(make([]byte, 8)), "00"},
		SpanKind: spanInternal, StartTime: rec.CreatedAt.AsTime(), EndTime: rec.CompletedAt.AsTime(),
		Attributes: []attribute{text("ref", rec.Ref), text("frontend", rec.Frontend)}, Status: outcomeOf(rec.GetError().GetMessage()), Resource: resource,
	}
	var steps []span
	for vertex, st := range r.steps {
		if st.started.IsZero() || st.ended.IsZero() {
			continue
		}
		steps = append(steps, span{
			Name: st.name, SpanContext: contextOf(vertex), Parent: root.SpanContext, SpanKind: spanInternal,
			StartTime: st.started, EndTime: st.ended, Attributes: []attribute{text("vertex", vertex)}, Status: outcomeOf(st.err), Resource: resource,
		})
	}
	slices.SortFunc(steps, func(a, b span) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), cmp.Compare(a.SpanContext.SpanID, b.SpanContext.SpanID))
	})
	root.ChildSpanCount = len(steps)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, s := range append([]span{root}, steps...) {
		if err := enc.Encode(s); err != nil {
			return nil, err
		}
	}
	if err := r.spend(int64(out.Len())); err != nil {
		return nil, err
	}
	return r.write(out.Bytes(), mediaTypeTrace)
}
