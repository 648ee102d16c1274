package history_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/internal/check"
)

// A record has a trace: a span of the build, and below it one of each step that took time.
func TestTrace(t *testing.T) {
	s := open(t, t.TempDir(), history.DefaultLimits)
	r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: "build"})
	check.OK(t, err)
	at := func(n int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(n, 0)) }
	check.OK(t, r.Log(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{
		{Digest: "b", Name: "second", Started: at(2)}, {Digest: "a", Name: "first", Started: at(1)}, {Digest: "c", Name: "cached", Cached: true},
	}}))
	check.OK(t, r.Log(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{
		{Digest: "b", Name: "second", Started: at(2), Completed: at(5), Error: "it broke"}, {Digest: "a", Name: "first", Started: at(1), Completed: at(3)},
	}}))
	check.OK(t, r.End(nil, errors.New("it broke")))

	type spanContext struct{ TraceID, SpanID string }
	type span struct {
		Name                string
		SpanContext, Parent spanContext
		StartTime, EndTime  time.Time
		Status              struct{ Code, Description string }
	}
	var spans []span
	dec := json.NewDecoder(bytes.NewReader(blob(t, s, list(t, s, &controlapi.BuildHistoryRequest{})["build"].Trace)))
	for dec.More() {
		spans = append(spans, span{})
		check.OK(t, dec.Decode(&spans[len(spans)-1]))
	}
	check.Equal(t, "spans", len(spans), 3)
	root := spans[0]
	check.Equal(t, "build", root.Name+" "+root.Status.Description, "build it broke")
	for n, want := range []string{"first  Unset", "second it broke Error"} {
		st := spans[n+1]
		check.Equal(t, "step", st.Name+" "+st.Status.Description+" "+st.Status.Code, want)
		check.Equal(t, "below the build", st.Parent, root.SpanContext)
		check.Equal(t, "an ID of its own", st.SpanContext.SpanID != root.SpanContext.SpanID && len(st.SpanContext.SpanID) == 16, true)
	}
	check.Equal(t, "time", spans[2].EndTime.Sub(spans[2].StartTime), 3*time.Second)
}
