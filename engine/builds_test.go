package engine_test

import (
	"runtime"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

// A build is known while it waits for its session: its status can be read, and another one
// of its ID is refused.
func TestBuildBeforeItsSession(t *testing.T) {
	testenv.Root(t)
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir()})
	check.OK(t, err)
	def, err := llb.Scratch().File(llb.Mkfile("f", 0o644, nil)).Marshal(t.Context())
	check.OK(t, err)
	var status, build errgroup.Group
	ch := make(chan *client.SolveStatus)
	status.Go(func() error { return e.Status(t.Context(), "early", nil, ch) })
	build.Go(func() error {
		_, err := e.Build(t.Context(), engine.Request{ID: "early", SessionID: "late", Definition: def.ToPB()})
		return err
	})
	for e.Solver().Stats().Jobs == 0 {
		runtime.Gosched()
	}
	_, err = e.Build(t.Context(), engine.Request{ID: "early", Definition: def.ToPB()})
	check.Says(t, err, "early")
	remove, err := e.Sessions().Add(session.Empty("late"))
	check.OK(t, err)
	seen := 0
	for range ch {
		seen++
	}
	check.OK(t, status.Wait())
	check.OK(t, build.Wait())
	check.Equal(t, "something was told", seen > 0, true)
	remove()
	check.Equal(t, "jobs", e.Solver().Stats().Jobs, 0)
	check.OK(t, e.Close())
}
