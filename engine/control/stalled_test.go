package control_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/tenonbuild/tenon/internal/check"
)

// lends is a client's store of secrets.
type lends func(ctx context.Context) ([]byte, error)

func (l lends) GetSecret(ctx context.Context, _ string) ([]byte, error) { return l(ctx) }

// A client that is asked for a secret, and answers nothing, does not keep a step from another
// client that waits for it. Both builds end.
func TestStalledClient(t *testing.T) {
	d := start(t)
	d.e.Sessions().Patience = time.Millisecond
	st, opt := shell(t)
	st = st.Run(llb.Shlex("/bin/sh -c 'cat /run/secrets/s > /out'"), llb.AddSecret("/run/secrets/s", llb.SecretID("s"))).Root()
	solve := func(l lends) error {
		o := opt
		o.Session = append([]session.Attachable{secretsprovider.NewSecretProvider(l)}, opt.Session...)
		_, _, err := d.solve(st, o)
		return err
	}
	asked, gone := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		err := solve(func(ctx context.Context) ([]byte, error) {
			close(asked)
			<-ctx.Done()
			close(gone)
			return nil, ctx.Err()
		})
		if err != nil {
			t.Errorf("the build of the stalled client: %v", err)
		}
	})
	<-asked
	check.OK(t, solve(func(context.Context) ([]byte, error) { return []byte("secret"), nil }))
	running.Wait()
	<-gone // it was told that nobody waits for it
}
