package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

// Each build is told once of what several of its steps warn of; what is about lines is
// told for each.
func TestWarningsOnceABuild(t *testing.T) {
	testenv.Root(t)
	warn := func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		var err error
		for range 3 {
			err = c.Warn(ctx, "", "no network", gwclient.WarnOpts{})
		}
		for line := range 2 {
			at := []*pb.Range{{Start: &pb.Position{Line: int32(line + 1)}, End: &pb.Position{Line: int32(line + 1)}}}
			err = c.Warn(ctx, "", "bad line", gwclient.WarnOpts{SourceInfo: &pb.SourceInfo{Filename: "Dockerfile"}, Range: at})
		}
		return gwclient.NewResult(), err
	}
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir(), Frontends: map[string]frontend.Func{"test": warn}})
	check.OK(t, err)
	for range 2 {
		told := map[string]int{}
		status := make(chan *client.SolveStatus)
		var g errgroup.Group
		g.Go(func() error {
			for st := range status {
				for _, w := range st.Warnings {
					told[string(w.Short)]++
				}
			}
			return nil
		})
		_, err := e.Build(t.Context(), engine.Request{Frontend: "test", Status: status})
		check.OK(t, err)
		check.OK(t, g.Wait())
		if told["no network"] != 1 || told["bad line"] != 2 || len(told) != 2 {
			t.Errorf("%v", told)
		}
	}
	check.OK(t, e.Close())
}

// Who asks for the status of a build, and for the build, learns what has happened also if
// the build has ended meanwhile.
func TestStatusAfterTheEnd(t *testing.T) {
	testenv.Root(t)
	ended := make(chan struct{})
	fail := func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		defer close(ended)
		return nil, errors.Join(c.Warn(ctx, "", "look here", gwclient.WarnOpts{}), errors.New("it fails"))
	}
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir(), Frontends: map[string]frontend.Func{"test": fail}})
	check.OK(t, err)
	var g errgroup.Group
	g.Go(func() error {
		_, err := e.Build(t.Context(), engine.Request{ID: "b", Frontend: "test", AwaitStatus: time.Hour})
		return err
	})
	<-ended
	told := 0
	status := make(chan *client.SolveStatus)
	g.Go(func() error { return e.Status(t.Context(), "b", nil, status) })
	for st := range status {
		told += len(st.Warnings)
	}
	check.Says(t, g.Wait(), "it fails")
	check.Equal(t, "warnings", told, 1)
	check.OK(t, e.Close())
}
