package runtime

import (
	"context"
	"errors"
	"syscall"
	"time"

	runc "github.com/containerd/go-runc"
	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/identity"
	"golang.org/x/sync/errgroup"
)

const (
	killAgain  = 10 * time.Millisecond // between attempts to kill a container that is still being made
	killGiveUp = 10 * time.Second      // after this the runtime itself is killed
	deleteWait = 10 * time.Second
)

// Run runs a process in a container of its own and returns when it has ended and
// the container is gone. A process that ends with a code that meta.ValidExitCodes
// does not hold (nil: 0 only) is a *gatewayapi.ExitError. When ctx ends the process
// is killed, and the error is the context's cause.
func (e *Executor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	if ctx.Err() != nil {
		if started != nil {
			close(started)
		}
		return nil, context.Cause(ctx)
	}
	if id == "" {
		id = identity.NewID()
	}
	if e.init != "" {
		mounts, process.Meta = withInit(e.init, mounts, process.Meta)
	}

	// BuildKit's executor kills the runtime itself, not the container, if the
	// context ends while the container is still being made, which leaves halves of
	// it behind. So it gets a context that ends only before that. Once the runtime
	// has been started, the container is killed from here.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(e.context(ctx)))
	defer cancel(nil)
	running := make(chan struct{}) // closed when the runtime was started, or will not be
	ended := make(chan struct{})   // closed when inner.Run has returned

	var g errgroup.Group
	g.Go(func() error {
		select {
		case <-running:
		case <-ctx.Done():
			cancel(context.Cause(ctx))
			<-running
		}
		if started != nil {
			close(started)
		}
		select {
		case <-ended:
		case <-ctx.Done():
			e.kill(id, ended, func() { cancel(context.Cause(ctx)) })
		}
		return nil
	})
	rec, err := e.inner.Run(inner, id, root, mounts, process, running)
	close(ended)
	waitErr := g.Wait()

	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), waitErr, e.remove(ctx, id))
	}
	return rec, errors.Join(err, waitErr)
}

// kill kills a container until it has ended. One that cannot be killed within
// killGiveUp, because it has not come into being, is given up.
func (e *Executor) kill(id string, ended <-chan struct{}, giveUp func()) {
	ctx, stop := context.WithTimeout(e.context(context.Background()), killGiveUp)
	defer stop()
	for {
		if e.runc.Kill(ctx, id, int(syscall.SIGKILL), nil) == nil {
			break // it dies as soon as the kernel lets it
		}
		select {
		case <-ended:
			return
		case <-ctx.Done():
			giveUp()
			<-ended
			return
		case <-time.After(killAgain):
		}
	}
	<-ended
}

// remove takes away what may be left of a container that was killed.
func (e *Executor) remove(ctx context.Context, id string) error {
	ctx, stop := context.WithTimeout(e.context(context.WithoutCancel(ctx)), deleteWait)
	defer stop()
	return e.runc.Delete(ctx, id, &runc.DeleteOpts{Force: true})
}
