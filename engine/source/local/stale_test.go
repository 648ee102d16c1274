package local

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tonistiigi/fsutil"
)

var (
	seedFlag  = flag.Uint64("local.seed", 0, "the one seed of random trees to run")
	seedsFlag = flag.Int("local.seeds", 10, "how many tens of seeds of random trees to run")
)

// tick waits until the clock that files are stamped with has gone on: a change from
// now on has another time than any before.
func tick(t testing.TB, dir string) {
	t.Helper()
	probe := filepath.Join(dir, "probe")
	var first time.Time
	for deadline := time.Now().Add(5 * time.Second); ; {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Lstat(probe)
		if err != nil {
			t.Fatal(err)
		}
		switch now := fi.ModTime(); {
		case first.IsZero():
			first = now
		case now.After(first.Add(10 * time.Millisecond)):
			return
		case time.Now().After(deadline):
			t.Fatal("the file system's clock stands still")
		}
	}
}

// No edit is overlooked, though sizes and times of modification stay as they were:
// after each, the key is compared with a description in words. Everything counts as
// long past for one half of the seeds, so that what is remembered is used; the other
// half goes by the clock as it is.
func TestNeverStale(t *testing.T) {
	b := newBench(t)
	aside := t.TempDir()
	there, back := map[string]string{}, map[string]string{}
	// "!a" in place of "!a/**" would show that patternmatcher does not agree with itself
	// about what is in a directory that is not excluded: BuildKit, and so fsutil, goes by
	// MatchesUsingParentResults, the description by MatchesOrParentMatches.
	filters := []randtree.Filter{{}, {Exclude: []string{"**/*.txt", "!a/**"}}, {Include: []string{"a", "b"}}}
	seeds(t, 40, func(t *testing.T, r *rand.Rand) {
		x := randtree.New(t, r)
		b.src.now = time.Now
		old := r.IntN(2) == 0
		if old {
			b.src.now = func() time.Time { return time.Now().Add(time.Hour) }
		}
		id := t.Name()
		f, err := fsutil.NewFS(x.Root)
		b.do(err)
		remove, err := b.all.Add(&lender{session.Empty(id), session.Dir{FS: f, Path: x.Root}})
		b.do(err)
		defer remove()
		for range 15 {
			for n := r.IntN(3); n >= 0; n-- {
				x.Edit()
			}
			n := r.IntN(len(filters))
			w := filters[n]
			w.NoOwners, w.NoRoot = true, true
			a := attrs{}
			if w.Include != nil {
				a[pb.AttrIncludePatterns] = list(w.Include...)
			}
			if w.Exclude != nil {
				a[pb.AttrExcludePatterns] = list(w.Exclude...)
			}
			i := b.instance(id, a)
			key, _, err := i.CacheKey(t.Context(), 0)
			b.do(err)
			is := x.Describe("", w)
			if was, ok := there[is]; ok && was != key {
				t.Fatalf("one tree has keys %s and %s:\n%s\nafter\n%s", was, key, is, strings.Join(x.Log, "\n"))
			}
			if was, ok := back[key]; ok && was != is {
				t.Fatalf("stale: the key of\n%s\n\nis that of\n%s\n\nafter\n%s", is, was, strings.Join(x.Log, "\n"))
			}
			there[is], back[key] = key, is
			if r.IntN(10) == 0 && len(i.read.found) > 0 {
				b.checked(i, nil)
			}
			if old {
				tick(t, aside)
			}
		}
	})
}
