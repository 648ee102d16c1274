package runtime_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/sys/mountinfo"
	"github.com/tenonbuild/tenon/engine/runtime"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// leftovers are the mounts below a folder, the containers runc knows, and the
// cgroups of the test's.
func leftovers(t *testing.T, state string) []string {
	t.Helper()
	var left []string
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(state))
	if err != nil {
		t.Fatal(err)
	}
	memory := filepath.Join(state, "run")
	for _, m := range mounts {
		if m.Mountpoint == memory {
			continue
		}
		left = append(left, "mounted: "+m.Mountpoint)
	}
	for _, dir := range []string{state, memory, filepath.Join(state, "names")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			own := dir == state && (e.Name() == "run" || e.Name() == "names")
			if !own && (e.IsDir() || filepath.Base(dir) == "names") {
				left = append(left, "there: "+filepath.Join(dir, e.Name()))
			}
		}
	}
	return left
}

// known are the containers runc and the cgroups below parent have.
func known(t *testing.T, parent string) []string {
	t.Helper()
	var left []string
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + parent + "/buildkit/*")
	if err != nil {
		t.Fatal(err)
	}
	v2, err := filepath.Glob("/sys/fs/cgroup/" + parent + "/buildkit/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range append(groups, v2...) {
		if st, err := os.Stat(g); err == nil && st.IsDir() {
			left = append(left, g)
		}
	}
	return left
}

// ownCgroup is a parent of cgroups that is the test's alone, and gone after it.
func ownCgroup(t *testing.T) string {
	parent := "tenon-test-" + identity.NewID()
	t.Cleanup(func() {
		if err := runtime.RemoveCgroups(context.Background(), map[string]bool{parent: true}); err != nil {
			t.Error(err)
		}
	})
	return parent
}

func TestExitCodes(t *testing.T) {
	e := newExecutor(t, runtime.Options{})
	root := rootfs(t)
	for script, want := range map[string]uint32{"exit 3": 3, "sh -c 'kill -9 $$'; exit $?": 137, "no-such-program": 127} {
		_, err := run(t.Context(), e, root, script)
		var exit *gatewayapi.ExitError
		if !errors.As(err, &exit) || exit.ExitCode != want {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// What a step leaves in the background ends with it, whoever holds its output open.
func TestBackgroundProcesses(t *testing.T) {
	e := newExecutor(t, runtime.Options{})
	root := rootfs(t)
	begun := time.Now()
	out, err := run(t.Context(), e, root, "for i in 1 2 3 4 5; do sh -c 'sleep 600 & sleep 600 &' & done; wait; echo done")
	if err != nil || out != "done\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if d := time.Since(begun); d > 5*time.Minute {
		t.Errorf("it took %s", d)
	}
}

// orphans makes zombies of PID 1, unless that reaps: a shell does, sleep does not.
const orphans = `i=0; while [ $i -lt 20 ]; do sh -c 'true & exit'; i=$((i+1)); done
sleep 0.2
echo pid $$ zombies $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l)`

func TestInitReaps(t *testing.T) {
	init := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-o", init, "./testdata/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root := rootfs(t)
	for _, name := range []string{"grep", "wc"} {
		if err := os.Symlink("busybox", filepath.Join(string(root), "bin", name)); err != nil {
			t.Fatal(err)
		}
	}

	shell := newExecutor(t, runtime.Options{})
	out, err := run(t.Context(), shell, root, orphans)
	if err != nil || out != "pid 1 zombies 0\n" {
		t.Errorf("with the shell as PID 1: %q, %v", out, err)
	}

	e := newExecutor(t, runtime.Options{Init: init})
	out, err = run(t.Context(), e, root, orphans)
	if err != nil || !strings.HasSuffix(out, " zombies 0\n") || strings.HasPrefix(out, "pid 1 ") {
		t.Errorf("with an init: %q, %v", out, err)
	}
	var exit *gatewayapi.ExitError
	if _, err := run(t.Context(), e, root, "exit 5"); !errors.As(err, &exit) || exit.ExitCode != 5 {
		t.Errorf("the exit code behind an init: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(string(root), "dev/.init")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the init's mount point stays in the tree: %v", err)
	}
}

// A step that is cancelled is killed, whenever that is, and nothing is left of it.
func TestCancelAtAnyTime(t *testing.T) {
	parent := ownCgroup(t)
	state := filepath.Join(t.TempDir(), "containers")
	e := newExecutor(t, runtime.Options{Root: state, CgroupParent: parent})
	root := rootfs(t)
	n := 40
	if testing.Short() {
		n = 10
	}
	for range n {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("no longer wanted")
		after := time.Duration(rand.Int64N(int64(80 * time.Millisecond)))
		timer := time.AfterFunc(after, func() { cancel(why) })
		_, err := run(ctx, e, root, "sleep 600 & sleep 600")
		timer.Stop()
		if !errors.Is(err, why) {
			t.Fatalf("cancelled after %s: %v", after, err)
		}
	}
	if left := append(leftovers(t, state), known(t, parent)...); len(left) != 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	out, err := exec.Command("runc", "list").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), state) {
		t.Errorf("runc still knows:\n%s", out)
	}
}

func TestCancelledBefore(t *testing.T) {
	e := newExecutor(t, runtime.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	started := make(chan struct{})
	_, err := runMeta(ctx, e, rootfs(t), nil, executor.Meta{Args: []string{"/bin/true"}, Cwd: "/"}, started)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-started
}

// What a process that was killed left is removed when the next one starts.
func TestSweep(t *testing.T) {
	parent := ownCgroup(t)
	root := rootfs(t)
	state := filepath.Join(t.TempDir(), "containers")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), "TENON_TEST_STATE="+state, "TENON_TEST_ROOTFS="+string(root), "TENON_TEST_CGROUP="+parent)
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 8)
	if _, err := io.ReadFull(said, line); err != nil || string(line) != "running\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if left := leftovers(t, state); len(left) < 2 {
		t.Fatalf("the test is of no use: left behind are %q", left)
	}

	newExecutor(t, runtime.Options{Root: state, CgroupParent: parent})
	if left := append(leftovers(t, state), known(t, parent)...); len(left) != 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if out, err := exec.Command("runc", "list").CombinedOutput(); err != nil || strings.Contains(string(out), state) {
		t.Errorf("runc still knows: %s, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(string(root), "bin/busybox")); err != nil {
		t.Errorf("what was mounted is gone: %v", err)
	}
}

// A process that is killed at any instant of many runs leaves nothing behind the next.
func TestSweepAtAnyInstant(t *testing.T) {
	if ms := os.Getenv("TENON_TEST_KILL_AFTER"); ms != "" {
		after, err := time.ParseDuration(ms)
		if err != nil {
			t.Fatal(err)
		}
		e := newExecutor(t, runtime.Options{Root: os.Getenv("TENON_TEST_STATE"), CgroupParent: os.Getenv("TENON_TEST_CGROUP")})
		time.AfterFunc(after, func() { _ = unix.Kill(os.Getpid(), unix.SIGKILL) })
		for {
			_, _ = run(t.Context(), e, bind(os.Getenv("TENON_TEST_ROOTFS")), "true; true & sh -c 'sleep 0.01'")
		}
	}
	root, parent := rootfs(t), ownCgroup(t)
	state := filepath.Join(t.TempDir(), "containers")
	newExecutor(t, runtime.Options{Root: state, CgroupParent: parent}) // the trial is made once
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	rng, found := rand.New(rand.NewPCG(1, 1)), 0
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSweepAtAnyInstant$")
		cmd.Env = append(os.Environ(), "TENON_TEST_STATE="+state, "TENON_TEST_ROOTFS="+string(root), "TENON_TEST_CGROUP="+parent,
			"TENON_TEST_KILL_AFTER="+(time.Duration(rng.IntN(120))*time.Millisecond).String())
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("it was not killed: %v, %s", err, out)
		}
		found += len(leftovers(t, state))
		newExecutor(t, runtime.Options{Root: state, CgroupParent: parent})
		if left := append(leftovers(t, state), known(t, parent)...); len(left) != 0 {
			t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
		}
	}
	if found == 0 {
		t.Error("the test is of no use: nothing was ever left")
	}
}

// TestKilledProcess is the process that TestSweep kills.
func TestKilledProcess(t *testing.T) {
	state := os.Getenv("TENON_TEST_STATE")
	if state == "" {
		t.Skip("TestSweep runs it")
	}
	e := newExecutor(t, runtime.Options{Root: state, CgroupParent: os.Getenv("TENON_TEST_CGROUP")})
	_, err := e.Run(t.Context(), "", executor.Mount{Src: bind(os.Getenv("TENON_TEST_ROOTFS"))}, nil, executor.ProcessInfo{
		Meta:   executor.Meta{Args: []string{"/bin/sh", "-c", "echo running; sleep 600"}, Cwd: "/", Env: []string{"PATH=/bin"}},
		Stdout: os.Stdout,
	}, nil)
	t.Fatal("it was not killed: ", err)
}

func TestNetworks(t *testing.T) {
	// Not of the process: a test of CNI may have left its first thread elsewhere.
	host, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	root := rootfs(t)
	if err := os.Symlink("busybox", filepath.Join(string(root), "bin/readlink")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode string
		net  pb.NetMode
		host bool
	}{
		{"", pb.NetMode_UNSET, false},
		{"", pb.NetMode_HOST, true},
		{"auto", pb.NetMode_NONE, false},
		{"host", pb.NetMode_UNSET, true},
		{"none", pb.NetMode_UNSET, false},
		{"none", pb.NetMode_HOST, true},
	} {
		e := newExecutor(t, runtime.Options{Network: runtime.Network{Mode: c.mode}})
		out, err := runMeta(t.Context(), e, root, nil, executor.Meta{Args: []string{"/bin/readlink", "/proc/self/ns/net"}, Cwd: "/", NetMode: c.net}, nil)
		if err != nil {
			t.Fatal(err, out)
		}
		if got := strings.TrimSpace(out) == host; got != c.host {
			t.Errorf("mode %q, asked for %s: host network: %t", c.mode, c.net, got)
		}
	}
}

func TestConcurrentRunsAndExec(t *testing.T) {
	e := newExecutor(t, runtime.Options{})
	var g errgroup.Group
	for range 2 {
		root := rootfs(t)
		g.Go(func() error {
			_, err := run(t.Context(), e, root, "echo here > /tmp/file; cat /tmp/file")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}

	id := identity.NewID()
	ctx, cancel := context.WithCancel(t.Context())
	root := rootfs(t)
	started := make(chan struct{})
	g.Go(func() error {
		_, err := e.Run(ctx, id, executor.Mount{Src: root}, nil, executor.ProcessInfo{
			Meta: executor.Meta{Args: []string{"/bin/sleep", "600"}, Cwd: "/"}}, started)
		if !errors.Is(err, context.Canceled) {
			return errors.New("the container ended by itself")
		}
		return nil
	})
	<-started
	var out output
	err := e.Exec(t.Context(), id, executor.ProcessInfo{Meta: executor.Meta{Args: []string{"/bin/echo", "inside"}}, Stdout: &out, Stderr: &out})
	if err != nil || out.String() != "inside\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// Executors of one process do not meet in what BuildKit's keeps in variables (which
// the race detector would see), and yet run at the same time: each end of a pipe
// waits for the other.
func TestTwoExecutors(t *testing.T) {
	one, other := newExecutor(t, runtime.Options{}), newExecutor(t, runtime.Options{})
	shared := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(shared, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	ready := make(chan struct{}) // so that they begin at the same time
	for e, script := range map[*runtime.Executor]string{one: "echo met > /tmp/pipe", other: "cat /tmp/pipe"} {
		root := rootfs(t)
		g.Go(func() error {
			<-ready
			mounts := []executor.Mount{{Src: bind(shared), Dest: "/tmp"}}
			_, err := runMeta(t.Context(), e, root, mounts, executor.Meta{Args: []string{"/bin/sh", "-c", script}, Cwd: "/"}, nil)
			return err
		})
	}
	close(ready)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// A run that waits for another's beginning can be cancelled, and leaves nothing.
func TestCancelledBeforeItsTurn(t *testing.T) {
	state := filepath.Join(t.TempDir(), "containers")
	e := newExecutor(t, runtime.Options{Root: state})
	root := rootfs(t)
	defer runtime.HoldBeginnings()()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	started := make(chan struct{})
	stop := time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	defer stop.Stop()
	_, err := runMeta(ctx, e, root, nil, executor.Meta{Args: []string{"/bin/true"}, Cwd: "/"}, started)
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	<-started
	if left := leftovers(t, state); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
