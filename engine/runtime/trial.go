package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/sys/mountinfo"
	"github.com/moby/sys/user"

	"github.com/tenonbuild/tenon/internal/regular"
)

const (
	trialFile    = "trial.json" // in Options.Root
	trialArg     = "/tenon-trial"
	trialTimeout = 20 * time.Second
)

// maxTrial is how many bytes the memory of a trial may have.
const maxTrial = 1 << 16

// trial is a trial that went well. It stands for as long as Key is the same.
type trial struct {
	Key     string // of what the outcome depends on
	Version string
}

// tried makes sure, by a trial or the memory of one, that the runtime works here,
// and returns its version.
func (e *Executor) tried(ctx context.Context, opt Options) (version string, err error) {
	key := trialKey(e.binary, opt)
	file := filepath.Join(opt.Root, trialFile)
	if dt, err := regular.Read(file, maxTrial); err == nil {
		var t trial
		if json.Unmarshal(dt, &t) == nil && key != "" && t.Key == key {
			return t.Version, nil
		}
	}
	ctx, stop := context.WithTimeoutCause(ctx, trialTimeout, fmt.Errorf("it did not end within %s", trialTimeout))
	defer stop()
	out, err := exec.CommandContext(ctx, e.binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", e.binary, err)
	}
	version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err := e.try(ctx, opt.Root); err != nil {
		return "", err
	}
	dt, err := json.Marshal(trial{Key: key, Version: version})
	if err != nil {
		return "", err
	}
	if err := regular.Sweep(opt.Root); err != nil {
		return "", err
	}
	return version, regular.Replace(file, dt)
}

// try runs a container for a program that is not there. A runtime that complains
// about that, and of nothing else, has made everything else.
func (e *Executor) try(ctx context.Context, root string) error {
	dir, err := os.MkdirTemp(root, "trial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var said output
	_, err = e.Run(ctx, "", executor.Mount{Src: emptyDir(dir)}, nil, executor.ProcessInfo{
		Meta:   executor.Meta{Args: []string{trialArg}, Cwd: "/", Env: []string{"PATH=/"}, NetMode: pb.NetMode_NONE},
		Stdout: &said,
		Stderr: &said,
	}, nil)
	switch {
	case err == nil:
		return errors.New("it ran a program that does not exist")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case strings.Contains(said.String(), trialArg):
		return nil
	case said.Len() == 0:
		return fmt.Errorf("it cannot run a container: %w", err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
	return fmt.Errorf("it cannot run a container: %s", line)
}

// trialKey names what a trial's outcome depends on. It is "" where that is not
// known; the trial is then made each time.
func trialKey(binary string, opt Options) string {
	st, err := os.Stat(binary)
	if err != nil {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	cgroups, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return ""
	}
	var seen strings.Builder
	for _, m := range cgroups { // a process's namespace of mounts may be its own: what is in it counts
		fmt.Fprint(&seen, m.Root, " ", m.Mountpoint, " ", m.Options, " ", m.VFSOptions, ";")
	}
	return fmt.Sprint(binary, " ", st.Size(), " ", st.ModTime().UnixNano(), " ", strings.TrimSpace(string(boot)), " ", seen.String(), " ",
		os.Geteuid(), " ", opt.CgroupParent, " ", opt.ApparmorProfile, " ", opt.SELinux, " ", opt.NoPivot, " ", opt.Init)
}

// output collects what a process writes. The executor has one goroutine write to
// it at a time: both streams are one pipe.
type output struct{ bytes.Buffer }

// Close implements io.Closer.
func (*output) Close() error { return nil }

// emptyDir is a directory as a root file system.
type emptyDir string

// Mount implements executor.Mountable.
func (d emptyDir) Mount(context.Context, bool) (executor.MountableRef, error) {
	return emptyDirMount(d), nil
}

type emptyDirMount string

// Mount implements executor.MountableRef.
func (d emptyDirMount) Mount() ([]mount.Mount, func() error, error) {
	m := mount.Mount{Type: "bind", Source: string(d), Options: []string{"rbind"}}
	return []mount.Mount{m}, func() error { return nil }, nil
}

// IdentityMapping implements executor.MountableRef.
func (d emptyDirMount) IdentityMapping() *user.IdentityMapping { return nil }
