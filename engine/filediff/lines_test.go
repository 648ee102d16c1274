package filediff_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/filediff"
	"github.com/tenonbuild/tenon/internal/check"
)

func TestUnified(t *testing.T) {
	count := func(n int) string {
		var out strings.Builder
		for i := range n {
			fmt.Fprintln(&out, i)
		}
		return out.String()
	}
	for _, c := range []struct{ name, old, now, want string }{
		{"equal", "a\n", "a\n", ""},
		{"all", "a\n", "b\n", "@@ -1,1 +1,1 @@\n-a\n+b"},
		{"from nothing", "", "b\n", "@@ -0,0 +1,1 @@\n+b"},
		{"to nothing", "a\n", "", "@@ -1,1 +0,0 @@\n-a"},
		{"no end", "a", "a\n", "@@ -1,1 +1,1 @@\n-a (no end of line)\n+a"},
		{"in the middle", count(9), strings.Replace(count(9), "4\n", "x\n", 1), "@@ -2,7 +2,7 @@\n 1\n 2\n 3\n-4\n+x\n 5\n 6\n 7"},
		{"two places", count(20), "x\n" + count(19), "@@ -1,3 +1,4 @@\n+x\n 0\n 1\n 2\n@@ -17,4 +18,3 @@\n 16\n 17\n 18\n-19"},
	} {
		got, more := filediff.Unified(c.old, c.now, 100)
		check.Equal(t, c.name, strings.Join(got, "\n"), c.want)
		check.Equal(t, c.name+", left out", more, 0)
	}
	got, more := filediff.Unified("", count(1000), 10)
	check.Equal(t, "lines", len(got), 10)
	check.Equal(t, "more", more, 991)
	// Very long ones take no time that grows with the square.
	got, _ = filediff.Unified("x\n"+count(200_000)+"a\n", "y\n"+count(200_000)+"b\n", 1000)
	check.Equal(t, "of long ones", len(got), 2*6)
}

// apply does what a diff says.
func apply(t *testing.T, old string, diff []string) (now string) {
	t.Helper()
	at := 0
	lines := strings.SplitAfter(old, "\n")
	for _, l := range diff {
		var from, n, to, m int
		if _, err := fmt.Sscanf(l, "@@ -%d,%d +%d,%d @@", &from, &n, &to, &m); err == nil {
			for ; at < from-min(n, 1); at++ {
				now += lines[at]
			}
			continue
		}
		if l[0] != '+' {
			check.Equal(t, "a line that was there", l[1:]+"\n", lines[at])
			at++
		}
		if l[0] != '-' {
			now += l[1:] + "\n"
		}
	}
	return now + strings.Join(lines[at:], "")
}

// What is said makes the one text of the other.
func TestUnifiedApplies(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	text := func() (out string) {
		for range r.IntN(40) {
			out += string('a'+rune(r.IntN(5))) + "\n"
		}
		return out
	}
	for range 1000 {
		old, now := text(), text()
		diff, _ := filediff.Unified(old, now, 1000)
		check.Equal(t, "applied", apply(t, old, diff), now)
	}
}
