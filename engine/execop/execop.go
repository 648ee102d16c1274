// Package execop is the LLB exec op: it runs one process in a container, on file
// systems made of the op's inputs, and results in what the process wrote.
//
// # Mounts and outputs
//
// A mount is a bind mount of an input, read-only or as a new tree on top of it; a
// cache mount; a tmpfs; a secret; or the socket of an SSH agent. The one at "/" is the
// root file system. A bind mount with an output results in what is in it at the end.
// One without is thrown away, and so is everything when the process fails.
//
// # What the op is keyed by
//
// The cache map is BuildKit's (solver/llbsolver/ops/exec.go, v0.33), byte for byte,
// so that caches can be exchanged: see CacheMap. The values of secrets, SSH agents,
// proxies and the addresses of extra hosts are no part of it.
//
// # Secrets
//
// The value of a secret is in memory only: in a tmpfs that is there while the process
// runs, or in the process's environment. A process may of course copy it.
package execop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/solver"
)

// Deps is what exec ops work with.
type Deps struct {
	Store    *store.Store
	Sessions *session.Sessions
	// Executor runs the containers. If it is nil, running an op fails with
	// NoExecutor, which says why there is none.
	Executor   executor.Executor
	NoExecutor error
	// Resources limit the process. They are the request's (pb.OpMetadata), no part of
	// the op. Nil sets no limit.
	Resources *pb.LinuxResources
	// TimesCount says of the outputs what store.NewOptions does.
	TimesCount bool
	// NoCutoff has no input be known by the content of its whole tree.
	NoCutoff bool
	// Log bounds what is shown of the output.
	Log LogLimits
	// Proxy, if not nil, has the process reach others only by a proxy.
	Proxy *Proxy
	// Lenders, if not nil, says who may have what new cache mounts begin with.
	Lenders CacheLenders
	// Failed, if not nil, says who may want to look at what a failed run leaves.
	Failed failed.Jobs
	// Verify, if not nil, says who has steps run twice.
	Verify verify.Builds
}

// op runs one pb.ExecOp. It has no state: calls may overlap.
type op struct {
	Deps
	digest   digest.Digest // of the vertex
	name     string
	exec     *pb.ExecOp
	platform *pb.Platform // nil: this machine's
	slots    []slot
	deps     []dep // one for each input
	outputs  int
}

var _ solver.Op = (*op)(nil)

// New makes the op of a vertex. It checks the definition as far as that goes
// without inputs; neither exec nor platform, which may be nil, must change
// afterwards.
func New(exec *pb.ExecOp, platform *pb.Platform, v solver.Vertex, d Deps) (solver.Op, error) {
	inputs := len(v.Inputs())
	if err := check(exec); err != nil {
		return nil, fmt.Errorf("exec op %q: %w", v.Name(), err)
	}
	slots, outputs, err := layout(exec, inputs)
	if err != nil {
		return nil, fmt.Errorf("exec op %q: %w", v.Name(), err)
	}
	deps, err := depsOf(slots, inputs)
	if err != nil {
		return nil, fmt.Errorf("exec op %q: %w", v.Name(), err)
	}
	return &op{Deps: d, digest: v.Digest(), name: v.Name(), exec: exec, platform: platform, slots: slots, deps: deps, outputs: outputs}, nil
}

// check refuses what no process can be run of, or what is not there yet.
func check(exec *pb.ExecOp) error {
	meta := exec.GetMeta()
	if len(meta.GetArgs()) == 0 {
		return errors.New("it names no program")
	}
	if err := pb.ValidateSecurityMode(exec.Security); err != nil {
		return err
	}
	if _, ok := pb.NetMode_name[int32(exec.Network)]; !ok {
		return fmt.Errorf("network mode %d is not known", exec.Network)
	}
	if err := checkSecretEnv(exec.Secretenv); err != nil {
		return err
	}
	for _, u := range meta.Ulimit {
		if u.GetName() == "" {
			return errors.New("a ulimit has no name")
		}
	}
	_, err := extraHosts(meta.ExtraHosts)
	return err
}

func checkSecretEnv(env []*pb.SecretEnv) error {
	for _, s := range env {
		switch {
		case s.GetID() == "":
			return fmt.Errorf("the secret of environment variable %q has no ID", s.GetName())
		case s.GetName() == "" || strings.ContainsAny(s.GetName(), "=\x00"):
			return fmt.Errorf("secret %q: %q is no name of an environment variable", s.GetID(), s.GetName())
		}
	}
	return nil
}

// command is the process as people know it.
func (o *op) command() string { return strings.Join(o.exec.Meta.Args, " ") }
