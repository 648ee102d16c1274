package why

import (
	"cmp"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/filediff"
)

// group is what steps are aligned within.
type group struct{ stage, platform string }

// Align finds for steps of a build those of an earlier one that have the same place. A step of
// no Dockerfile has its name as its place.
func Align(old, now *Build) map[digest.Digest]*Step {
	out := map[digest.Digest]*Step{}
	olds := byGroup(old)
	for g, steps := range byGroup(now) {
		pair(nearGroup(olds, g), steps, out)
	}
	return out
}

// nearGroup is the same stage of another build: for the same platform, if it was built for that.
func nearGroup(olds map[group][]*Step, g group) []*Step {
	if steps := olds[g]; len(steps) > 0 {
		return steps
	}
	var best *group
	for o := range olds {
		if o.stage == g.stage && (best == nil || o.platform < best.platform) {
			best = &o
		}
	}
	if best == nil {
		return nil
	}
	return olds[*best]
}

func byGroup(b *Build) map[group][]*Step {
	of := map[string]string{} // the platform of stages whose steps do not have one in their names
	for i := range b.Steps {
		s := &b.Steps[i]
		if p, ok := s.fact(FactPlatform, ""); ok && s.Place.Platform == "" {
			of[s.Place.Stage] = p
		}
	}
	out := map[group][]*Step{}
	for i := range b.Steps {
		s := &b.Steps[i]
		g := group{s.Place.Stage, cmp.Or(s.Place.Platform, of[s.Place.Stage])}
		if s.Place.Instruction == "" {
			g = group{"\x00" + s.Name, ""}
		}
		out[g] = append(out[g], s)
	}
	return out
}

// pair pairs steps of one stage: equal instructions in order, and between these such as
// begin with the same word.
func pair(old, now []*Step, out map[digest.Digest]*Step) {
	from, next := 0, 0
	upTo := func(i, j int) {
		pairVerbs(old[from:i], now[next:j], out)
		from, next = i, j
	}
	for _, m := range filediff.Common(instructions(old), instructions(now)) {
		upTo(m[0], m[1])
		out[now[m[1]].Digest] = old[m[0]]
		from, next = m[0]+1, m[1]+1
	}
	upTo(len(old), len(now))
}

func instructions(steps []*Step) []string {
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = s.Place.Instruction
	}
	return out
}

func pairVerbs(old, now []*Step, out map[digest.Digest]*Step) {
	byVerb := map[string][]*Step{}
	for _, s := range old {
		byVerb[s.Place.verb()] = append(byVerb[s.Place.verb()], s)
	}
	for _, s := range now {
		if same := byVerb[s.Place.verb()]; len(same) > 0 {
			out[s.Digest], byVerb[s.Place.verb()] = same[0], same[1:]
		}
	}
}
