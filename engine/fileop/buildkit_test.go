package fileop_test

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// alias is what other caches know the content of an input by; "" if they do not.
func (w *world) alias(actions []*pb.FileAction, input int, inputs ...*store.Ref) digest.Digest {
	w.t.Helper()
	op := w.op(actions, len(inputs))
	if _, _, err := op.CacheMap(w.ctx, 0); err != nil {
		w.t.Fatal(err)
	}
	fns := op.(solver.Aliaser).Aliases(0).Contents
	if fns == nil || fns[input] == nil {
		return ""
	}
	d, err := fns[input](w.ctx, store.NewResult(inputs[input]))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// The selectors are those of BuildKit.
func TestSelectorsOfBuildKit(t *testing.T) {
	w := newWorld(t)
	base, from := w.tree(w.files()), w.tree(w.files("a/f", "x"))
	k := w.keys(chain(2, cp("/a/f", "/o")), base, from)
	if k.selectors[1] != digest.FromString("/a/f") {
		t.Error("the selector is not that of the path")
	}
	// The sorted paths, from the last.
	k = w.keys(chain(2, cp("/a/f", "/o"), cp("/b/g", "/p")), base, from)
	if k.selectors[1] != digest.FromString("/b/g\x00/a/f") {
		t.Error("the selector is not that of both paths")
	}
}

// Where BuildKit's keys are those of other copies, too, they are no names of ours.
func TestWhatBuildKitDoesNotTellApart(t *testing.T) {
	tree := []string{"a/f", "x", "b/f", "y", "c/g", "z"}
	w := newWorld(t)
	base, from := w.tree(w.files()), w.tree(w.files(tree...))
	within := cp("/a/f", "/o")
	within.SecondaryInput = 0
	for name, c := range map[string]struct {
		actions []*pb.FileAction
		named   bool
	}{
		"one":                       {chain(2, cp("/a/f", "/o")), true},
		"two":                       {chain(2, cp("/a/f", "/o"), cp("/c/g", "/p")), true},
		"one twice":                 {chain(2, cp("/a/f", "/o"), cp("/a/f", "/p")), true},
		"two of one name":           {chain(2, cp("/a/f", "/o"), cp("/b/f", "/p")), false},
		"one in the other":          {chain(2, cp("/a", "/o"), cp("/a/f", "/p")), false},
		"a path that climbs":        {chain(2, cp("/a/..", "/o")), false},
		"copied from what is built": {chain(2, cp("/c/g", "/g"), within), false},
	} {
		if got := w.alias(c.actions, 1, base, from) != ""; got != c.named {
			t.Errorf("%s: named: %v", name, got)
		}
	}
}
