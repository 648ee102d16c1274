package why

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/solver/client"
)

// Explainer explains a build by earlier ones.
type Explainer struct {
	// Evicted, if not nil, finds the last eviction of one of some keys between two times.
	Evicted func(keys []string, after, before time.Time) *Eviction

	now      *Build
	steps    map[digest.Digest]*Step
	earlier  []*comparison // the latest first
	known    map[digest.Digest]*Explanation
	notAsked map[digest.Digest]bool // what fresh has found
}

// Eviction is that a result was removed from the cache on purpose.
type Eviction struct {
	At time.Time
	// By is the command or the rule, Needed how many bytes were to be freed; 0 if it was not
	// for room.
	By     string
	Needed int64
}

// NewExplainer returns one that compares with builds of the same project, the latest first.
// Trees may be nil: then no file is named.
func NewExplainer(ctx context.Context, now *Build, earlier []*Build, trees Trees) *Explainer {
	e := &Explainer{now: now, steps: byDigest(now), known: map[digest.Digest]*Explanation{}, notAsked: map[digest.Digest]bool{}}
	files := &fileChanges{ctx: ctx, trees: trees, known: map[[2]digest.Digest]*treediff.Diff{}}
	for _, b := range earlier {
		e.earlier = append(e.earlier, newComparison(b, now, files))
	}
	return e
}

// Explain says why a step differs from what earlier builds had: why it ran, if it did.
func (e *Explainer) Explain(s *Step) *Explanation {
	if x := e.known[s.Digest]; x != nil {
		return x
	}
	x := &Explanation{Step: s.Digest, Name: s.Name, Place: s.Place}
	e.known[s.Digest] = x // before it is whole: see comparison.differences
	if s.NoCache {
		x.Causes = []Cause{e.noCache(s)}
		x.Roots = []Root{{x.Causes[0], s.Digest}}
		return x
	}
	c, old := e.nearest(s)
	if found := e.freshInputs(s); s.Inherits && len(found) > 0 {
		return e.explained(x, c, s, append(found, e.changing(c, old, s)...))
	}
	if c == nil {
		return e.explained(x, nil, s, e.first(s))
	}
	x.Baseline = c.old.Ref
	found := c.differences(old, s)
	if len(found) == 0 {
		found = e.same(s, old, c.old)
		if c.unsure[[2]*Step{old, s}] {
			found = plain([]Cause{{Kind: Unknown, Missing: "an input differs, and " + unchanged}})
		}
	}
	return e.explained(x, c, s, found)
}

// changing are the steps below one that wrote something else, though they stood on the same.
func (e *Explainer) changing(c *comparison, old, s *Step) (found []difference) {
	if c == nil {
		return nil
	}
	for _, d := range c.differences(old, s) {
		if d.cause.Kind == NotDeterministic {
			found = append(found, d)
		}
	}
	return found
}

// first says why a step ran that no earlier build has: it follows those below it that are new,
// too.
func (e *Explainer) first(s *Step) (found []difference) {
	for i := range s.Inputs {
		in := e.steps[s.Inputs[i].Step]
		if in == nil || in.Kind == OpSource || !in.Ran() {
			continue
		}
		other := func(r Root) bool { return r.Cause.Kind != First }
		if roots := e.Explain(in).Roots; len(roots) > 0 && !slices.ContainsFunc(roots, other) {
			found = append(found, difference{cause: Cause{Kind: StepKind, Step: in.Digest, StepName: in.Name}, below: [2]*Step{nil, in}})
		}
	}
	if len(found) == 0 {
		found = plain([]Cause{{Kind: First, Caches: s.Asked}})
	}
	return found
}

func (e *Explainer) explained(x *Explanation, c *comparison, s *Step, found []difference) *Explanation {
	for _, d := range found {
		x.Causes = append(x.Causes, d.cause)
		x.Roots = e.addRoots(x.Roots, c, s, d, map[[2]*Step]bool{})
	}
	if len(x.Roots) == 0 {
		x.Roots = []Root{{Cause{Kind: Unknown, Missing: "a step below it differs, and what is kept of that is equal"}, s.Digest}}
	}
	return x
}

// Name is the name of a step of the build.
func (e *Explainer) Name(step digest.Digest) string {
	if s := e.steps[step]; s != nil {
		return s.Name
	}
	return step.String()
}

// unneeded is more than any weight: a step that an earlier build did not come to says nothing
// where another has run it.
const unneeded = 1 << 30

// nearest finds the earlier run with the fewest differences.
func (e *Explainer) nearest(s *Step) (best *comparison, old *Step) {
	least := 0
	for _, c := range e.earlier {
		o := c.aligned[s.Digest]
		if o == nil || o.Refused || len(o.Ops) == 0 && !had(o) {
			continue
		}
		n := 0
		if len(c.differences(o, s)) > 0 {
			n = 2 * c.weight(o, s, map[[2]*Step]bool{})
		}
		switch {
		case had(o):
		case o.Ran():
			n++ // one that had a result says more
		default:
			n += unneeded
		}
		if best == nil || n < least {
			best, old, least = c, o, n
		}
		if least == 0 {
			break
		}
	}
	return best, old
}

// same says why a step ran that an earlier build has run with the same inputs.
func (e *Explainer) same(s, old *Step, of *Build) []difference {
	switch {
	case len(s.Unloadable) > 0:
		return plain([]Cause{{Kind: Unloadable, Caches: s.Unloadable}})
	case s.Lost:
		return plain([]Cause{{Kind: Lost}})
	}
	if found := e.freshInputs(s); len(found) > 0 {
		return found
	}
	if old.Outcome == client.Failed {
		return plain([]Cause{{Kind: FailedBefore, Old: old.Error}})
	}
	if !had(old) {
		return plain([]Cause{{Kind: Unknown, Missing: "an earlier build had the step with the same inputs, and did not need its result"}})
	}
	if ev := e.evicted(s, old, of); ev != nil {
		return plain([]Cause{{Kind: Evicted, Name: ev.By, Old: ev.At.UTC().Format(time.RFC3339), Needed: ev.Needed, Caches: s.Asked}})
	}
	return plain([]Cause{{Kind: Gone, Caches: s.Asked}})
}

// evicted finds how the result that an earlier build had was removed before this one.
func (e *Explainer) evicted(s, old *Step, of *Build) *Eviction {
	if e.Evicted == nil {
		return nil
	}
	until := e.now.Ended
	if until.IsZero() { // it is under way
		until = time.Now()
	}
	return e.Evicted(union(s.Keys, old.Keys), of.Begun, until)
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// freshInputs are the steps below one that ran because caches were not asked.
func (e *Explainer) freshInputs(s *Step) (found []difference) {
	for i := range s.Inputs {
		in := e.steps[s.Inputs[i].Step]
		if in != nil && in.Ran() && e.fresh(in) {
			found = append(found, difference{cause: Cause{Kind: StepKind, Step: in.Digest, StepName: in.Name}, below: [2]*Step{nil, in}})
		}
	}
	return found
}

// fresh says whether a step ran because its cache, or that of a step below it, was not asked.
func (e *Explainer) fresh(s *Step) bool {
	if s.NoCache || s.Inherits {
		return true
	}
	if !s.Ran() {
		return false
	}
	if is, known := e.notAsked[s.Digest]; known {
		return is
	}
	e.notAsked[s.Digest] = false // a damaged record may have cycles
	for i := range s.Inputs {
		if in := e.steps[s.Inputs[i].Step]; in != nil && e.fresh(in) {
			e.notAsked[s.Digest] = true
			break
		}
	}
	return e.notAsked[s.Digest]
}

// noCache names what said that caches are not to be asked.
func (e *Explainer) noCache(s *Step) Cause {
	filter, given := e.now.Attrs["no-cache"]
	switch {
	case given && filter != "":
		return Cause{Kind: NoCache, Name: "--no-cache-filter=" + filter}
	case given || slices.ContainsFunc(e.now.Command, func(a string) bool { return a == "--no-cache" || a == "--no-cache=true" }):
		return Cause{Kind: NoCache, Name: "--no-cache"}
	}
	return Cause{Kind: NoCache}
}

// addRoots adds the causes of a step that are not steps: its own, and those of the steps that
// it differs by.
func (e *Explainer) addRoots(to []Root, c *comparison, s *Step, d difference, seen map[[2]*Step]bool) []Root {
	if d.cause.Kind != StepKind {
		at := s.Digest
		if d.cause.Kind == NotDeterministic {
			at = d.cause.Step
		}
		return addRoot(to, Root{d.cause, at})
	}
	from, in := d.below[0], d.below[1]
	if seen[d.below] {
		return to
	}
	seen[d.below] = true
	if in.Ran() || from == nil {
		for _, r := range e.Explain(in).Roots {
			to = addRoot(to, r)
		}
		return to
	}
	for _, more := range c.differences(from, in) {
		to = e.addRoots(to, c, in, more, seen)
	}
	return to
}

func addRoot(to []Root, r Root) []Root {
	for i := range to {
		if to[i].Step == r.Step && sameCause(&to[i].Cause, &r.Cause) {
			return to
		}
	}
	return append(to, r)
}

// sameCause says whether two causes are one, which several steps have.
func sameCause(a, b *Cause) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.Old == b.Old && a.New == b.New && a.Step == b.Step &&
		strings.Join(a.Caches, " ") == strings.Join(b.Caches, " ")
}
