package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	runc "github.com/containerd/go-runc"
	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
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
// is killed, and the error wraps the context's cause. Started is closed, if not nil,
// when the process is being started, or will not be.
func (e *Executor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	running := make(chan struct{})
	ended := make(chan struct{})
	if e.host && process.Meta.NetMode == pb.NetMode_UNSET {
		process.Meta.NetMode = pb.NetMode_HOST // it has this machine's name servers, too
	}
	if process.Meta.Proxy == nil {
		e.networks.warm(ctx, process.Meta.NetMode)
	}
	root, mounts, err := prepare(e.context(ctx), root, mounts)
	if err != nil {
		if started != nil {
			close(started)
		}
		return nil, err
	}
	if id == "" {
		id = identity.NewID()
	}
	forget, err := e.state.begin(id)
	if err != nil {
		if started != nil {
			close(started)
		}
		return nil, fmt.Errorf("noting the container %s: %w", id, err)
	}
	if e.init != "" {
		mounts, process.Meta = withInit(e.init, mounts, process.Meta)
	}

	// BuildKit's executor kills the runtime itself, not the container, if its
	// context ends while the container is being made, which leaves halves of it
	// behind. So its context does not end: the container is killed from here.
	inner, giveUp := context.WithCancelCause(context.WithoutCancel(e.context(ctx)))
	defer giveUp(nil)
	var g errgroup.Group
	g.Go(func() error {
		<-running
		if started != nil {
			close(started)
		}
		select {
		case <-ended:
		case <-ctx.Done():
			e.kill(id, ended, func() { giveUp(context.Cause(ctx)) })
		}
		return nil
	})
	rec, err := e.runInner(ctx, inner, id, root, mounts, process, running)
	close(ended)
	waitErr := g.Wait()

	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), waitErr, e.remove(ctx, id), forget())
	}
	return rec, errors.Join(err, waitErr, forget())
}

// resolvConf guards what BuildKit's oci.GetResolvConf keeps in variables of its
// package, for all executors of the process: whether it has made the file, and
// whether this machine's was there. Who puts something in has it, from the beginning
// of a run until the root is mounted, which comes after that; not while the process
// runs.
var resolvConf = make(chan struct{}, 1)

// runInner is BuildKit's Run, with the context inner, of whose beginnings there is one
// at a time: it waits for that until ctx ends.
func (e *Executor) runInner(ctx, inner context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	select {
	case resolvConf <- struct{}{}:
	case <-ctx.Done():
		close(started)
		return nil, context.Cause(ctx)
	}
	begun := sync.OnceFunc(func() { <-resolvConf })
	defer begun()
	root.Src = notifying{root.Src, begun}
	return e.inner.Run(inner, id, root, mounts, process, started)
}

// notifying is a mountable that tells when it is going to be mounted.
type notifying struct {
	executor.Mountable
	mounting func()
}

// Mount implements executor.Mountable.
func (n notifying) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	n.mounting()
	return n.Mountable.Mount(ctx, readonly)
}

// kill kills a container until it has ended. One that cannot be killed within
// killGiveUp, because it has not come into being, is given up.
func (e *Executor) kill(id string, ended <-chan struct{}, giveUp func()) {
	ctx, stop := context.WithTimeout(e.context(context.Background()), killGiveUp)
	defer stop()
	for e.runc.Kill(ctx, id, int(syscall.SIGKILL), nil) != nil {
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
	<-ended // it dies as soon as the kernel lets it
}

// remove takes away what may be left of a container that was killed.
func (e *Executor) remove(ctx context.Context, id string) error {
	ctx, stop := context.WithTimeout(e.context(context.WithoutCancel(ctx)), deleteWait)
	defer stop()
	return e.runc.Delete(ctx, id, &runc.DeleteOpts{Force: true})
}

// prepare makes the mounts ready, which may take long (a lazy layer is pulled) and
// ends with ctx. What it returns mounts at once.
func prepare(ctx context.Context, root executor.Mount, mounts []executor.Mount) (executor.Mount, []executor.Mount, error) {
	ready := make([]executor.Mount, 0, len(mounts)+1)
	for _, m := range append([]executor.Mount{root}, mounts...) {
		if m.Src == nil {
			return root, nil, fmt.Errorf("mount %s has no source", m.Dest)
		}
		readonly := m.Readonly && len(ready) != 0 // the root is made read-only by the runtime
		ref, err := m.Src.Mount(ctx, readonly)
		if err != nil {
			return root, nil, fmt.Errorf("making the mount %s ready: %w", m.Dest, err)
		}
		m.Src = prepared{ref}
		ready = append(ready, m)
	}
	if ctx.Err() != nil {
		return root, nil, context.Cause(ctx)
	}
	return ready[0], ready[1:], nil
}

// prepared is a mountable that is ready.
type prepared struct{ ref executor.MountableRef }

// Mount implements executor.Mountable.
func (p prepared) Mount(context.Context, bool) (executor.MountableRef, error) { return p.ref, nil }
