package view

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver/client"
)

const (
	maxText  = 2 << 10  // of a name, a value, a cause
	maxSpare = 16 << 20 // of all facts and files of a build
	maxList  = 200      // of files of a cause, of steps that have it
	maxFew   = 20       // of causes of a step
)

// Build is a build that is shown.
type Build struct {
	Build     *why.Build
	Explainer *why.Explainer
	Logs      *Logs // may be nil
}

// data is what the page's script reads.
type data struct {
	Builds []shown `json:"builds"`
	// Rows pair the steps of two builds; with one build they are its steps.
	Rows []row `json:"rows"`
	// Size is what a box of the graph measures, and from one layer to the next.
	Size [3]int `json:"size"`
}

// row is a line of the page: the places of a step in the builds, -1 for one that has none.
type row [2]int

type shown struct {
	Ref      string         `json:"ref"`
	Begun    time.Time      `json:"begun"`
	Took     float64        `json:"took"` // in seconds, as all times
	Command  []string       `json:"command,omitempty"`
	Revision string         `json:"revision,omitempty"`
	Dirty    bool           `json:"dirty,omitempty"`
	Error    string         `json:"error,omitempty"`
	Omitted  int            `json:"omitted,omitempty"`
	Compared []string       `json:"compared,omitempty"`
	Caches   []why.Cache    `json:"caches,omitempty"`
	Counts   map[string]int `json:"counts"`
	Causes   []cause        `json:"causes"`
	Steps    []step         `json:"steps"`
	// Lines are those of the graph: from which step, to which, and where it passes layers.
	Lines  [][]int `json:"lines"`
	Width  int     `json:"width"`
	Height int     `json:"height"`
}

type cause struct {
	Text     string   `json:"text"`
	Files    []string `json:"files,omitempty"`
	More     int      `json:"more,omitempty"`
	Steps    []int    `json:"steps,omitempty"`
	Followed []int    `json:"followed,omitempty"`
	MoreRan  int      `json:"moreRan,omitempty"`
	Took     float64  `json:"took,omitempty"`
}

type step struct {
	Name     string  `json:"name"`
	Digest   string  `json:"digest"`
	Place    string  `json:"place,omitempty"`
	Kind     string  `json:"kind"`
	Outcome  string  `json:"outcome"`
	Ending   string  `json:"ending"`
	Error    string  `json:"error,omitempty"`
	From     float64 `json:"from"`
	To       float64 `json:"to"`
	Timed    bool    `json:"timed,omitempty"`
	Critical bool    `json:"critical,omitempty"`
	X        int     `json:"x"` // in the graph
	Y        int     `json:"y"`
	Inputs   []int   `json:"inputs,omitempty"`
	Facts    []fact  `json:"facts,omitempty"`
	Baseline string  `json:"baseline,omitempty"`
	Causes   []cause `json:"causes,omitempty"`
	// Roots are causes of steps that it follows.
	Roots []root `json:"roots,omitempty"`
	Log   string `json:"log,omitempty"`
	Cut   bool   `json:"cut,omitempty"` // the log has more before
}

type fact struct {
	Kind  string `json:"kind"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value"`
}

type root struct {
	Step int    `json:"step"`
	Text string `json:"text"`
}

// describe makes the data of one or two builds.
func describe(builds []Build) *data {
	d := &data{Rows: rows(builds), Size: [3]int{boxWidth, boxHeight, pitch}}
	for i := range builds {
		d.Builds = append(d.Builds, describeBuild(&builds[i]))
	}
	return d
}

// rows are the steps of the first build, and after each those of the second that are in it alone.
func rows(builds []Build) []row {
	first := builds[0].Build.Steps
	out := make([]row, 0, len(first))
	if len(builds) == 1 {
		for i := range first {
			out = append(out, row{i, -1})
		}
		return out
	}
	second := builds[1].Build.Steps
	at := places(builds[1].Build)
	aligned := why.Align(builds[1].Build, builds[0].Build)
	other := make([]int, len(first))
	paired := make([]bool, len(second))
	for i := range first {
		other[i] = -1
		if s := aligned[first[i].Digest]; s != nil {
			if j := at[s.Digest]; !paired[j] {
				other[i], paired[j] = j, true
			}
		}
	}
	next := 0
	alone := func(to int) {
		for ; next < to; next++ {
			if !paired[next] {
				out = append(out, row{-1, next})
			}
		}
	}
	for i := range first {
		alone(other[i])
		out = append(out, row{i, other[i]})
	}
	alone(len(second))
	return out
}

func places(b *why.Build) map[digest.Digest]int {
	at := make(map[digest.Digest]int, len(b.Steps))
	for i := range b.Steps {
		at[b.Steps[i].Digest] = i
	}
	return at
}

func describeBuild(b *Build) shown {
	r := b.Explainer.Report()
	x := describer{Build: b, at: places(b.Build), spare: maxSpare}
	out := shown{
		Ref: b.Build.Ref, Begun: b.Build.Begun, Took: max(0, b.Build.Ended.Sub(b.Build.Begun).Seconds()),
		Revision: b.Build.Revision, Dirty: b.Build.Dirty, Error: clip(b.Build.Error, maxText), Omitted: b.Build.Omitted,
		Compared: r.Compared, Caches: r.Caches, Counts: map[string]int{},
		Steps: make([]step, 0, len(b.Build.Steps)), Causes: make([]cause, 0, len(r.Causes)),
	}
	for _, word := range b.Build.Command[:min(len(b.Build.Command), maxList)] {
		out.Command = append(out.Command, clip(word, maxText))
	}
	for o, n := range r.Counts {
		out.Counts[string(o)] = n
	}
	critical := why.Critical(b.Build)
	for i := range b.Build.Steps {
		out.Steps = append(out.Steps, x.step(&b.Build.Steps[i]))
	}
	for _, i := range critical {
		out.Steps[i].Critical = true
	}
	for i := range r.Causes {
		out.Causes = append(out.Causes, x.grouped(&r.Causes[i]))
	}
	out.draw(arrange(b.Build))
	return out
}

// draw says where the steps are in the graph.
func (s *shown) draw(l *layout) {
	s.Width, s.Height = l.width, l.height
	s.Lines = make([][]int, 0, len(l.lines))
	for _, ln := range l.lines {
		s.Lines = append(s.Lines, append([]int{ln.from, ln.to}, ln.via...))
	}
	for i := range s.Steps {
		s.Steps[i].X, s.Steps[i].Y = l.x[i], l.y[i]
	}
}

// describer describes the steps of a build.
type describer struct {
	*Build
	at    map[digest.Digest]int
	spare int // how many bytes of facts and files may follow
}

// spend says whether so many bytes may follow.
func (x *describer) spend(n int) bool {
	x.spare -= n
	return x.spare >= 0
}

func (x *describer) step(s *why.Step) step {
	out := step{
		Name: clip(s.Name, maxText), Digest: s.Digest.String(), Place: place(s), Kind: string(s.Kind), Outcome: outcome(s),
		Ending: clip(x.Explainer.Ending(s), maxText), Error: clip(s.Error, maxText), Inputs: x.inputs(s),
	}
	if !s.Started.IsZero() && !s.Ended.Before(s.Started) {
		begun := x.Build.Build.Begun
		out.Timed, out.From, out.To = true, max(0, s.Started.Sub(begun).Seconds()), max(0, s.Ended.Sub(begun).Seconds())
	}
	for _, f := range s.Facts {
		value := clip(f.Value, maxText)
		name := clip(f.Name, maxText)
		if !x.spend(len(name) + len(value)) {
			break
		}
		out.Facts = append(out.Facts, fact{string(f.Kind), name, value})
	}
	out.Log, out.Cut = x.Logs.text(s.Digest)
	if !s.Ran() {
		return out
	}
	e := x.Explainer.Explain(s)
	out.Baseline = e.Baseline
	for i := range e.Causes[:min(len(e.Causes), maxFew)] {
		out.Causes = append(out.Causes, x.cause(&e.Causes[i]))
	}
	for i := range e.Roots[:min(len(e.Roots), maxFew)] {
		if r := &e.Roots[i]; r.Step != s.Digest {
			if at, known := x.at[r.Step]; known {
				out.Roots = append(out.Roots, root{at, clip(r.Cause.String(), maxText)})
			}
		}
	}
	return out
}

// inputs are the steps that a step stands on, each once.
func (x *describer) inputs(s *why.Step) (at []int) {
	seen := map[int]bool{}
	for _, in := range s.Inputs {
		if i, known := x.at[in.Step]; known && !seen[i] {
			seen[i] = true
			at = append(at, i)
		}
	}
	return at
}

func (x *describer) grouped(g *why.Grouped) cause {
	out := x.cause(&g.Cause)
	out.Took = g.Took.Seconds()
	out.Steps, out.Followed = x.ran(g.Steps), x.ran(g.Followed)
	out.MoreRan = len(g.Steps) + len(g.Followed) - len(out.Steps) - len(out.Followed)
	return out
}

func (x *describer) ran(steps []why.Ran) (at []int) {
	for _, s := range steps[:min(len(steps), maxList)] {
		if i, known := x.at[s.Step]; known {
			at = append(at, i)
		}
	}
	return at
}

func (x *describer) cause(c *why.Cause) cause {
	out := cause{Text: clip(c.String(), maxText), More: c.More}
	if len(c.Files)+c.More < 2 {
		return out // it is in the text
	}
	for _, f := range c.Files[:min(len(c.Files), maxList)] {
		text := clip(f.String(), maxText)
		if !x.spend(len(text)) {
			break
		}
		out.Files = append(out.Files, text)
	}
	out.More += len(c.Files) - len(out.Files)
	return out
}

// outcome is how a step ended, in a word that is never empty.
func outcome(s *why.Step) string {
	known := []client.Outcome{client.Executed, client.Cached, client.Shared, client.Failed, client.Canceled}
	if !slices.Contains(known, s.Outcome) {
		return string(client.NotNeeded)
	}
	return string(s.Outcome)
}
