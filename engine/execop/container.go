package execop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/executor"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/system"

	"github.com/tenonbuild/tenon/engine/store"
)

// ContainerOptions say what a Container is made of.
type ContainerOptions struct {
	// Mounts are file systems, one of them at "/". Which inputs and outputs they are
	// of is not read.
	Mounts []*pb.Mount
	// Trees are what the mounts are made of, one for each, nil for the empty tree.
	// They are borrowed until the container is released.
	Trees      []*store.Ref
	Hostname   string
	Network    pb.NetMode
	ExtraHosts []*pb.HostIP
	// Platform is that of the programs; nil stands for this machine's.
	Platform *pb.Platform
	// Allowed are the entitlements that are granted.
	Allowed entitlements.Set
}

// Container is file systems in which processes are run that are no step's: the first
// is the container's own, the others join it. What they write is thrown away.
type Container struct {
	op     *op
	opt    ContainerOptions
	id     string
	hosts  []executor.HostIP
	mounts *mounts
	ctx    context.Context // ends with the container
	cancel context.CancelCauseFunc

	// started is closed when the container's own process runs, or will not: others can
	// join it from then on.
	started chan struct{}

	mu       sync.Mutex // guards what follows
	began    bool       // its own process was asked for
	alive    int        // processes
	released bool
	running  sync.WaitGroup // processes; grows only while released is not set
}

// errContainerReleased is why the processes of a container end that is released.
var errContainerReleased = fmt.Errorf("the container was released: %w", context.Canceled)

// NewContainer makes a container. Ctx belongs to a job, whose session lends secrets,
// and ends only the making: the container is there until it is released.
func NewContainer(ctx context.Context, d Deps, opt ContainerOptions) (*Container, error) {
	if d.Executor == nil {
		return nil, fmt.Errorf("a container cannot be made: %w", (&op{Deps: d}).noExecutor())
	}
	if _, ok := pb.NetMode_name[int32(opt.Network)]; !ok {
		return nil, fmt.Errorf("network mode %d is not known", opt.Network)
	}
	hosts, err := extraHosts(opt.ExtraHosts)
	if err != nil {
		return nil, err
	}
	c := &Container{opt: opt, id: identity.NewID(), hosts: hosts, started: make(chan struct{})}
	exec := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"container", c.id}, Cwd: "/"}, Mounts: detached(opt), Network: opt.Network}
	slots, _, err := layout(exec, len(opt.Mounts))
	if err != nil {
		return nil, fmt.Errorf("a container: %w", err)
	}
	c.op = &op{Deps: d, exec: exec, platform: opt.Platform, slots: slots}
	c.mounts, err = c.op.mount(ctx, opt.Trees, nil)
	if err != nil {
		return nil, errors.Join(err, c.mounts.release(ctx))
	}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return c, nil
}

// detached are the mounts, each of the tree of its own number and of no output.
func detached(opt ContainerOptions) []*pb.Mount {
	out := make([]*pb.Mount, len(opt.Mounts))
	for i, m := range opt.Mounts {
		if m == nil {
			continue // layout says so
		}
		out[i] = m.CloneVT()
		out[i].Input, out[i].Output = int64(pb.Empty), int64(pb.SkipOutput)
		if i < len(opt.Trees) && opt.Trees[i] != nil {
			out[i].Input = int64(i)
		}
	}
	return out
}

// Start starts a process, which ends with the container or with ctx. It is to be waited
// for.
func (c *Container) Start(ctx context.Context, req gwclient.StartRequest) (gwclient.ContainerProcess, error) {
	meta, err := c.meta(ctx, req)
	if err != nil {
		return nil, err
	}
	p := newProcess()
	info := executor.ProcessInfo{
		Meta: meta, Stdin: req.Stdin, Stdout: req.Stdout, Stderr: req.Stderr, Resize: p.resize, Signal: p.signal,
	}
	if err := c.begin(ctx, p, info); err != nil {
		return nil, err
	}
	select {
	case <-c.started:
		return p, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// begin has a process run: the container's own if it is the first.
func (c *Container) begin(ctx context.Context, p *process, info executor.ProcessInfo) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released {
		return errors.New("a process cannot be started in a container that was released")
	}
	own, stop := context.WithCancelCause(c.ctx)
	unlink := context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })
	run := c.join
	if !c.began {
		c.began, run = true, c.first
	}
	c.alive++
	c.running.Go(func() {
		defer stop(nil)
		defer unlink()
		p.err = run(own, info)
		c.mu.Lock()
		c.alive--
		c.mu.Unlock()
		close(p.ended)
	})
	return nil
}

// first runs the container's own process.
func (c *Container) first(ctx context.Context, info executor.ProcessInfo) error {
	err := c.opt.Allowed.Check(entitlements.Values{NetworkHost: c.opt.Network == pb.NetMode_HOST})
	if err == nil {
		err = c.op.checkProgram(ctx, c.mounts, info.Meta)
	}
	if err != nil {
		close(c.started)
		return err
	}
	_, err = c.op.Executor.Run(ctx, c.id, c.mounts.root, c.mounts.others, info, c.started)
	return err
}

// join runs one of the others.
func (c *Container) join(ctx context.Context, info executor.ProcessInfo) error {
	select {
	case <-c.started:
		return c.op.Executor.Exec(ctx, c.id, info)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// meta says how a process is run.
func (c *Container) meta(ctx context.Context, req gwclient.StartRequest) (executor.Meta, error) {
	if len(req.Args) == 0 {
		return executor.Meta{}, errors.New("a process of a container names no program")
	}
	if err := pb.ValidateSecurityMode(req.SecurityMode); err != nil {
		return executor.Meta{}, err
	}
	insecure := entitlements.Values{SecurityInsecure: req.SecurityMode == pb.SecurityMode_INSECURE}
	if err := c.opt.Allowed.Check(insecure); err != nil {
		return executor.Meta{}, err
	}
	if err := checkSecretEnv(req.SecretEnv); err != nil {
		return executor.Meta{}, err
	}
	asked := &op{Deps: c.op.Deps, exec: &pb.ExecOp{Secretenv: req.SecretEnv}}
	// The session is that of the container's build; the call ends with ctx.
	secretCtx, stop := context.WithCancelCause(c.ctx)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	secrets, err := asked.secretEnv(secretCtx)
	if err != nil {
		return executor.Meta{}, err
	}
	env := withDefault(slices.Clone(req.Env), "PATH", system.DefaultPathEnv(c.opt.Platform.GetOS()))
	if req.Tty {
		env = withDefault(env, "TERM", "xterm")
	}
	cwd := req.Cwd
	if cwd == "" {
		cwd = "/"
	}
	meta := executor.Meta{
		Args: slices.Clone(req.Args), Env: append(env, secrets...), User: req.User, Cwd: cwd, Tty: req.Tty,
		Hostname: c.opt.Hostname, ExtraHosts: c.hosts, NetMode: c.opt.Network, SecurityMode: req.SecurityMode,
		ReadonlyRootFS: c.mounts.root.Readonly, RemoveMountStubsRecursive: req.RemoveMountStubsRecursive,
	}
	if c.opt.Network != pb.NetMode_NONE {
		c.op.Proxy.into(&meta)
	}
	return meta, nil
}

// withDefault adds a variable that is not there.
func withDefault(env []string, name, value string) []string {
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
		return env
	}
	return append(env, name+"="+value)
}

// Tree is what a mount shows, which processes may be writing to.
func (c *Container) Tree(mount int) (store.Tree, error) {
	if mount < 0 || mount >= len(c.mounts.trees) {
		return nil, fmt.Errorf("the container has no mount %d: it has %d", mount, len(c.mounts.trees))
	}
	if t := c.mounts.trees[mount]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("mount %d of the container has no files that can be read from outside of it", mount)
}

// Release kills what runs, waits for it, and gives up the mounts. It says whether there
// was something to kill. It may be called again.
func (c *Container) Release(ctx context.Context) (killed bool, err error) {
	c.mu.Lock()
	first := !c.released
	c.released = true
	killed = c.alive > 0
	c.mu.Unlock()
	c.cancel(errContainerReleased)
	c.running.Wait()
	if !first {
		return false, nil
	}
	return killed, c.mounts.release(ctx)
}
