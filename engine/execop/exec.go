package execop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/system"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Prepare implements solver.Preparer: it has the inputs fetched and unpacked, which is
// the work of the steps that they come from.
func (o *op) Prepare(ctx context.Context, inputs []solver.Result) error {
	return store.ExtractAll(ctx, inputs)
}

// Exec implements solver.Op: it runs the process and returns the outputs, by index.
// A process that ends badly is an *ExitError; what it wrote is thrown away. When ctx
// ends, the process is killed and the error is ctx's cause.
func (o *op) Exec(ctx context.Context, inputs []solver.Result) (results []solver.Result, err error) {
	if o.Executor == nil {
		return nil, fmt.Errorf("%q cannot be run: %w", o.command(), o.noExecutor())
	}
	if p := o.platform; p != nil && p.OS != "" && p.OS != "linux" {
		return nil, fmt.Errorf("%q cannot be run: it is for %s, and only commands for Linux can be", o.command(), p.OS)
	}
	refs, err := refsOf(inputs, len(o.deps))
	if err != nil {
		return nil, err
	}
	m, err := o.mount(ctx, refs, nil)
	defer func() {
		if err := m.release(ctx); err != nil {
			warn(ctx, fmt.Sprintf("cleaning up after %q: %v", o.command(), err))
		}
	}()
	if err != nil {
		return nil, err
	}
	meta, err := o.meta(ctx, m)
	if err != nil {
		return nil, err
	}
	if name, ok := o.loopbackProxy(meta.Env); ok {
		warn(ctx, fmt.Sprintf("%s names a proxy on the loopback, but %s", name, ownLoopback))
	}
	if err := o.checkProgram(ctx, m, meta); err != nil {
		return nil, err
	}
	l := newLogs(solver.ProgressFrom(ctx), o.Log)
	named := o.naming(ctx, refs)
	defer func() { named(err == nil) }()
	begun := time.Now()
	asked, err := o.execute(o.noticing(ctx), m, meta, l)
	o.Proxy.tell(ctx, asked, l.stderr)
	if err != nil {
		l.failed()
		return nil, o.keepLeft(ctx, o.runError(ctx, err, l.tail.bytes()), refs, m)
	}
	results, err = m.commit(ctx)
	if err != nil {
		return nil, fmt.Errorf("keeping what %q wrote: %w", o.command(), err)
	}
	if err := o.verify(ctx, refs, m, results, begun); err != nil {
		return nil, errors.Join(err, releaseAll(ctx, results))
	}
	return results, nil
}

// execute runs the process, and says what it has asked a proxy for.
func (o *op) execute(ctx context.Context, m *mounts, meta executor.Meta, l *logs) (*network.ProxyCapture, error) {
	asked := o.Proxy.into(&meta)
	_, err := o.Executor.Run(ctx, "", m.root, m.others, executor.ProcessInfo{Meta: meta, Stdout: l.stdout, Stderr: l.stderr}, nil)
	return asked, err
}

// noticing has what the executor notices be warnings of the step.
func (o *op) noticing(ctx context.Context) context.Context {
	n, ok := o.Executor.(interface {
		Noticing(context.Context, func(string)) context.Context
	})
	if !ok {
		return ctx
	}
	return n.Noticing(ctx, func(text string) { warn(ctx, text) })
}

func (o *op) noExecutor() error {
	if o.NoExecutor != nil {
		return o.NoExecutor
	}
	return errors.New("there is nothing to run containers with")
}

func refsOf(inputs []solver.Result, want int) ([]*store.Ref, error) {
	if len(inputs) != want {
		return nil, fmt.Errorf("exec op with %d inputs was given %d", want, len(inputs))
	}
	refs := make([]*store.Ref, len(inputs))
	for i, r := range inputs {
		ref, err := store.RefOf(r)
		if err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		refs[i] = ref
	}
	return refs, nil
}

// meta says how the process is run.
func (o *op) meta(ctx context.Context, m *mounts) (executor.Meta, error) {
	in := o.exec.Meta
	hosts, err := extraHosts(in.ExtraHosts)
	if err != nil {
		return executor.Meta{}, err
	}
	secrets, err := o.secretEnv(ctx)
	if err != nil {
		return executor.Meta{}, err
	}
	env := append(slices.Clone(in.Env), proxies(in.ProxyEnv)...)
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		env = append(env, "PATH="+system.DefaultPathEnvUnix)
	}
	meta := executor.Meta{
		Args:           slices.Clone(in.Args),
		Env:            append(env, secrets...),
		User:           in.User,
		Cwd:            cwdOf(in),
		Hostname:       in.Hostname,
		ReadonlyRootFS: m.root.Readonly,
		ExtraHosts:     hosts,
		Ulimit:         in.Ulimit,
		CgroupParent:   in.CgroupParent,
		LinuxResources: o.Resources,
		NetMode:        o.exec.Network,
		SecurityMode:   o.exec.Security,
		CDIDevices:     o.exec.CdiDevices,

		RemoveMountStubsRecursive: in.RemoveMountStubsRecursive,
	}
	for _, code := range in.ValidExitCodes {
		meta.ValidExitCodes = append(meta.ValidExitCodes, int(code))
	}
	return meta, nil
}

// extraHosts are further lines for /etc/hosts.
func extraHosts(in []*pb.HostIP) ([]executor.HostIP, error) {
	out := make([]executor.HostIP, len(in))
	for i, h := range in {
		ip := net.ParseIP(h.GetIP())
		if ip == nil {
			return nil, fmt.Errorf("the address of the extra host %q is %q, which is no IP address", h.GetHost(), h.GetIP())
		}
		if h.GetHost() == "" || strings.ContainsAny(h.GetHost(), " \t\r\n#") {
			return nil, fmt.Errorf("%q is no name for an extra host", h.GetHost())
		}
		out[i] = executor.HostIP{Host: h.GetHost(), IP: ip}
	}
	return out, nil
}

// proxies are the variables that programs look for, in both of their spellings.
func proxies(p *pb.ProxyEnv) []string {
	var env []string
	for _, v := range []struct{ name, value string }{
		{"http_proxy", p.GetHttpProxy()},
		{"https_proxy", p.GetHttpsProxy()},
		{"ftp_proxy", p.GetFtpProxy()},
		{"no_proxy", p.GetNoProxy()},
		{"all_proxy", p.GetAllProxy()},
	} {
		if v.value != "" {
			env = append(env, strings.ToUpper(v.name)+"="+v.value, v.name+"="+v.value)
		}
	}
	return env
}

func warn(ctx context.Context, text string) {
	solver.ProgressFrom(ctx).Warn(client.VertexWarning{Short: []byte(text)})
}
