package view

import (
	"cmp"
	"encoding/json"
	"io"
	"slices"

	"github.com/tenonbuild/tenon/engine/why"
)

// event is an event of the trace format of Chrome, which Perfetto reads. Times are microseconds.
type event struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"`
	At       int64          `json:"ts"`
	Took     *int64         `json:"dur,omitempty"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Args     map[string]any `json:"args,omitempty"`
}

// The build is the one process. Its first thread has the critical path; the others are lanes of
// steps that ran at the same time.
const (
	process        = 1
	criticalThread = 1
)

// Trace writes when the steps of a build ran, as JSON for Perfetto and Chrome. Those of the
// critical path are there twice: among all, with the category "critical", and in a thread of
// their own.
func Trace(w io.Writer, b Build) error {
	events := []event{
		named("process_name", 0, "build "+b.Build.Ref),
		named("thread_name", criticalThread, "critical path"),
	}
	path := why.Critical(b.Build)
	critical := make(map[int]bool, len(path))
	free := int64(0)
	for _, i := range path {
		critical[i] = true
		e := spanOf(&b, i)
		e.Thread, e.Category = criticalThread, "critical"
		e.from(free)
		free = e.At + *e.Took
		events = append(events, e)
	}
	lanes, order := lanesOf(b.Build)
	most := -1
	for _, i := range order {
		e := spanOf(&b, i)
		e.Thread = criticalThread + 1 + lanes[i]
		if critical[i] {
			e.Category = "critical"
		}
		if lanes[i] > most {
			most = lanes[i]
			events = append(events, named("thread_name", e.Thread, "steps"))
		}
		events = append(events, e)
	}
	return json.NewEncoder(w).Encode(map[string]any{"traceEvents": events, "displayTimeUnit": "ms"})
}

func named(what string, thread int, name string) event {
	return event{Name: what, Phase: "M", Process: process, Thread: thread, Args: map[string]any{"name": clip(name, maxText)}}
}

func spanOf(b *Build, i int) event {
	s := &b.Build.Steps[i]
	took := s.Took().Microseconds()
	args := map[string]any{"outcome": outcome(s), "digest": s.Digest.String(), "ending": clip(b.Explainer.Ending(s), maxText)}
	if p := place(s); p != "" {
		args["place"] = p
	}
	if s.Ran() {
		var texts []string
		for _, c := range b.Explainer.Explain(s).Causes {
			if len(texts) < maxFew {
				texts = append(texts, clip(c.String(), maxText))
			}
		}
		args["why"] = texts
	}
	return event{
		Name: label(s), Category: outcome(s), Phase: "X", Process: process, Args: args,
		At: max(0, s.Started.Sub(b.Build.Begun).Microseconds()), Took: &took,
	}
}

// from lets an event begin no earlier: those of one thread must not overlap, and what is kept of
// a build may be damaged.
func (e *event) from(at int64) {
	if late := at - e.At; late > 0 {
		took := max(0, *e.Took-late)
		e.At, e.Took = at, &took
	}
}

// maxLanes bounds how many threads there are. Perfetto draws what overlaps in one thread below
// each other.
const maxLanes = 500

// lanesOf puts each step that took time into the first lane that is free when it starts, and
// returns them in the order in which they started.
func lanesOf(b *why.Build) (lanes map[int]int, order []int) {
	for i := range b.Steps {
		if s := &b.Steps[i]; !s.Started.IsZero() && !s.Ended.Before(s.Started) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(b.Steps[i].Started.Compare(b.Steps[j].Started), cmp.Compare(i, j))
	})
	lanes = make(map[int]int, len(order))
	var last []int // the step that a lane had last
	for _, i := range order {
		lane := slices.IndexFunc(last, func(j int) bool { return !b.Steps[j].Ended.After(b.Steps[i].Started) })
		switch {
		case lane >= 0:
			last[lane] = i
		case len(last) < maxLanes:
			lane = len(last)
			last = append(last, i)
		default:
			lane = maxLanes - 1
		}
		lanes[i] = lane
	}
	return lanes, order
}
