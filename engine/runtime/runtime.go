// Package runtime finds an OCI runtime on this machine and makes an executor of
// it: what runs one process in a container, on file systems that it is given. The
// executor is BuildKit's (executor/runcexecutor), with its specification of a
// container: the default capabilities and seccomp profile, a PID namespace, DNS and
// /etc/hosts.
//
// # Who reaps
//
// The process is PID 1 of a PID namespace of its own. When it ends, the kernel kills
// whatever else is in the namespace and reaps it: a step whose children go into the
// background ends when the step's own process does, and leaves nothing behind. Until
// then it is up to that process to reap what is orphaned, as with BuildKit. A shell
// does; for a program that does not, Options.Init puts an init before it.
//
// # What a run costs
//
// 40 ms for a process that does nothing: the mean of 20 runs with runc 1.1.5 on two
// cores (BenchmarkTrue). Nearly all of it is runc's, which is started twice, to run
// the container and to delete it.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	runc "github.com/containerd/go-runc"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/executor/resources"
	"github.com/moby/buildkit/executor/runcexecutor"
	"github.com/moby/buildkit/solver/llbsolver/cdidevices"
	"github.com/moby/buildkit/util/bklog"
	"github.com/sirupsen/logrus"
)

// Options say how containers are run. Only Root is required.
type Options struct {
	// Root is a directory for the state of running containers. One executor has it
	// at a time: what New finds in it was left by a process that died, and is
	// removed.
	Root string
	// Binary is the OCI runtime: a name or a path. Empty stands for the first of
	// buildkit-runc, runc and crun that works here.
	Binary string
	// Network is what a step gets that asks for no particular network.
	Network Network
	// DNS is written to the containers' resolv.conf in place of what this machine
	// has, as far as it is given. Nil leaves it at that.
	DNS *oci.DNSConfig
	// CgroupParent is the cgroup below which containers get theirs, in a group called
	// buildkit. Empty stands for /tenon, without that.
	CgroupParent string
	// ApparmorProfile is the profile that processes are confined by; empty for none.
	ApparmorProfile string
	// SELinux labels the processes.
	SELinux bool
	// NoPivot is for machines whose root is a ramdisk.
	NoPivot bool
	// Init is the path of a statically linked program that is made PID 1, starts the
	// process ("INIT -- ARGS...") and reaps: catatonit, tini-static. Empty for none.
	Init string
	// Devices gives containers devices; nil where they get none.
	Devices *cdidevices.Manager
	// Log gets what BuildKit's executor has to say; nil drops it.
	Log io.Writer
}

// Executor runs processes in containers. Besides what BuildKit's does, it kills a
// container whose context ends at whichever point that happens, and then waits
// until it is gone. It is closed by who made it, when nothing runs any more.
type Executor struct {
	inner    executor.Executor
	networks networks
	proxies  *proxies
	state    *state
	runc     *runc.Runc // for what inner does not do
	log      *logrus.Entry
	init     string
	host     bool // a step that asks for no network has this machine's

	binary, version string
}

var _ executor.Executor = (*Executor)(nil)

// New finds an OCI runtime, sees by a trial that it works here, and makes an
// executor of it. The trial's outcome is kept in opt.Root until the machine or the
// runtime changes. Where there is none that works, the error is a
// *NoRuntimeError, which says what is missing and how to get it.
func New(ctx context.Context, opt Options) (*Executor, error) {
	if opt.Root == "" {
		return nil, errors.New("runtime: Options.Root is empty: it says where the state of containers is kept")
	}
	root, err := filepath.Abs(opt.Root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("making the folder for the state of containers: %w", err)
	}
	// BuildKit's executor resolves links, and so must who cleans up after it.
	if opt.Root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	if opt.Init != "" {
		if err := checkInit(opt.Init); err != nil {
			return nil, err
		}
	}
	st, err := openState(opt.Root)
	if err != nil {
		return nil, err
	}
	e, err := find(ctx, opt, st)
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	return e, nil
}

// newExecutor makes an executor of one runtime, without trying it. The state is
// borrowed, until it is found that the runtime works.
func newExecutor(opt Options, st *state, binary string) (*Executor, error) {
	providers, err := opt.Network.providers(opt.Root, st, opt.DNS)
	if err != nil {
		return nil, err
	}
	proxy := opt.Network.proxies(opt.Root, st, providers)
	inner, err := runcexecutor.New(runcexecutor.Opt{
		Root:                st.memory,
		CommandCandidates:   []string{binary},
		Rootless:            os.Geteuid() != 0,
		DefaultCgroupParent: opt.CgroupParent,
		ProcessMode:         oci.ProcessSandbox,
		NoPivot:             opt.NoPivot,
		DNS:                 opt.DNS,
		ApparmorProfile:     opt.ApparmorProfile,
		SELinux:             opt.SELinux,
		CDIManager:          opt.Devices,
		ProxyProvider:       proxy,
		// The zero Monitor records nothing. Where it records, it keeps containers
		// until a goroutine has taken the last sample.
		ResourceMonitor: &resources.Monitor{},
	}, providers)
	if err != nil {
		return nil, errors.Join(err, providers.close())
	}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	if opt.Log != nil {
		logger.SetOutput(opt.Log)
	}
	return &Executor{
		inner: inner, networks: providers, proxies: proxy, state: st,
		runc:   &runc.Runc{Command: binary, Setpgid: true},
		log:    logrus.NewEntry(logger),
		init:   opt.Init,
		host:   opt.Network.Settled() == "host",
		binary: binary,
	}, nil
}

// Close gives up the networks that are kept ready, and the memory that has the state
// of containers.
func (e *Executor) Close() error {
	return errors.Join(e.proxies.Close(), e.networks.close(), e.state.close())
}

// OwnNetwork is whether a step that asks for no particular network has one of its own,
// in which this machine's loopback is not reached.
func (e *Executor) OwnNetwork() bool { return !e.host }

// Noticing returns a context with which Run tells what whoever builds has to be told of
// the run, each time that it is so.
func (e *Executor) Noticing(ctx context.Context, tell func(text string)) context.Context {
	return context.WithValue(ctx, noticing{}, tell)
}

// noticing is the key of Noticing's function in a context.
type noticing struct{}

func notice(ctx context.Context, text string) {
	if tell, ok := ctx.Value(noticing{}).(func(string)); ok {
		tell(text)
	}
}

// Binary is the path of the OCI runtime.
func (e *Executor) Binary() string { return e.binary }

// Version is the first line of what the OCI runtime says of itself.
func (e *Executor) Version() string { return e.version }

// Exec starts a further process in a container that runs.
func (e *Executor) Exec(ctx context.Context, id string, process executor.ProcessInfo) error {
	return e.inner.Exec(e.context(ctx), id, process)
}

// context has BuildKit's and containerd's code log to e.log.
func (e *Executor) context(ctx context.Context) context.Context {
	// The namespace is also that of cgroups: /tenon/ID.
	return namespaces.WithNamespace(bklog.WithLogger(ctx, e.log), "tenon")
}
