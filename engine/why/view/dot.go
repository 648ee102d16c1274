package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver/client"
)

// colors are what nodes are filled with. The outcome is in the label, too.
var colors = map[string]string{
	string(client.Executed): "#fde3c1", string(client.Cached): "#cdeed6", string(client.Shared): "#e0d6fb",
	string(client.Failed): "#f8c9c9", string(client.Canceled): "#ead9b5", string(client.NotNeeded): "#eceff1",
}

// Dot writes the graph of a build in the language of Graphviz. What is on the critical path is
// drawn thick.
func Dot(w io.Writer, b *why.Build) error {
	critical, follows := criticalPath(b)
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "digraph %s {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=\"sans-serif\", fontsize=11];\n", quote(b.Ref))
	at := places(b)
	for i := range b.Steps {
		s := &b.Steps[i]
		thick := ""
		if critical[i] {
			thick = ", penwidth=3, color=\"" + pink + "\""
		}
		fmt.Fprintf(out, "  s%d [label=%s, fillcolor=%q%s];\n", i, quote(label(s)+"\n"+ending(s)), colors[outcome(s)], thick)
		seen := map[int]bool{}
		for _, in := range s.Inputs {
			j, known := at[in.Step]
			if !known || seen[j] {
				continue
			}
			seen[j] = true
			thick := ""
			if follows[[2]int{j, i}] {
				thick = " [penwidth=3, color=\"" + pink + "\"]"
			}
			fmt.Fprintf(out, "  s%d -> s%d%s;\n", j, i, thick)
		}
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
}

// criticalPath are the steps of the critical path, and the edges between them.
func criticalPath(b *why.Build) (steps map[int]bool, edges map[[2]int]bool) {
	steps, edges = map[int]bool{}, map[[2]int]bool{}
	path := why.Critical(b)
	for n, i := range path {
		steps[i] = true
		if n > 0 {
			edges[[2]int{path[n-1], i}] = true
		}
	}
	return steps, edges
}

// ending is the outcome of a step, and how long it took.
func ending(s *why.Step) string {
	if s.Took() == 0 {
		return outcome(s)
	}
	return outcome(s) + ", " + why.Seconds(s.Took())
}

// quote makes a string of Graphviz of a text.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\x00", "").Replace(s) + `"`
}
