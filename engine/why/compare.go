package why

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// comparison compares one earlier build with a build.
type comparison struct {
	old, now *Build
	olds     map[digest.Digest]*Step
	nows     map[digest.Digest]*Step
	aligned  map[digest.Digest]*Step // by the digest of the step of now
	files    *fileChanges
	known    map[[2]*Step][]difference
	unsure   map[[2]*Step]bool
}

func newComparison(old, now *Build, files *fileChanges) *comparison {
	return &comparison{
		old: old, now: now, olds: byDigest(old), nows: byDigest(now), aligned: Align(old, now),
		files: files, known: map[[2]*Step][]difference{}, unsure: map[[2]*Step]bool{},
	}
}

func byDigest(b *Build) map[digest.Digest]*Step {
	out := make(map[digest.Digest]*Step, len(b.Steps))
	for i := range b.Steps {
		out[b.Steps[i].Digest] = &b.Steps[i]
	}
	return out
}

// difference is one way in which two runs of a step differ. Where they differ by a step below,
// the pair of that is with it.
type difference struct {
	cause Cause
	below [2]*Step
}

// differences says how a step differs from an earlier one: none if caches do not tell them
// apart.
func (c *comparison) differences(old, now *Step) []difference {
	at := [2]*Step{old, now}
	if d, ok := c.known[at]; ok {
		return d
	}
	c.known[at] = nil // a graph has no cycles; a damaged file may have
	d := c.compare(old, now)
	c.known[at] = d
	return d
}

func (c *comparison) compare(old, now *Step) (out []difference) {
	if now.Kind == OpSource && old.Kind == OpSource {
		return plain(c.sources(old, now, nil))
	}
	same := sameOp(old, now)
	moved := len(old.Inputs) != len(now.Inputs)
	other := false // another part of an input is used
	if !moved {
		for i := range now.Inputs {
			was, is := &old.Inputs[i], &now.Inputs[i]
			if sameInput(was, is) {
				continue
			}
			other = other || was.Selector != is.Selector || !slices.EqualFunc(was.Parts, is.Parts, samePart)
			out = append(out, c.input(was, is)...)
		}
	}
	if !same || moved || other {
		own := factsDiffer(old, now, c.old.Attrs, c.now.Attrs)
		if len(own) == 0 && len(out) == 0 {
			own = []Cause{{Kind: Unknown, Missing: "caches tell the two runs apart, and what is kept of them is equal"}}
		}
		out = append(plain(own), out...)
	}
	out, unsure := certain(out)
	c.unsure[[2]*Step{old, now}] = unsure
	return out
}

// certain leaves out inputs of which nothing differs that the step uses, as far as that is
// kept. Unsure says that this is all by which the runs differ.
func certain(all []difference) (out []difference, unsure bool) {
	out = slices.DeleteFunc(slices.Clone(all), func(d difference) bool { return d.cause.Kind == Files && d.cause.Missing == unchanged })
	return out, len(out) == 0 && len(all) > 0
}

func plain(causes []Cause) (out []difference) {
	for _, c := range causes {
		out = append(out, difference{cause: c})
	}
	return out
}

// sameOp says whether caches take what two steps do for the same. An op may have several
// digests; one that is common is enough.
func sameOp(a, b *Step) bool {
	if len(a.Ops) > 0 && len(b.Ops) > 0 {
		return meet(a.Ops, b.Ops)
	}
	return a.Kind == b.Kind && slices.Equal(a.Facts, b.Facts)
}

func meet[T comparable](a, b []T) bool {
	return slices.ContainsFunc(a, func(x T) bool { return slices.Contains(b, x) })
}

func samePart(a, b Part) bool {
	return a.Path == b.Path && a.Wildcard == b.Wildcard && slices.Equal(a.Include, b.Include) && slices.Equal(a.Exclude, b.Exclude)
}

// sameInput says whether caches take two inputs for the same. The content decides, if it is
// known of both.
func sameInput(a, b *Input) bool {
	if a.Content != "" && b.Content != "" {
		return a.Content == b.Content
	}
	return a.Selector == b.Selector && a.Output == b.Output && meet(a.Keys, b.Keys)
}

// input says how an input differs that is not the same.
func (c *comparison) input(old, now *Input) []difference {
	from, to := c.olds[old.Step], c.nows[now.Step]
	if from == nil || to == nil {
		return plain([]Cause{{Kind: Unknown, Missing: "an input differs, and the step that makes it is not kept"}})
	}
	step := Cause{Kind: StepKind, Step: to.Digest, StepName: to.Name}
	if meet(old.Keys, now.Keys) && old.Output == now.Output {
		if old.Selector != now.Selector && len(c.differences(from, to)) == 0 {
			return nil // what is used of it is another part
		}
		if old.Content != "" && now.Content != "" && old.Selector == now.Selector && len(c.differences(from, to)) == 0 {
			step.Kind = NotDeterministic // what it stands on was the same, too
		}
		return []difference{{cause: step, below: [2]*Step{from, to}}}
	}
	if from.Kind == OpSource && to.Kind == OpSource {
		return plain(c.sources(from, to, now.Parts))
	}
	if was := c.aligned[to.Digest]; was != nil && was != from {
		// It stands on another step, as when the one between was removed.
		out := plain([]Cause{{Kind: InputKind, Old: from.Name, New: to.Name}})
		if len(c.differences(was, to)) > 0 {
			out = append(out, difference{cause: step, below: [2]*Step{was, to}})
		}
		return out
	}
	return []difference{{cause: step, below: [2]*Step{from, to}}}
}

// maxWeighed is of how many steps below one the causes are counted: it is done for each step,
// and says only which build is nearest.
const maxWeighed = 500

// weight is how many causes a step has that are not steps. It ends at those that are counted
// already.
func (c *comparison) weight(old, now *Step, seen map[[2]*Step]bool) (n int) {
	at := [2]*Step{old, now}
	if seen[at] || len(seen) == maxWeighed {
		return 0
	}
	seen[at] = true
	for _, d := range c.differences(old, now) {
		if d.below[0] == nil || d.cause.Kind == NotDeterministic {
			n++
			continue
		}
		n += max(1, c.weight(d.below[0], d.below[1], seen))
	}
	return n
}

// had says whether a step had a result that a cache can have.
func had(s *Step) bool {
	return s.Outcome == client.Executed || s.Outcome == client.Cached || s.Outcome == client.Shared
}
