package progress

import (
	"iter"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"google.golang.org/protobuf/proto"
)

// Clients take messages of up to 16 MiB.
const (
	// maxPart is how many bytes a message has that is about several things.
	maxPart = 1 << 20
	// maxItem is how many bytes it has that is about one.
	maxItem = 8 << 20
)

// Messages are what happened, as messages that clients take, however much happened before
// somebody asked.
func Messages(st *bkclient.SolveStatus) iter.Seq[*controlapi.StatusResponse] {
	return func(yield func(*controlapi.StatusResponse) bool) {
		// Marshal repeats warnings where it cuts logs.
		first, second := *st, bkclient.SolveStatus{Warnings: st.Warnings}
		first.Warnings = nil
		all := first.Marshal()
		if len(st.Warnings) > 0 {
			all = append(all, second.Marshal()...)
		}
		for _, m := range all {
			for part := range Parts(m) {
				if !yield(part) {
					return
				}
			}
		}
	}
}

// Parts are a message, in several if it is too large for clients. What is too large alone is
// without its sources, and then cut.
func Parts(m *controlapi.StatusResponse) iter.Seq[*controlapi.StatusResponse] {
	return func(yield func(*controlapi.StatusResponse) bool) {
		if proto.Size(m) <= maxPart {
			yield(m)
			return
		}
		p := parts{yield: yield, m: &controlapi.StatusResponse{}}
		for _, v := range m.Vertexes {
			v = fitVertex(v)
			p.room(v)
			p.m.Vertexes = append(p.m.Vertexes, v)
		}
		for _, s := range m.Statuses {
			p.room(s)
			p.m.Statuses = append(p.m.Statuses, s)
		}
		for _, l := range m.Logs {
			for l := range cutLog(l) {
				p.room(l)
				p.m.Logs = append(p.m.Logs, l)
			}
		}
		for _, w := range m.Warnings {
			w = fitWarning(w)
			p.room(w)
			p.m.Warnings = append(p.m.Warnings, w)
		}
		p.flush()
	}
}

// parts are made one after the other.
type parts struct {
	yield   func(*controlapi.StatusResponse) bool
	m       *controlapi.StatusResponse
	size    int
	stopped bool
}

// room has the part begin anew if it has no room for one more.
func (p *parts) room(one proto.Message) {
	size := proto.Size(one) + 8 // its tag and its length
	if p.size > 0 && p.size+size > maxPart {
		p.flush()
	}
	p.size += size
}

func (p *parts) flush() {
	p.stopped = p.stopped || !p.yield(p.m)
	p.m, p.size = &controlapi.StatusResponse{}, 0
}

func fitVertex(v *controlapi.Vertex) *controlapi.Vertex {
	if proto.Size(v) <= maxItem {
		return v
	}
	v = proto.CloneOf(v)
	v.Inputs = nil
	v.Error = strings.ToValidUTF8(v.Error[:min(len(v.Error), maxItem/2)], "\uFFFD")
	return v
}

func fitWarning(w *controlapi.VertexWarning) *controlapi.VertexWarning {
	if proto.Size(w) <= maxItem {
		return w
	}
	fit := &controlapi.VertexWarning{Vertex: w.Vertex, Level: w.Level, Short: w.Short, Detail: w.Detail, Url: w.Url}
	if proto.Size(fit) > maxItem {
		fit.Short, fit.Detail = w.Short[:min(len(w.Short), maxItem/2)], nil
		fit.Url = ""
	}
	return fit
}

// cutLog are pieces of what was logged.
func cutLog(l *controlapi.VertexLog) iter.Seq[*controlapi.VertexLog] {
	return func(yield func(*controlapi.VertexLog) bool) {
		for len(l.Msg) > maxPart {
			piece := &controlapi.VertexLog{Vertex: l.Vertex, Timestamp: l.Timestamp, Stream: l.Stream, Msg: l.Msg[:maxPart]}
			if !yield(piece) {
				return
			}
			l = &controlapi.VertexLog{Vertex: l.Vertex, Timestamp: l.Timestamp, Stream: l.Stream, Msg: l.Msg[maxPart:]}
		}
		yield(l)
	}
}
