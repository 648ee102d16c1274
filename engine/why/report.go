package why

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/solver/client"
)

// Report says why the steps of a build ran: each cause once, with the steps that followed.
type Report struct {
	Version int       `json:"version"`
	Ref     string    `json:"ref"`
	Begun   time.Time `json:"begun"`
	// Compared are the builds that steps are compared with.
	Compared []string               `json:"compared,omitempty"`
	Counts   map[client.Outcome]int `json:"counts"`
	Causes   []Grouped              `json:"causes"`
	Caches   []Cache                `json:"caches,omitempty"`
}

// Grouped is a cause with all that came of it.
type Grouped struct {
	Cause Cause `json:"cause"`
	// Steps are those that have the cause themselves.
	Steps []Ran `json:"steps"`
	// Followed are those that ran because of these.
	Followed []Ran `json:"followed,omitempty"`
	// Took is how long all of them ran, in nanoseconds.
	Took time.Duration `json:"took"`
}

// Ran is a step that ran.
type Ran struct {
	Step digest.Digest `json:"step"`
	Name string        `json:"name"`
	Took time.Duration `json:"took"`
}

// Report explains all steps of the build that ran. Sources are not among them: what they are
// is a cause.
func (e *Explainer) Report() *Report {
	r := &Report{Version: Version, Ref: e.now.Ref, Begun: e.now.Begun, Counts: Counts(e.now), Caches: e.now.Caches}
	for i := range e.now.Steps {
		s := &e.now.Steps[i]
		if !s.Ran() || !IsStep(s) {
			continue
		}
		x := e.Explain(s)
		if x.Baseline != "" && !slices.Contains(r.Compared, x.Baseline) {
			r.Compared = append(r.Compared, x.Baseline)
		}
		for _, root := range x.Roots {
			r.add(root, s)
		}
	}
	return r
}

// Counts says how many steps of a build ended in which way, as the last line of the build does.
func Counts(b *Build) map[client.Outcome]int {
	n := map[client.Outcome]int{}
	for i := range b.Steps {
		if s := &b.Steps[i]; progress.IsStep(s.Name) {
			n[cmp.Or(s.Outcome, client.NotNeeded)]++
		}
	}
	return n
}

// IsStep tells what a user wrote from sources, and from what has to be done for it.
func IsStep(s *Step) bool {
	return s.Kind != OpSource && !strings.HasPrefix(s.Name, "[internal]")
}

func (r *Report) add(root Root, s *Step) {
	at := slices.IndexFunc(r.Causes, func(g Grouped) bool { return groups(&g.Cause, &root.Cause) })
	if at < 0 {
		at = len(r.Causes)
		r.Causes = append(r.Causes, Grouped{Cause: root.Cause})
	}
	g := &r.Causes[at]
	g.merge(&root.Cause)
	// A step has its causes one after the other: where it is already, it is the last.
	last := func(of []Ran) bool { return len(of) > 0 && of[len(of)-1].Step == s.Digest }
	ran := Ran{Step: s.Digest, Name: s.Name, Took: s.Took()}
	counted := last(g.Steps) || last(g.Followed)
	switch {
	case root.Step == s.Digest && !last(g.Steps):
		if last(g.Followed) {
			g.Followed = g.Followed[:len(g.Followed)-1]
		}
		g.Steps = append(g.Steps, ran)
	case !counted:
		g.Followed = append(g.Followed, ran)
	}
	if !counted {
		g.Took += ran.Took
	}
}

// groups says whether two causes are told as one: those of several steps that read one
// directory are, whichever files each reads. Steps that are there for the first time are, too.
func groups(a, b *Cause) bool {
	if a.Kind != b.Kind {
		return false
	}
	if a.Kind == Files || a.Kind == First || a.Kind == Gone || a.Kind == Evicted {
		return a.Name == b.Name && a.Old == b.Old && a.Missing == b.Missing && slices.Equal(a.Caches, b.Caches)
	}
	if a.Kind == Command {
		return a.Old == b.Old && a.New == b.New
	}
	return sameCause(a, b)
}

// merge adds the files that another step reads.
func (g *Grouped) merge(c *Cause) {
	for _, f := range c.Files {
		if !slices.ContainsFunc(g.Cause.Files, func(o treediff.Change) bool { return o.Path == f.Path && o.Kind == f.Kind }) {
			g.Cause.Files = append(g.Cause.Files, f)
		}
	}
	g.Cause.More = max(g.Cause.More, c.More)
}
