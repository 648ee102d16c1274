package llb_test

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	tllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver"
)

// What a tree is made upon is what a step is told to write on, not what it only reads.
func TestUpon(t *testing.T) {
	file := func(name string) llb.State { return llb.Scratch().File(llb.Mkfile("/"+name, 0o644, nil)) }
	a, b := file("a"), file("b")
	run := a.Run(llb.Args([]string{"x"}), llb.AddMount("/b", b))
	for name, c := range map[string]struct {
		state llb.State
		upon  string
	}{
		"nothing":             {a, ""},
		"a tree to run in":    {run.Root(), "mkfile /a"},
		"a mount":             {run.GetMount("/b"), "mkfile /b"},
		"files":               {a.File(llb.Mkfile("/1", 0o644, nil)), "mkfile /a"},
		"a chain of files":    {a.File(llb.Mkfile("/1", 0o644, nil).Mkdir("/2", 0o755).Rm("/1")), "mkfile /a"},
		"a copy":              {a.File(llb.Copy(b, "/b", "/b")), "mkfile /a"},
		"a copy of a copy":    {a.File(llb.Copy(b, "/b", "/b").Copy(file("c"), "/c", "/c")), "mkfile /a"},
		"a copy onto nothing": {llb.Scratch().File(llb.Copy(b, "/b", "/b")), ""},
		"a merge":             {llb.Merge([]llb.State{a, b}), "mkfile /a, mkfile /b"},
		"a difference":        {llb.Diff(a, run.Root()), ""},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := tllb.Load(marshal(t, c.state), tllb.LoadOptions{})
			check.OK(t, err)
			var names []string
			for _, in := range tllb.Upon(g.Edge) {
				names = append(names, in.Vertex.Name())
			}
			check.Equal(t, "upon", strings.Join(names, ", "), c.upon)
		})
	}
	check.Equal(t, "of others", len(tllb.Upon(solver.Edge{Vertex: foreign{}})), 0)
}

// foreign is a vertex that Load has not made.
type foreign struct{ solver.Vertex }

func (foreign) Sys() any { return nil }

func (foreign) Inputs() []solver.Edge { return nil }
