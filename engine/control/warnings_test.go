package control_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/internal/check"
)

// Warnings reach the client however much they are together, up to a bound. What is more is
// left out, which is said once.
func TestManyWarnings(t *testing.T) {
	d := start(t)
	detail := [][]byte{make([]byte, 6<<20)}
	var shown []string
	ch := make(chan *bkclient.SolveStatus)
	var read sync.WaitGroup
	read.Go(func() {
		for st := range ch {
			for _, w := range st.Warnings {
				shown = append(shown, string(w.Short))
			}
		}
	})
	_, err := d.Build(t.Context(), bkclient.SolveOpt{}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		for n := range 20 {
			if err := c.Warn(ctx, "", fmt.Sprint("w", n), gwclient.WarnOpts{Detail: detail}); err != nil {
				return nil, err
			}
		}
		return gwclient.NewResult(), nil
	}, ch)
	read.Wait()
	check.OK(t, err)
	check.Equal(t, "shown", len(shown), 11)
	check.Equal(t, "the last", shown[len(shown)-1], "More warnings are not shown: those of this build have more than 64 MiB")
}

// Who asks late is told all at once, in messages that he takes; and so is who asks when the
// build has ended.
func TestLateStatus(t *testing.T) {
	d := start(t)
	source := &pb.SourceInfo{Filename: "Dockerfile", Data: make([]byte, 4<<20)}
	_, err := d.Build(t.Context(), bkclient.SolveOpt{Ref: "late"}, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		for n := range 10 {
			if err := c.Warn(ctx, "", fmt.Sprint("w", n), gwclient.WarnOpts{SourceInfo: source}); err != nil {
				return nil, err
			}
		}
		return gwclient.NewResult(), d.late("late", 10)
	}, nil)
	check.OK(t, err)
	check.OK(t, d.late("late", 10))
}

// late asks for the status of a build, until there were so many warnings.
func (d *daemon) late(ref string, warnings int) error {
	late, err := d.ControlClient().Status(d.t.Context(), &controlapi.StatusRequest{Ref: ref})
	for warnings > 0 && err == nil {
		var m *controlapi.StatusResponse
		if m, err = late.Recv(); err == nil {
			warnings -= len(m.Warnings)
		}
	}
	return err
}
