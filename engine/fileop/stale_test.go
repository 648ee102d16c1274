package fileop_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/store"
)

var (
	staleSeed  = flag.Uint64("stale.seed", 0, "the one seed of TestEqualKeysMeanEqualResults to run")
	staleSeeds = flag.Uint64("stale.seeds", 120, "how many seeds TestEqualKeysMeanEqualResults runs")
)

// Whatever is copied from whatever tree: two copies of one key have one result. Trees,
// edits and copies are random; a failure names its seed.
func TestEqualKeysMeanEqualResults(t *testing.T) {
	w := newWorld(t)
	base := w.tree(w.files("o/a", "old", "o/b/", "0700 1:1 "))
	equal := 0
	from, to := uint64(1), *staleSeeds
	if *staleSeed != 0 {
		from, to = *staleSeed, *staleSeed
	}
	for seed := from; seed <= to; seed++ {
		equal += w.staleCase(seed, base)
	}
	// About a third are: otherwise nothing is shown.
	if n := int(to - from + 1); n > 50 && (equal < n/6 || equal > n*5/6) {
		t.Errorf("%d of %d cases had equal keys", equal, n)
	}
}

// staleCase runs one seed. It returns 1 if the keys were equal.
func (w *world) staleCase(seed uint64, base *store.Ref) int {
	r := &random{rand.New(rand.NewPCG(seed, 0))}
	treeA := r.tree()
	treeB := treeA
	for range r.IntN(3) {
		treeB = r.edit(treeB)
	}
	copyA := r.copy()
	copyB := copyA
	if r.IntN(4) == 0 {
		copyB.src = r.source()
	}
	defer func(held int) {
		for _, ref := range w.refs[held:] {
			if err := ref.Release(w.ctx); err != nil {
				w.t.Error(err)
			}
		}
		w.refs = w.refs[:held]
	}(len(w.refs))
	a, b := w.tree(w.files(treeA.list()...)), w.tree(w.files(treeB.list()...))
	ka, kb := w.keys(copyA.actions(), base, a), w.keys(copyB.actions(), base, b)
	// What cannot be computed, since links go in a circle, is no key.
	if ka.err != nil || kb.err != nil || ka.op != kb.op || ka.contents != kb.contents {
		return 0
	}
	result := func(c randomCopy, from *store.Ref) string {
		outs, err := w.run(w.ctx, c.actions(), base, from)
		if err != nil {
			return "an error"
		}
		return w.list(outs[0])
	}
	if x, y := result(copyA, a), result(copyB, b); x != y {
		w.t.Errorf("seed %d: %+v of\n%s\ngives\n%s\n\n%+v of\n%s\ngives\n%s", seed, copyA, treeA, x, copyB, treeB, y)
	}
	return 1
}

type random struct{ *rand.Rand }

func pick[T any](r *random, of ...T) T { return of[r.IntN(len(of))] }

// files are paths with what they are, in the form that world.files takes.
type randomTree map[string]string

func (t randomTree) list() (files []string) {
	// Directories before what is in them, and no path below a file.
	for _, depth := range []int{0, 1, 2} {
		for p, what := range t {
			if strings.Count(strings.TrimSuffix(p, "/"), "/") != depth {
				continue
			}
			fits := true
			for d := path.Dir(strings.TrimSuffix(p, "/")); d != "."; d = path.Dir(d) {
				if _, ok := t[d]; ok {
					fits = false
				}
			}
			if _, dir := t[p+"/"]; fits && !dir {
				files = append(files, p, what)
			}
		}
	}
	return files
}

func (t randomTree) String() string {
	var b strings.Builder
	files := t.list()
	for i := 0; i < len(files); i += 2 {
		fmt.Fprintf(&b, "  %s: %s\n", files[i], files[i+1])
	}
	return b.String()
}

func (r *random) path() string {
	p := pick(r, "a", "b", "c.go")
	for range r.IntN(3) {
		p += "/" + pick(r, "a", "b", "c.go")
	}
	return p
}

func (r *random) put(t randomTree) {
	owner := pick(r, "", "", "", "0600 0:0 ", "0755 1:1 ")
	switch r.IntN(6) {
	case 0:
		t[r.path()+"/"] = owner
	case 1:
		t[r.path()] = "-> " + pick(r, "", "/", "../", "../../../") + r.path()
	default:
		t[r.path()] = owner + pick(r, "x", "y")
	}
}

func (r *random) tree() randomTree {
	t := randomTree{}
	for range 2 + r.IntN(8) {
		r.put(t)
	}
	return t
}

func (r *random) edit(old randomTree) randomTree {
	t := randomTree{}
	drop := r.IntN(3) == 0
	i, n := 0, r.IntN(len(old)+1)
	for _, p := range sorted(old) {
		if !drop || i != n {
			t[p] = old[p]
		}
		i++
	}
	if !drop {
		r.put(t)
	}
	return t
}

func sorted(t randomTree) (ps []string) {
	for p := range t {
		i := 0
		for i < len(ps) && ps[i] < p {
			i++
		}
		ps = append(ps[:i], append([]string{p}, ps[i:]...)...)
	}
	return ps
}

// randomCopy is a copy with options.
type randomCopy struct {
	src, dest                   string
	follow, contents, wild, new bool
	include, exclude            []string
	mode                        int32
}

func (r *random) source() string {
	return "/" + pick(r, "", "a", "b", "*", "?", "a/*", "*/b", "a/b", "c.go", "*.go", "a/", "b/.", r.path(), r.path())
}

func (r *random) copy() randomCopy {
	some := func(of ...string) []string {
		if r.IntN(3) != 0 {
			return nil
		}
		return []string{pick(r, of...)}
	}
	return randomCopy{
		src: r.source(), dest: pick(r, "/o", "/o/", "/o/a", "/n", "/n/m/", "/"),
		follow: r.IntN(2) == 0, contents: r.IntN(2) == 0, wild: r.IntN(3) != 0, new: r.IntN(2) == 0,
		include: some("a", "**/b", "*.go", "a/*", "*/b"), exclude: some("b", "**/*.go", "a/a", "*", "!a"),
		mode: pick[int32](r, -1, -1, 0o644),
	}
}

func (c randomCopy) actions() []*pb.FileAction {
	return chain(2, cp(c.src, c.dest, func(o *pb.FileActionCopy) {
		o.FollowSymlink, o.DirCopyContents, o.AllowWildcard = c.follow, c.contents, c.wild
		o.AlwaysReplaceExistingDestPaths = c.new
		o.IncludePatterns, o.ExcludePatterns, o.Mode = c.include, c.exclude, c.mode
	}))
}
