package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where cgroups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// besides is the cgroup for what is in a container besides the steps.
const besides = "init"

// DelegateCgroups lets steps have limits where this process is in a container with a cgroup
// namespace of its own, as those of Docker and Kubernetes on cgroup v2 are. A cgroup that has
// processes hands no controllers down; so all that is in the container's moves into one below
// it. Elsewhere nothing is done.
func DelegateCgroups() error {
	var mounted unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &mounted); err != nil || mounted.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil //nolint:nilerr // no cgroups of version 2
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || string(bytes.TrimSpace(own)) != "0::/" {
		return err
	}
	// The machine's own first cgroup has no type, and hands down whatever it holds.
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return delegate(cgroupRoot)
}

// delegate moves the processes of a cgroup into one below it, and hands its controllers down.
func delegate(group string) error {
	below := filepath.Join(group, besides)
	if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("a cgroup for what is no step: %w", err)
	}
	// One that starts another while it is moved leaves that behind: a few rounds are enough.
	for range 10 {
		moved, err := moveAll(group, below)
		if err != nil {
			return fmt.Errorf("moving processes to the cgroup %s: %w", below, err)
		}
		if moved == 0 {
			break
		}
	}
	controllers, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			errs = append(errs, fmt.Errorf("handing the controller %s down: %w", c, err))
		}
	}
	return errors.Join(errs...)
}

func moveAll(from, to string) (moved int, err error) {
	procs, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil {
		return 0, err
	}
	for _, pid := range strings.Fields(string(procs)) {
		// "0" is a process that this namespace of processes does not show.
		err := os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return moved, err
		}
		moved++
	}
	return moved, nil
}
