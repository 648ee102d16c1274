package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/why"
)

// Version is that of the JSON form of a Plan.
const Version = 1

// Plan says what a build would do.
type Plan struct {
	Version int `json:"version"`
	// Project names what would be built, as in why.Build.
	Project string `json:"project,omitempty"`
	// Counts are how many steps have a verdict. Sources, and what frontends need, are none.
	Counts map[Verdict]int `json:"counts"`
	// Compared are the builds that causes are about.
	Compared []string `json:"compared,omitempty"`
	// Steps are in an order in which inputs come before what uses them.
	Steps []Step `json:"steps"`
	// Omitted is how many steps are not told of, because there are too many.
	Omitted int `json:"omitted,omitempty"`
}

// Step is a vertex of the build.
type Step struct {
	Digest  digest.Digest `json:"digest"`
	Name    string        `json:"name"`
	Place   why.Place     `json:"place,omitzero"`
	Kind    why.OpKind    `json:"kind"`
	Verdict Verdict       `json:"verdict"`
	// Cached says in which cache a hit is.
	Cached *why.Hit `json:"cached,omitempty"`
	// Asked are the caches that were asked.
	Asked []string `json:"asked,omitempty"`
	// Causes say why no cache has it, as far as that is known; Roots are those of the steps
	// that it follows, too.
	Causes []why.Cause `json:"causes,omitempty"`
	Roots  []why.Root  `json:"roots,omitempty"`
	// Inputs are the steps whose outputs it takes, in the order of its inputs.
	Inputs []digest.Digest `json:"inputs,omitempty"`
	// By are the steps that decide about one of which it is not known.
	By []digest.Digest `json:"by,omitempty"`
}

// New makes a plan of the steps of a build in which all have run that may run.
func New(build *why.Build, decided map[digest.Digest]Decided, x *why.Explainer) *Plan {
	p := &Plan{Version: Version, Project: build.Project, Counts: map[Verdict]int{}, Steps: []Step{}, Omitted: build.Omitted}
	for i := range build.Steps {
		s := &build.Steps[i]
		d := decided[s.Digest]
		out := Step{Digest: s.Digest, Name: s.Name, Place: s.Place, Kind: s.Kind, Verdict: d.Verdict, By: d.By, Asked: s.Asked}
		for _, in := range s.Inputs {
			out.Inputs = append(out.Inputs, in.Step)
		}
		switch d.Verdict {
		case Hit:
			out.Cached = s.Cached
		case Miss, Unknown:
			e := x.Explain(s)
			out.Causes, out.Roots = e.Causes, e.Roots
			if e.Baseline != "" && !slices.Contains(p.Compared, e.Baseline) {
				p.Compared = append(p.Compared, e.Baseline)
			}
		}
		if why.IsStep(s) {
			p.Counts[d.Verdict]++
		}
		p.Steps = append(p.Steps, out)
	}
	return p
}

// Cached says whether no step would run.
func (p *Plan) Cached() bool { return p.Counts[Miss]+p.Counts[Unknown] == 0 }
