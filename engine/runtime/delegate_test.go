package runtime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// ownGroup2 is a new cgroup of version 2 that has a controller, without processes.
func ownGroup2(t *testing.T) string {
	t.Helper()
	testenv.Root(t)
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		t.Fatal(err)
	}
	if len(mounts) == 0 {
		t.Skip("no cgroups of version 2 are mounted here")
	}
	top := mounts[0].Mountpoint
	if dt, err := os.ReadFile(filepath.Join(top, "cgroup.controllers")); err != nil || len(strings.Fields(string(dt))) == 0 {
		t.Skipf("the cgroups at %s have no controllers (%v)", top, err)
	} else if err := os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+"+strings.Fields(string(dt))[0]), 0); err != nil {
		t.Skipf("the cgroups at %s have their controllers for themselves: %v", top, err)
	}
	group, err := os.MkdirTemp(top, "tenon-test-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := removeCgroup(context.Background(), group); err != nil {
			t.Error(err)
		}
	})
	return group
}

func TestDelegate(t *testing.T) {
	group := ownGroup2(t)
	for range 3 {
		sleeper := exec.Command("sleep", "1000")
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() })
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(sleeper.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the daemon may start twice in a container
		if err := delegate(group); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		dt, err := os.ReadFile(filepath.Join(group, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(dt))
	}
	if left := read("cgroup.procs"); left != "" {
		t.Errorf("processes stayed: %s", left)
	}
	if moved := strings.Fields(read(besides + "/cgroup.procs")); len(moved) != 3 {
		t.Errorf("processes that were moved: %v", moved)
	}
	if all, down := read("cgroup.controllers"), read("cgroup.subtree_control"); all != down {
		t.Errorf("of the controllers %q, %q are handed down", all, down)
	}
}
