package solver

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Trace is what was decided about the edges of a job, inputs before what uses them.
type Trace []EdgeTrace

// String explains the trace in words: a line for each edge that was run, loaded, shared or
// failed, and how many others there are.
func (t Trace) String() string {
	names := make(map[digest.Digest]string, len(t))
	for i := range t {
		names[t[i].Vertex] = t[i].Name
	}
	var out strings.Builder
	rest := 0
	for i := range t {
		if words, told := t[i].explain(names); told {
			fmt.Fprintf(&out, "%s: %s\n", t[i].label(), words)
		} else {
			rest++
		}
	}
	if rest > 0 {
		fmt.Fprintf(&out, "not needed: %d\n", rest)
	}
	return out.String()
}

// String is the vertex's name and Explain.
func (t EdgeTrace) String() string { return t.label() + ": " + t.Explain() }

func (t *EdgeTrace) label() string {
	if t.Output == 0 {
		return t.Name
	}
	return fmt.Sprintf("%s, output %d", t.Name, t.Output)
}

// Explain says in words how the edge came by its result, and why in this way.
func (t EdgeTrace) Explain() string {
	words, _ := t.explain(nil)
	return words
}

// explain is Explain. It reports whether anything was done for the edge. names are those
// of other vertices.
func (t *EdgeTrace) explain(names map[digest.Digest]string) (words string, told bool) {
	for _, d := range slices.Backward(t.Decisions) {
		switch d.Kind {
		case TraceInputFailed:
			return fmt.Sprintf("not run: its input %s failed", t.input(d.Input)), true
		case TraceExecuted:
			return "run: " + t.whyRun(), true
		case TraceLoaded:
			return "loaded from cache " + quoted(d.Asked) + t.byContent(), true
		case TraceShared:
			if len(d.Asked) > 0 {
				return "shared: another vertex has loaded it from cache " + quoted(d.Asked) + t.byContent(), true
			}
			other := names[d.With]
			if other == "" {
				other = string(d.With)
			}
			return fmt.Sprintf("shared: %q is equal to it, and was run", other), true
		}
	}
	if own := (*VertexError)(nil); errors.As(t.Err, &own) && own.Digest == t.Vertex {
		return "failed: " + own.Err.Error(), true
	} else if t.Err != nil {
		return "failed: " + t.Err.Error(), true
	}
	if by := t.byContent(); by != "" {
		return "not needed" + by, true
	}
	return "not needed", false
}

// whyRun says why no cache had a result for the edge.
func (t *EdgeTrace) whyRun() string {
	if t.IgnoreCache {
		return "its cache is ignored"
	}
	// asked and answered are inputs about which caches were asked, and had an answer.
	asked, answered := map[Index]bool{}, map[Index]bool{}
	lost, failed := false, []string(nil)
	for _, d := range t.Decisions {
		switch d.Kind {
		case TraceLost:
			lost = true
		case TraceLoadFailed:
			failed = d.Asked
		case TraceProbe:
			asked[d.Input] = true
			answered[d.Input] = answered[d.Input] || len(d.Answered) > 0
		}
	}
	switch {
	case lost:
		return "the result was lost"
	case failed != nil:
		return "its record in cache " + quoted(failed) + " could not be loaded"
	}
	for i := range t.Inputs {
		if in := Index(i); asked[in] && !answered[in] {
			words := "no cache has it for its input " + t.input(in)
			if t.Inputs[i].Content != nil {
				words += ", by definition or by content"
			}
			return words
		}
	}
	if len(t.Inputs) > 0 && len(asked) == len(t.Inputs) {
		return "no cache has it for these inputs together"
	}
	return "no cache has it"
}

// byContent names the input by whose content a cache has found the edge, if there is one.
func (t *EdgeTrace) byContent() string {
	for _, d := range t.Decisions {
		if d.Kind == TraceProbe && d.Content && len(d.Answered) > 0 {
			return fmt.Sprintf(": its input %s has the same content as before", t.input(d.Input))
		}
	}
	return ""
}

// input names an input.
func (t *EdgeTrace) input(i Index) string {
	if i < 0 || int(i) >= len(t.Inputs) {
		return fmt.Sprint(i)
	}
	return fmt.Sprintf("%q", t.Inputs[i].Name)
}

func quoted(names []string) string { return fmt.Sprintf("%q", strings.Join(names, ", ")) }
