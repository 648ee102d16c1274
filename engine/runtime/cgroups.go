package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// removeCgroups removes the cgroups of containers, with the processes in them: an OCI
// runtime that was killed while it made a container has not noted them. They are found
// by the containers' IDs, which are random, and which their names are: what said where
// they are has gone with the process that was killed.
func removeCgroups(ctx context.Context, ids map[string]bool) error {
	if len(ids) == 0 {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, deleteWait)
	defer stop()
	for _, m := range mounts {
		err := filepath.WalkDir(m.Mountpoint, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV):
				return nil // it has gone meanwhile
			case err != nil:
				return err
			case !d.IsDir() || !ids[d.Name()]:
				return nil
			}
			if err := removeCgroup(ctx, path); err != nil {
				return err
			}
			return fs.SkipDir
		})
		if err != nil {
			return fmt.Errorf("cgroups of killed containers: %w", err)
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
