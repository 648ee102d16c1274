package filediff

import (
	"fmt"
	"strings"
)

// maxTable bounds the table of the longest common subsequence. In longer lists equal texts are
// found in order, which may find fewer.
const maxTable = 4 << 20

// Common returns pairs of indices of equal texts, ascending in both lists: the most that there
// are, unless the lists are very long.
func Common(old, now []string) (pairs [][2]int) {
	first := 0
	for first < min(len(old), len(now)) && old[first] == now[first] {
		pairs = append(pairs, [2]int{first, first})
		first++
	}
	last := 0
	for last < min(len(old), len(now))-first && old[len(old)-1-last] == now[len(now)-1-last] {
		last++
	}
	o, n := old[first:len(old)-last], now[first:len(now)-last]
	find := longest
	if len(o)*len(n) > maxTable {
		find = inOrder
	}
	for _, p := range find(o, n) {
		pairs = append(pairs, [2]int{p[0] + first, p[1] + first})
	}
	for i := last; i > 0; i-- {
		pairs = append(pairs, [2]int{len(old) - i, len(now) - i})
	}
	return pairs
}

// inOrder takes for each text the next equal one.
func inOrder(old, now []string) (pairs [][2]int) {
	at := map[string][]int{}
	for i, s := range old {
		at[s] = append(at[s], i)
	}
	last := -1
	for j, s := range now {
		list := at[s]
		for len(list) > 0 && list[0] <= last {
			list = list[1:]
		}
		if len(list) > 0 {
			last = list[0]
			pairs = append(pairs, [2]int{last, j})
			list = list[1:]
		}
		at[s] = list
	}
	return pairs
}

// longest finds a longest common subsequence.
func longest(old, now []string) (pairs [][2]int) {
	width := len(now) + 1
	best := make([]int32, (len(old)+1)*width) // of what begins at i, j
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if old[i] == now[j] {
				best[i*width+j] = best[(i+1)*width+j+1] + 1
			} else {
				best[i*width+j] = max(best[(i+1)*width+j], best[i*width+j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(old) && j < len(now); {
		switch {
		case old[i] == now[j]:
			pairs = append(pairs, [2]int{i, j})
			i, j = i+1, j+1
		case best[(i+1)*width+j] >= best[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// around is how many equal lines are shown before and after such as differ.
const around = 3

// Unified returns the lines of a unified diff of two texts, without its head. At most so many
// are returned; more says how many there are besides.
func Unified(old, now string, most int) (out []string, more int) {
	u := &unified{old: lines(old), now: lines(now)}
	for _, p := range Common(u.old, u.now) {
		u.upTo(p[0], p[1])
		u.equal(p[0])
	}
	u.upTo(len(u.old), len(u.now))
	u.end(0)
	if len(u.out) > most {
		return u.out[:most], len(u.out) - most
	}
	return u.out, 0
}

// lines are the lines of a text. One without an end says so.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	out := strings.Split(text, "\n")
	last := len(out) - 1
	if out[last] == "" {
		return out[:last]
	}
	out[last] += " (no end of line)"
	return out
}

// unified makes a diff.
type unified struct {
	old, now []string
	i, j     int // how much of them is done
	out      []string
	hunk     []string // what is open; nil if nothing is
	from, to int      // where it began
	quiet    int      // equal lines at its end
}

// upTo takes lines that have gone, and such as are new.
func (u *unified) upTo(i, j int) {
	if i == u.i && j == u.j {
		return
	}
	if u.hunk == nil {
		n := min(around, u.i)
		u.from, u.to = u.i-n, u.j-n
		for _, l := range u.old[u.from:u.i] {
			u.hunk = append(u.hunk, " "+l)
		}
	}
	u.quiet = 0
	for ; u.i < i; u.i++ {
		u.hunk = append(u.hunk, "-"+u.old[u.i])
	}
	for ; u.j < j; u.j++ {
		u.hunk = append(u.hunk, "+"+u.now[u.j])
	}
}

// equal takes an equal line.
func (u *unified) equal(i int) {
	if u.hunk != nil {
		u.hunk = append(u.hunk, " "+u.old[i])
		u.quiet++
	}
	u.i, u.j = u.i+1, u.j+1
	if u.quiet > 2*around {
		u.end(u.quiet - around)
	}
}

// end ends what is open, without so many of its lines.
func (u *unified) end(without int) {
	if u.hunk == nil {
		return
	}
	if without == 0 {
		without = max(0, u.quiet-around)
	}
	head := fmt.Sprintf("@@ -%s +%s @@", span(u.from, u.i-without), span(u.to, u.j-without))
	u.out = append(append(u.out, head), u.hunk[:len(u.hunk)-without]...)
	u.hunk, u.quiet = nil, 0
}

func span(from, to int) string {
	if from == to {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
