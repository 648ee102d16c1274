package control_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"

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
