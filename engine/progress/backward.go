package progress

import (
	"strings"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/solver/client"
)

// FromBuildKit makes the solver's message of one of BuildKit's, which a daemon has sent. How
// a step has ended is read from the marks that a Converter leaves; of a daemon that has left
// none it is what the message implies.
func FromBuildKit(st *bkclient.SolveStatus) *client.SolveStatus {
	out := &client.SolveStatus{}
	shared := map[string]bool{}
	for _, s := range st.Statuses {
		if s == nil {
			continue
		}
		if s.ID == wordShared {
			shared[string(s.Vertex)] = true
			continue // a Converter says it again
		}
		if s.ID == wordNotNeeded {
			continue
		}
		out.Statuses = append(out.Statuses, &client.VertexStatus{
			ID: s.ID, Vertex: s.Vertex, Name: s.Name, Total: s.Total, Current: s.Current,
			Timestamp: s.Timestamp, Started: s.Started, Completed: s.Completed,
		})
	}
	for _, v := range st.Vertexes {
		if v == nil {
			continue
		}
		c := &client.Vertex{
			Digest: v.Digest, Inputs: v.Inputs, Name: v.Name, Started: v.Started, Completed: v.Completed,
			Cached: v.Cached, Error: v.Error, Outcome: outcomeOf(v, shared[string(v.Digest)]),
		}
		if g := v.ProgressGroup; g != nil && c.Outcome != client.NotNeeded {
			c.ProgressGroup = &client.ProgressGroup{ID: g.Id, Name: g.Name, Weak: g.Weak}
		}
		out.Vertexes = append(out.Vertexes, c)
	}
	for _, l := range st.Logs {
		if l != nil {
			out.Logs = append(out.Logs, &client.VertexLog{Vertex: l.Vertex, Stream: l.Stream, Data: l.Data, Timestamp: l.Timestamp})
		}
	}
	for _, w := range st.Warnings {
		if w != nil {
			out.Warnings = append(out.Warnings, fromWarning(w))
		}
	}
	return out
}

// outcomeOf is how a vertex has ended; "" if it has not.
func outcomeOf(v *bkclient.Vertex, shared bool) client.Outcome {
	switch {
	case v.ProgressGroup.GetId() == hidden.Id:
		return client.NotNeeded
	case v.Completed == nil:
		return ""
	case strings.HasSuffix(v.Error, "context canceled"):
		return client.Canceled
	case v.Error != "":
		return client.Failed
	case shared:
		return client.Shared
	case v.Cached:
		return client.Cached
	}
	return client.Executed
}

func fromWarning(w *bkclient.VertexWarning) *client.VertexWarning {
	out := &client.VertexWarning{Vertex: w.Vertex, Level: w.Level, Short: w.Short, Detail: w.Detail, URL: w.URL}
	if in := w.SourceInfo; in != nil {
		out.SourceInfo = &client.SourceInfo{Filename: in.Filename, Data: in.Data, Language: in.Language}
	}
	for _, r := range w.Range {
		if r != nil {
			out.Range = append(out.Range, &client.Range{Start: fromPosition(r.Start), End: fromPosition(r.End)})
		}
	}
	return out
}

func fromPosition(p *pb.Position) client.Position {
	return client.Position{Line: p.GetLine(), Character: p.GetCharacter()}
}
