package main

import (
	"fmt"
	"io"
	"slices"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
)

// printWarnings shows what a build warned of, one line each, in the order of the
// Dockerfile. In full it says what to do, and shows the lines it is about.
func printWarnings(w io.Writer, warnings []bkclient.VertexWarning, full bool) {
	warnings = inOrder(warnings)
	if len(warnings) == 0 {
		return
	}
	s, hint := "s", " (tenon --debug expands them)"
	if len(warnings) == 1 {
		s, hint = "", " (tenon --debug expands it)"
	}
	if full || !slices.ContainsFunc(warnings, expandable) {
		hint = ""
	}
	fmt.Fprintf(w, "\n%d warning%s found%s:\n", len(warnings), s, hint)
	for _, warning := range warnings {
		fmt.Fprintf(w, " - %s\n", warning.Short)
		if full {
			expand(w, warning)
		}
	}
}

func expand(w io.Writer, warning bkclient.VertexWarning) {
	for _, d := range warning.Detail {
		if string(d) != string(warning.Short) {
			fmt.Fprintf(w, "   %s\n", d)
		}
	}
	if warning.URL != "" {
		fmt.Fprintf(w, "   More: %s\n", warning.URL)
	}
	if warning.SourceInfo != nil {
		src := errdefs.Source{Info: warning.SourceInfo, Ranges: firstLines(warning.Range)}
		_ = src.Print(w) // lines that are not there cannot be shown
	}
}

// expandable says whether there is more to a warning than its line.
func expandable(w bkclient.VertexWarning) bool {
	return w.URL != "" || w.SourceInfo != nil
}

// inOrder sorts warnings by their lines, those that have none last, and leaves one of
// equal ones.
func inOrder(warnings []bkclient.VertexWarning) []bkclient.VertexWarning {
	seen := map[string]bool{}
	var out []bkclient.VertexWarning
	for _, w := range warnings {
		id := fmt.Sprint(string(w.Short), w.Range)
		if !seen[id] {
			seen[id] = true
			out = append(out, w)
		}
	}
	line := func(w bkclient.VertexWarning) int {
		if len(w.Range) == 0 {
			return 1 << 30
		}
		return int(w.Range[0].GetStart().GetLine())
	}
	slices.SortStableFunc(out, func(a, b bkclient.VertexWarning) int { return line(a) - line(b) })
	return out
}
