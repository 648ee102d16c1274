package keycases

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Record is a record of an exported cache.
type Record struct {
	Digest digest.Digest
	Result bool // it has one
	Links  []Link
}

// Link says that a record's input can be the record From, seen through Selector.
type Link struct {
	Input    int
	From     int
	Selector digest.Digest
}

// Records are an exported cache, without layers.
type Records []Record

// String is what parseRecords reads: a line a record, then its links.
func (r Records) String() string {
	var b strings.Builder
	for i, rec := range r {
		fmt.Fprintf(&b, "%d %s", i, rec.Digest)
		if rec.Result {
			b.WriteString(" result")
		}
		b.WriteString("\n")
		for _, l := range rec.Links {
			fmt.Fprintf(&b, "  %d: %d %s\n", l.Input, l.From, l.Selector)
		}
	}
	return b.String()
}

func parseRecords(text string) (out Records, err error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "  ") && len(out) > 0 && len(words) >= 2 {
			l := Link{}
			if l.Input, err = strconv.Atoi(strings.TrimSuffix(words[0], ":")); err == nil {
				l.From, err = strconv.Atoi(words[1])
			}
			if len(words) > 2 {
				l.Selector = digest.Digest(words[2])
			}
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", line, err)
			}
			rec := &out[len(out)-1]
			rec.Links = append(rec.Links, l)
			continue
		}
		if len(words) < 2 || words[0] != strconv.Itoa(len(out)) {
			return nil, fmt.Errorf("line %q is no record", line)
		}
		out = append(out, Record{Digest: digest.Digest(words[1]), Result: len(words) > 2})
	}
	return out, nil
}

// Named returns the records with names in place of some digests.
func (r Records) Named(names map[digest.Digest]string) Records {
	out := slices.Clone(r)
	for i := range out {
		if name, ok := names[out[i].Digest]; ok {
			out[i].Digest = digest.Digest(name)
		}
	}
	return out
}

// Missing says which of the case's records ours do not stand for. A record does if it has
// the digest, a result if theirs has one, and for each link of theirs one from a record that
// stands for where that is from. So whoever finds theirs by the keys of its inputs finds
// ours. Of a case that is Partly the same, one link for each input is enough. What has no
// result is only looked at where something is linked from it.
func (c *Case) Missing(ours Records) (out []string) {
	theirs := c.Records
	stands := make([][]int, len(theirs)) // for each of theirs, those of ours that do
	for changed := true; changed; {      // records come in any order
		changed = false
		for i, t := range theirs {
			for n, o := range ours {
				if !slices.Contains(stands[i], n) && covers(t, o, stands, c.Partly) {
					stands[i], changed = append(stands[i], n), true
				}
			}
		}
	}
	for i, t := range theirs {
		if len(stands[i]) == 0 && t.Result {
			out = append(out, fmt.Sprintf("%d %s, with inputs %v", i, t.Digest, t.why(theirs, ours, stands)))
		}
	}
	return out
}

func covers(t, o Record, stands [][]int, partly bool) bool {
	if t.Digest != o.Digest || t.Result && !o.Result {
		return false
	}
	inputs, found := map[int]bool{}, map[int]bool{}
	for _, l := range t.Links {
		inputs[l.Input] = true
		if o.has(l, stands) {
			found[l.Input] = true
		} else if !partly {
			return false
		}
	}
	return len(inputs) == len(found)
}

func (o Record) has(l Link, stands [][]int) bool {
	return slices.ContainsFunc(o.Links, func(own Link) bool {
		return own.Input == l.Input && own.Selector == l.Selector && slices.Contains(stands[l.From], own.From)
	})
}

// why says what a record of theirs has not got among ours.
func (t Record) why(theirs, ours Records, stands [][]int) string {
	problems := map[string]bool{}
	for _, o := range ours {
		if o.Digest != t.Digest {
			continue
		}
		if t.Result && !o.Result {
			problems["it has no result here"] = true
		}
		for _, l := range t.Links {
			if !o.has(l, stands) {
				problems[fmt.Sprintf("input %d is not linked from %d (%s) through %q", l.Input, l.From, theirs[l.From].Digest, l.Selector)] = true
			}
		}
	}
	if len(problems) == 0 {
		return "there is no record of this digest"
	}
	return strings.Join(slices.Sorted(maps.Keys(problems)), "; ")
}
