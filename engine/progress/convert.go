package progress

import (
	"maps"
	"slices"
	"strings"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver/client"
)

// What is said of a step that neither ran for this build nor came from a cache. The
// equal step is one of this build or of another.
const (
	wordShared    = "shared with an equal step"
	wordNotNeeded = "not needed"
)

// hidden is the group of steps that are not to be shown. BuildKit's display leaves
// out, and does not count, a group of which nothing has started.
var hidden = &pb.ProgressGroup{Id: "tenon: not needed", Name: wordNotNeeded, Weak: true}

// Converter makes BuildKit's status messages of the solver's. It is for one
// stream, in order, and one goroutine.
type Converter struct {
	// Begin is when the build began, or zero: what other builds did before is shown
	// as of then.
	Begin time.Time
	// InName says in a step's name what became of it, for a display that shows the
	// last name of each step. Otherwise a status of the step says it.
	InName bool

	steps map[digest.Digest]*step
}

// step is what has been shown of a vertex.
type step struct {
	vertex client.Vertex // as the solver last told it
	// looking is since when the step reports something that had not started then: a
	// source that finds out what it is. Nil if it does not, or that is over.
	looking *time.Time
	open    map[string]*client.VertexStatus // statuses that have not completed, as last told
	// again is since when a step that had ended is at work once more; nil if it is not.
	again *time.Time
	// shown: it has been shown as something that began. looked: and as done with what it
	// looked up.
	shown, looked bool
}

// Convert makes one message. It may be empty, but is never nil.
func (c *Converter) Convert(st *client.SolveStatus) *bkclient.SolveStatus {
	out := &bkclient.SolveStatus{}
	for _, v := range st.Vertexes {
		if v != nil {
			c.vertex(out, v)
		}
	}
	for _, s := range st.Statuses {
		if s != nil {
			c.status(out, s)
		}
	}
	for _, l := range st.Logs {
		if l == nil {
			continue
		}
		c.look(out, l.Vertex, l.Timestamp)
		out.Logs = append(out.Logs, &bkclient.VertexLog{Vertex: l.Vertex, Stream: l.Stream, Data: l.Data, Timestamp: l.Timestamp})
	}
	for _, w := range st.Warnings {
		if w != nil {
			out.Warnings = append(out.Warnings, warning(w))
		}
	}
	return out
}

func (c *Converter) step(d digest.Digest) *step {
	s, ok := c.steps[d]
	if !ok {
		if c.steps == nil {
			c.steps = map[digest.Digest]*step{}
		}
		s = &step{open: map[string]*client.VertexStatus{}}
		c.steps[d] = s
	}
	return s
}

func (c *Converter) vertex(out *bkclient.SolveStatus, v *client.Vertex) {
	s := c.step(v.Digest)
	s.vertex = *v
	b := c.plain(v)
	switch v.Outcome {
	case "":
		if s.looking != nil {
			if b.Started == nil {
				return // it is shown as looking: leave it so
			}
			b.Started = s.looking // the display closes what began at the same time
		}
	case client.NotNeeded, client.Canceled:
		if !c.ended(out, s, b) {
			return
		}
	default:
		if s.looked && v.Outcome == client.Cached && !IsStep(v.Name) {
			return // nobody has written it, and it was shown
		}
		if s.looking != nil {
			b.Started = s.looking
		}
		if b.Started == nil {
			b.Started = b.Completed
		}
		s.looking = nil
		if v.Outcome == client.Shared {
			c.say(out, b, wordShared)
		}
	}
	s.shown = s.shown || b.Started != nil
	out.Vertexes = append(out.Vertexes, b)
	if v.Outcome != "" {
		c.closeAll(out, s, b.Completed)
	}
}

// closeAll ends the statuses of a step that has ended: the display does not say how a
// step ended before they have.
func (c *Converter) closeAll(out *bkclient.SolveStatus, s *step, at *time.Time) {
	if at == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		st := *s.open[id]
		st.Completed, st.Timestamp = at, *at
		delete(s.open, id)
		out.Statuses = append(out.Statuses, shownStatus(&st))
	}
}

// shownStatus is a status as the display takes it: it shows none that has not started.
func shownStatus(st *client.VertexStatus) *bkclient.VertexStatus {
	started := st.Started
	if started == nil {
		started = &st.Timestamp
	}
	return &bkclient.VertexStatus{
		ID: printable(st.ID), Vertex: st.Vertex, Name: printable(st.Name), Total: st.Total, Current: st.Current,
		Timestamp: st.Timestamp, Started: started, Completed: st.Completed,
	}
}

// ended says how a vertex ended that has no result for this job. It reports
// whether there is something to show of it.
func (c *Converter) ended(out *bkclient.SolveStatus, s *step, b *bkclient.Vertex) bool {
	if s.looking != nil {
		b.Started = s.looking
		s.looking = nil
	}
	switch {
	case b.Started == nil && s.shown:
		// It has been shown as done with what it looked up: that is all it did.
		return false
	case b.Started == nil:
		b.Completed, b.ProgressGroup = nil, hidden
	case s.vertex.Outcome == client.NotNeeded:
		c.say(out, b, wordNotNeeded)
	default: // the display knows it by these words; what else was said is of another step
		b.Error = "context canceled"
	}
	return true
}

// plain is a vertex as BuildKit knows it, with nothing added.
func (c *Converter) plain(v *client.Vertex) *bkclient.Vertex {
	b := &bkclient.Vertex{
		Digest: v.Digest, Inputs: v.Inputs, Name: printable(v.Name),
		Started: c.since(v.Started), Completed: c.since(v.Completed),
		Cached: v.Outcome == client.Cached,
		// The name stands beside it, wherever it is shown.
		Error: strings.TrimPrefix(v.Error, v.Name+": "),
	}
	if g := v.ProgressGroup; g != nil {
		b.ProgressGroup = &pb.ProgressGroup{Id: g.ID, Name: printable(g.Name), Weak: g.Weak}
	}
	return b
}

func (c *Converter) since(t *time.Time) *time.Time {
	if t == nil || !t.Before(c.Begin) {
		return t
	}
	begin := c.Begin
	return &begin
}

// say adds a word to a step that has ended.
func (c *Converter) say(out *bkclient.SolveStatus, b *bkclient.Vertex, word string) {
	if c.InName {
		b.Name += " (" + word + ")"
		return
	}
	st := &bkclient.VertexStatus{ID: word, Vertex: b.Digest, Started: b.Completed, Completed: b.Completed}
	if b.Completed != nil {
		st.Timestamp = *b.Completed
	}
	out.Statuses = append(out.Statuses, st)
}

func (c *Converter) status(out *bkclient.SolveStatus, st *client.VertexStatus) {
	s := c.look(out, st.Vertex, st.Timestamp)
	end := s.vertex.Completed
	switch ended := end != nil && s.vertex.Outcome != ""; {
	case !ended:
	case s.again != nil || st.Started != nil && st.Started.After(*end):
		c.reopen(out, s, st)
		return
	case st.Completed == nil:
		// It was told with the end of its step, or after.
		closed := *st
		closed.Completed = end
		st = &closed
	}
	if st.Completed == nil {
		s.open[st.ID] = st
	} else {
		delete(s.open, st.ID)
	}
	out.Statuses = append(out.Statuses, shownStatus(st))
	if s.looking != nil && s.vertex.Started == nil && len(s.open) == 0 && !readAtOnce(s.vertex.Name) {
		b := c.plain(&s.vertex)
		b.Started, b.Completed = s.looking, st.Completed
		s.looking, s.looked = nil, true
		out.Vertexes = append(out.Vertexes, b)
	}
}

// readAtOnce says of a source that a frontend reads it as soon as it is known what it is. So
// it is shown once, from the beginning to the end of both.
func readAtOnce(name string) bool {
	return strings.HasPrefix(name, "[internal] load build definition") || strings.HasPrefix(name, "[internal] load .dockerignore")
}

// reopen shows a step that has ended at work again: what it stands for is fetched when
// somebody needs it.
func (c *Converter) reopen(out *bkclient.SolveStatus, s *step, st *client.VertexStatus) {
	if s.again == nil {
		s.again = st.Started
	}
	b := c.plain(&s.vertex)
	b.Started, b.Completed, b.Cached = s.again, nil, false
	if st.Completed == nil {
		s.open[st.ID] = st
	} else {
		delete(s.open, st.ID)
	}
	if len(s.open) == 0 {
		b.Completed = st.Completed
		s.again = nil
	}
	out.Vertexes = append(out.Vertexes, b)
	out.Statuses = append(out.Statuses, shownStatus(st))
}

// look shows a vertex as begun that reports something before the solver has
// started it.
func (c *Converter) look(out *bkclient.SolveStatus, d digest.Digest, at time.Time) *step {
	s := c.step(d)
	if s.looking != nil || s.vertex.Digest == "" || s.vertex.Started != nil || s.vertex.Outcome != "" {
		return s
	}
	s.looking, s.shown = &at, true
	b := c.plain(&s.vertex)
	b.Started = &at
	out.Vertexes = append(out.Vertexes, b)
	return s
}

func warning(w *client.VertexWarning) *bkclient.VertexWarning {
	out := &bkclient.VertexWarning{Vertex: w.Vertex, Level: w.Level, Short: w.Short, Detail: w.Detail, URL: w.URL}
	if in := w.SourceInfo; in != nil {
		out.SourceInfo = &pb.SourceInfo{Filename: in.Filename, Data: in.Data, Language: in.Language}
	}
	for _, r := range w.Range {
		if r != nil {
			out.Range = append(out.Range, &pb.Range{Start: position(r.Start), End: position(r.End)})
		}
	}
	return out
}

func position(p client.Position) *pb.Position {
	return &pb.Position{Line: p.Line, Character: p.Character}
}

// printable makes a name fit for a line of a terminal: names come from
// definitions, and could otherwise move the cursor, or fill the screen.
func printable(name string) string {
	return boundedLine(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unseen(r) {
			return ' '
		}
		return r
	}, name))
}
