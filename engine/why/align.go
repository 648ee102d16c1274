package why

import (
	"cmp"

	"github.com/opencontainers/go-digest"
)

// maxTable bounds the table of the longest common subsequence. Longer stages are aligned by
// equal texts in order, which may find fewer.
const maxTable = 4 << 20

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
	for _, m := range common(old, now) {
		upTo(m[0], m[1])
		out[now[m[1]].Digest] = old[m[0]]
		from, next = m[0]+1, m[1]+1
	}
	upTo(len(old), len(now))
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

// common returns pairs of indices of equal instructions, ascending in both.
func common(old, now []*Step) (pairs [][2]int) {
	first := 0
	for first < min(len(old), len(now)) && sameText(old[first], now[first]) {
		pairs = append(pairs, [2]int{first, first})
		first++
	}
	o, n := old[first:], now[first:]
	if len(o)*len(n) > maxTable {
		return append(pairs, inOrder(o, n, first)...)
	}
	return append(pairs, longest(o, n, first)...)
}

func sameText(a, b *Step) bool { return a.Place.Instruction == b.Place.Instruction }

// inOrder takes for each step the next one of the same text.
func inOrder(old, now []*Step, add int) (pairs [][2]int) {
	at := map[string][]int{}
	for i, s := range old {
		at[s.Place.Instruction] = append(at[s.Place.Instruction], i)
	}
	last := -1
	for j, s := range now {
		list := at[s.Place.Instruction]
		for len(list) > 0 && list[0] <= last {
			list = list[1:]
		}
		if len(list) > 0 {
			last = list[0]
			pairs = append(pairs, [2]int{last + add, j + add})
			list = list[1:]
		}
		at[s.Place.Instruction] = list
	}
	return pairs
}

// longest finds a longest common subsequence.
func longest(old, now []*Step, add int) (pairs [][2]int) {
	width := len(now) + 1
	best := make([]int32, (len(old)+1)*width) // of what begins at i, j
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if sameText(old[i], now[j]) {
				best[i*width+j] = best[(i+1)*width+j+1] + 1
			} else {
				best[i*width+j] = max(best[(i+1)*width+j], best[i*width+j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(old) && j < len(now); {
		switch {
		case sameText(old[i], now[j]):
			pairs = append(pairs, [2]int{i + add, j + add})
			i, j = i+1, j+1
		case best[(i+1)*width+j] >= best[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}
