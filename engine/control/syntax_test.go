package control_test

import (
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/internal/check"
)

// That the image of a syntax line cannot be had is said of that line, and of it alone.
func TestSyntaxThatCannotBePulled(t *testing.T) {
	d := start(t)
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "# syntax=localhost:1/frontend\nFROM scratch\n")
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	_, err = d.Solve(t.Context(), nil, bkclient.SolveOpt{
		Frontend:    "dockerfile.v0",
		LocalMounts: map[string]fsutil.FS{"context": fs, "dockerfile": fs},
	}, nil)
	check.Says(t, err, "localhost:1/frontend")
	sources := errdefs.Sources(err)
	if len(sources) != 1 {
		t.Fatalf("%d places of the error", len(sources))
	}
	check.Equal(t, "file", sources[0].Info.Filename, "Dockerfile")
	check.Equal(t, "ranges", len(sources[0].Ranges), 1)
	check.Equal(t, "line", sources[0].Ranges[0].Start.Line, 1)
	check.Equal(t, "definition", sources[0].Info.Definition != nil, true)
}
