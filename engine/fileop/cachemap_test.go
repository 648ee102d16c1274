package fileop_test

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// keys are what a file op is cached by.
type keys struct {
	op        digest.Digest
	selectors [2]digest.Digest
	contents  [2]digest.Digest // "" where there is none
	err       error            // why there is none
}

func (w *world) keys(actions []*pb.FileAction, inputs ...*store.Ref) keys {
	w.t.Helper()
	cm, done, err := w.op(actions, len(inputs)).CacheMap(w.ctx, 0)
	if err != nil || !done || len(cm.Deps) != len(inputs) {
		w.t.Fatalf("%+v, %v, %v", cm, done, err)
	}
	k := keys{op: cm.Digest}
	for i, ref := range inputs {
		k.selectors[i] = cm.Deps[i].Selector
		if f := cm.Deps[i].ComputeDigestFunc; f != nil {
			k.contents[i], k.err = f(w.ctx, store.NewResult(ref))
		}
	}
	return k
}

// A copy is found by the content of what it copies: equal results have to have equal
// keys where that can be known, and different ones must not.
func TestContentKeys(t *testing.T) {
	tree := []string{"a/f", "x", "b/f", "x", "c/f", "other", "d/g", "x", "l", "-> a", "etc/passwd", "bob:x:1:1::/:\n"}
	one := func(src, dest string, change ...copyOpt) []*pb.FileAction {
		return chain(2, cp(src, dest, change...))
	}
	w := newWorld(t)
	base := w.tree(w.files("etc/passwd", ""))
	for _, c := range []struct {
		name         string
		a, b         []*pb.FileAction
		treeA, treeB []string
		same         bool
	}{
		{"other files", one("/a/f", "/o"), one("/a/f", "/o"), tree, append(tree[2:], "a/f", "x", "new", "n"), true},
		{"other bytes", one("/a/f", "/o"), one("/a/f", "/o"), tree, append([]string{"a/f", "y"}, tree[2:]...), false},
		{"other mode", one("/a/f", "/o"), one("/a/f", "/o"), tree, append([]string{"a/f", "0600 0:0 x"}, tree[2:]...), false},
		{"elsewhere", one("/a/f", "/o"), one("/b/f", "/o"), tree, tree, true},
		{"elsewhere and different", one("/a/f", "/o"), one("/c/f", "/o"), tree, tree, false},
		{"another name", one("/a/f", "/o/"), one("/d/g", "/o/"), tree, tree, false},
		{"through a link", one("/a/f", "/o"), one("/l/f", "/o"), tree, tree, true},
		{"another destination", one("/a/f", "/o"), one("/a/f", "/p"), tree, tree, false},
		{"another owner", one("/a/f", "/o"), one("/a/f", "/o", chown(byID(1), nil)), tree, tree, false},
		{"another mode", one("/a/f", "/o"), one("/a/f", "/o", mode(0o600)), tree, tree, false},
		{"a directory and its content", one("/a/", "/o", wholeDir), one("/a/.", "/o", wholeDir), tree, tree, false},
		{"wildcards that match alike", one("/a/*", "/o/"), one("/b/*", "/o/"), tree, tree, true},
		{"wildcards that match others", one("/a/*", "/o/"), one("/d/*", "/o/"), tree, tree, false},
		{"what a wildcard does not match", one("/a/f*", "/o/"), one("/a/f*", "/o/"), tree, append(tree, "a/g", ""), true},
		{"excluded files", one("/a", "/o", exclude("g")), one("/a", "/o", exclude("g")), tree, append(tree, "a/g", ""), true},
		{"files that are not included", one("/a", "/o", include("f")), one("/a", "/o", include("f")), tree, append(tree, "a/g", ""), true},
		{"included files", one("/a", "/o", include("f", "g")), one("/a", "/o", include("f", "g")), tree, append(tree, "a/g", ""), false},
		{"swapped sources", chain(2, cp("/a/f", "/o"), cp("/c/f", "/p")), chain(2, cp("/c/f", "/o"), cp("/a/f", "/p")), tree, tree, false},
		{"both missing", one("/y/m", "/o"), one("/z/m", "/o"), tree, tree, true},
		{"users", one("/a/f", "/o", chown(byName("bob", 1), nil)), one("/a/f", "/o", chown(byName("bob", 1), nil)), tree, append(tree, "etc/passwd", "bob:x:2:2::/:\n"), false},
	} {
		a, b := w.keys(c.a, base, w.tree(w.files(c.treeA...))), w.keys(c.b, base, w.tree(w.files(c.treeB...)))
		if a.contents[1] == "" || a.selectors[1] == "" {
			t.Errorf("%s: no content key", c.name)
		}
		if a.contents[0] == "" || a.selectors[0] != "" {
			t.Errorf("%s: what is built on is used whole", c.name)
		}
		if same := a.op == b.op && a.contents[1] == b.contents[1]; same != c.same {
			t.Errorf("%s: one key: %v, want %v", c.name, same, c.same)
		}
	}
}

// By definitions alone, what is selected must tell everything apart.
func TestSelectors(t *testing.T) {
	w := newWorld(t)
	base, from := w.tree(w.files()), w.tree(w.files("f", ""))
	seen := map[string]string{}
	for name, actions := range map[string][]*pb.FileAction{
		"path":      chain(2, cp("/a/f", "/o")),
		"other":     chain(2, cp("/b/f", "/o")),
		"no follow": chain(2, cp("/a/f", "/o", noFollow)),
		"include":   chain(2, cp("/a/f", "/o", include("x"))),
		"exclude":   chain(2, cp("/a/f", "/o", exclude("x"))),
		"required":  chain(2, cp("/a/f", "/o", include("x"), needs("/a/f/x"))),
		"two":       chain(2, cp("/a/f", "/o"), cp("/b/f", "/o")),
		"swapped":   chain(2, cp("/b/f", "/o"), cp("/a/f", "/o")),
	} {
		k := w.keys(actions, base, from)
		id := k.op.String() + k.selectors[1].String()
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are one", name, other)
		}
		seen[id] = name
	}
}

// An input that is built on, and copied from, has no selector: the whole path must be
// in the op's digest.
func TestCopyWithinATree(t *testing.T) {
	w := newWorld(t)
	base := w.tree(w.files("a/f", "x", "b/f", "y"))
	within := func(src string) []*pb.FileAction {
		a := cp(src, "/o")
		a.SecondaryInput = 0
		return chain(1, a)
	}
	a, b := w.keys(within("/a/f"), base), w.keys(within("/b/f"), base)
	if a.op == b.op {
		t.Error("copies of different files have one key")
	}
	if a.contents[0] != b.contents[0] || !strings.HasPrefix(a.contents[0].String(), solver.LocalPrefix) {
		t.Errorf("the content keys of a tree that is built on are %s and %s", a.contents[0], b.contents[0])
	}
}

// The op itself is known by what it does to what, not by what it was told apart from
// that.
func TestOpDigest(t *testing.T) {
	w := newWorld(t)
	base, from := w.tree(w.files()), w.tree(w.files("f", ""))
	a := w.keys(chain(2, cp("/f", "/o"), mkfile("/x", "1", 0o644)), base, from)
	for name, actions := range map[string][]*pb.FileAction{
		"data":  chain(2, cp("/f", "/o"), mkfile("/x", "2", 0o644)),
		"order": chain(2, mkfile("/x", "1", 0o644), cp("/f", "/o")),
		"output": func() []*pb.FileAction {
			as := chain(2, cp("/f", "/o"), mkfile("/x", "1", 0o644))
			as[1].Input = 0
			as[0].Output = 1
			return as
		}(),
	} {
		if w.keys(actions, base, from).op == a.op {
			t.Errorf("%s: one digest", name)
		}
	}
	if again := w.keys(chain(2, cp("/f", "/o"), mkfile("/x", "1", 0o644)), base, from); again != a {
		t.Error("a key is not the same twice")
	}
	if !strings.HasPrefix(a.op.String(), "sha256:") {
		t.Error(a.op)
	}
}
