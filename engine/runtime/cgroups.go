package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// removeCgroups removes the cgroups of a container, with the processes in them: an OCI
// runtime that was killed while it made a container has not noted them. Bundle is the
// container's directory; without a configuration in it there are none.
func removeCgroups(ctx context.Context, id, bundle string) error {
	dt, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var spec specs.Spec
	// What is not a path that ends with the ID may be somebody else's, or half written.
	if json.Unmarshal(dt, &spec) != nil || spec.Linux == nil || id == "" || filepath.Base(spec.Linux.CgroupsPath) != id || !filepath.IsAbs(spec.Linux.CgroupsPath) {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, deleteWait)
	defer stop()
	for _, m := range mounts {
		if err := removeCgroup(ctx, filepath.Join(m.Mountpoint, spec.Linux.CgroupsPath)); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup kills what is in a cgroup, and in those below, and removes them.
func removeCgroup(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for {
		if err := killCgroup(dir); err != nil {
			return err
		}
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("cgroup %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s: its processes do not end: %w", dir, context.Cause(ctx))
		case <-time.After(killAgain):
		}
	}
}

// killCgroup kills the processes of a cgroup.
func killCgroup(dir string) error {
	dt, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // it is gone
	}
	if err != nil {
		return err
	}
	for line := range strings.FieldsSeq(string(dt)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
	return nil
}
