package build

import (
	"fmt"
	"strings"
)

// Setup is how ours is set up, beside how programs that embed the engine have it: builds
// leave no record in a history, and steps are found by what those before have written.
type Setup string

// The setups.
const (
	// Recorded has builds leave records in a history, as those of the command do.
	Recorded Setup = "recorded"
	// NoCutoff has no step be found by what those before have written.
	NoCutoff Setup = "no-cutoff"
	// Planned has builds be planned and not built, in the root of ours.
	Planned Setup = "planned"
)

// whyCases are what the history costs, and what it costs and saves that a step which writes
// the same again stops there.
func whyCases(short bool) []Case {
	steps := 20
	if short {
		steps = 10
	}
	const twice = 30 // steps, of which the second is changed
	cost := func(name string, files func(int) map[string]string) Case {
		return Case{Name: name, N: steps, Files: files, Costs: []Cost{{"cold", "cold-without"}}, Phases: []Phase{
			{Name: "cold", Runs: steps}, {Name: "cold-without", As: NoCutoff, Runs: steps},
		}}
	}
	cases := []Case{
		{Name: "history", N: steps, Files: chain, Costs: []Cost{{"cold-recorded", "cold"}, {"cached-recorded", "cached"}}, Phases: []Phase{
			{Name: "cold", Runs: steps}, {Name: "cold-recorded", As: Recorded, Runs: steps},
			{Name: "cached"}, {Name: "cached-recorded", As: Recorded},
		}},
		{Name: "plan", N: steps, Files: chain, Phases: []Phase{
			{Name: "prepare", Runs: steps, Prepare: true},
			{Name: "cached"}, {Name: "planned", As: Planned},
		}},
		{Name: "cutoff", N: twice, Files: lines, Phases: []Phase{
			{Name: "prepare", Runs: twice, Prepare: true},
			{Name: "same-again", Edit: edit("in"), Runs: 1, PeerRuns: twice - 1},
		}},
		cost("cutoff-chain", chain),
	}
	if short {
		return cases
	}
	return append(cases,
		cost("cutoff-files", func(n int) map[string]string { return writing(n, 250, 10_000) }),
		cost("cutoff-bytes", func(n int) map[string]string { return writing(n, 1, 10_000_000) }),
	)
}

// lines is a chain of steps, of which the second reads a file of the context and writes how
// many lines that has, and each of the others writes a file.
func lines(n int) map[string]string {
	var b strings.Builder
	b.WriteString(head + "FROM shell\nARG TRIAL=NONCE\nRUN echo $TRIAL > /first\nRUN --mount=type=bind,target=/context wc -l < /context/in > /lines\n")
	for i := range n - 2 {
		fmt.Fprintf(&b, "RUN cat /lines > /%d\n", i)
	}
	return map[string]string{"Dockerfile": b.String(), "in": "one line NONCE\n"}
}

// writing is a chain of steps, each of which writes so many files of so many bytes.
func writing(steps, files, bytes int) map[string]string {
	var b strings.Builder
	b.WriteString(head + "FROM shell\nARG TRIAL=NONCE\n")
	for i := range steps {
		fmt.Fprintf(&b, "RUN mkdir /d%d && for i in $(seq %d); do head -c %d /dev/zero > /d%d/$i; done\n", i, files, bytes, i)
	}
	return map[string]string{"Dockerfile": b.String()}
}
