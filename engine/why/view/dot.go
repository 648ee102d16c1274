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
	critical := make(map[int]bool, len(b.Steps))
	follows := map[[2]int]bool{} // edges of the path
	path := why.Critical(b)
	for n, i := range path {
		critical[i] = true
		if n > 0 {
			follows[[2]int{path[n-1], i}] = true
		}
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "digraph %s {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=\"sans-serif\", fontsize=11];\n", quote(b.Ref))
	at := places(b)
	for i := range b.Steps {
		s := &b.Steps[i]
		thick := ""
		if critical[i] {
			thick = ", penwidth=3, color=\"#be185d\""
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
				thick = " [penwidth=3, color=\"#be185d\"]"
			}
			fmt.Fprintf(out, "  s%d -> s%d%s;\n", j, i, thick)
		}
	}
	fmt.Fprintln(out, "}")
	return out.Flush()
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
