package execop_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
	"golang.org/x/sync/errgroup"
)

func tailOf(err error) string {
	var exit *execop.ExitError
	if errors.As(err, &exit) {
		return string(exit.Tail)
	}
	return ""
}

func TestWritesATree(t *testing.T) {
	m := newMachine(t)
	out, err := m.exec(sh("echo hello > /out; mkdir /new; rm /bin/yes; echo said"), m.base)
	noError(t, err)
	if len(out) != 1 || m.read(out[0], "out") != "hello\n" {
		t.Fatalf("%d results", len(out))
	}
	if got := m.names(m.base, "/"); slices.Contains(got, "out") {
		t.Errorf("the input was changed: %q", got)
	}
	// What a container needs to be mounted upon does not stay in the tree.
	if got := m.names(out[0], "etc"); !slices.Equal(got, []string{"group", "passwd"}) {
		t.Errorf("in /etc: %q", got)
	}
}

func TestProcess(t *testing.T) {
	m := newMachine(t)
	world := m.world()
	meta := func(fn func(*pb.Meta)) func(*pb.ExecOp) { return func(op *pb.ExecOp) { fn(op.Meta) } }
	for name, c := range map[string]struct {
		script string
		change func(*pb.ExecOp)
		want   string
	}{
		"env":              {"echo $A $B", meta(func(m *pb.Meta) { m.Env = []string{"A=1", "B=two"} }), "1 two"},
		"default path":     {"echo $PATH", nil, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		"path":             {"echo $PATH", meta(func(m *pb.Meta) { m.Env = []string{"PATH=/bin"} }), "/bin"},
		"proxies":          {"echo $http_proxy $HTTP_PROXY $no_proxy", meta(func(m *pb.Meta) { m.ProxyEnv = &pb.ProxyEnv{HttpProxy: "p:1", NoProxy: "x"} }), "p:1 p:1 x"},
		"cwd is made":      {"pwd", meta(func(m *pb.Meta) { m.Cwd = "/a/b" }), "/a/b"},
		"no cwd":           {"pwd", meta(func(m *pb.Meta) { m.Cwd = "" }), "/"},
		"root":             {"id -u", nil, "0"},
		"user by name":     {"id -u; id -g; id -G", meta(func(m *pb.Meta) { m.User = "user" }), "1234\n5678\n5678 4321"},
		"user by number":   {"id -u; id -g", meta(func(m *pb.Meta) { m.User = "7:8" }), "7\n8"},
		"user and group":   {"id -u; id -g", meta(func(m *pb.Meta) { m.User = "user:extra" }), "1234\n4321"},
		"hostname":         {"hostname", meta(func(m *pb.Meta) { m.Hostname = "there" }), "there"},
		"hosts":            {"grep example /etc/hosts", meta(func(m *pb.Meta) { m.ExtraHosts = []*pb.HostIP{{Host: "example", IP: "10.1.2.3"}} }), "10.1.2.3\texample"},
		"localhost":        {"grep -c localhost /etc/hosts", nil, "2"},
		"ulimit":           {"ulimit -n; ulimit -Hn", meta(func(m *pb.Meta) { m.Ulimit = []*pb.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}} }), "100\n200"},
		"capabilities":     {"grep CapEff /proc/self/status", nil, "CapEff:\t00000000a80425fb"},
		"seccomp":          {"grep Seccomp: /proc/self/status", nil, "Seccomp:\t2"},
		"insecure":         {"grep Seccomp: /proc/self/status", func(op *pb.ExecOp) { op.Security = pb.SecurityMode_INSECURE }, "Seccomp:\t0"},
		"its own PIDs":     {"echo $$", nil, "1"},
		"valid exit codes": {"exit 3", meta(func(m *pb.Meta) { m.ValidExitCodes = []int32{0, 3} }), ""},
		"cgroup parent":    {"grep -q /tenon-other/ /proc/self/cgroup && echo yes", meta(func(m *pb.Meta) { m.CgroupParent = "tenon-other" }), "yes"},
	} {
		if c.change == nil {
			c.change = func(*pb.ExecOp) {}
		}
		out, err := m.exec(sh("("+c.script+") > /tmp/out", c.change), world)
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, tailOf(err))
			continue
		}
		if got := strings.TrimSpace(m.read(out[0], "tmp/out")); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestNetwork(t *testing.T) {
	m := newMachine(t)
	host, err := os.Readlink("/proc/self/ns/net")
	noError(t, err)
	for mode, want := range map[pb.NetMode]bool{pb.NetMode_UNSET: false, pb.NetMode_HOST: true, pb.NetMode_NONE: false} {
		got := m.run("readlink /proc/self/ns/net > /out", func(op *pb.ExecOp) { op.Network = mode })
		if (strings.TrimSpace(got) == host) != want {
			t.Errorf("%s: %q", mode, got)
		}
	}
}

func TestReadonlyRoot(t *testing.T) {
	m := newMachine(t)
	op := sh("echo x > /out", func(op *pb.ExecOp) { op.Mounts[0].Readonly = true })
	if _, err := m.exec(op, m.base); err == nil || !strings.Contains(tailOf(err), "Read-only") {
		t.Errorf("%v: %s", err, tailOf(err))
	}
	op = sh("test -e /bin/sh", func(op *pb.ExecOp) { op.Mounts[0].Readonly, op.Mounts[0].Output = true, -1 })
	if out, err := m.exec(op, m.base); err != nil || len(out) != 0 {
		t.Errorf("%d results, %v: %s", len(out), err, tailOf(err))
	}
}

func TestExitError(t *testing.T) {
	m := newMachine(t)
	for script, c := range map[string]struct {
		code int
		hint string
	}{
		"echo out; echo err >&2; exit 3":  {3, ""},
		"no-such-program":                 {127, ""},
		"sh -c 'kill -9 $$'; exit $?":     {137, "memory"},
		"echo 'exec format error'; false": {1, "another kind of machine"},
	} {
		_, err := m.exec(sh(script), m.base)
		var exit *execop.ExitError
		if !errors.As(err, &exit) || exit.Code != c.code || !strings.Contains(exit.Hint, c.hint) || (c.hint == "") != (exit.Hint == "") {
			t.Errorf("%s: %v", script, err)
		}
	}
	_, err := m.exec(sh("echo out; echo err >&2; exit 3"), m.base)
	const want = `process "/bin/sh -c echo out; echo err >&2; exit 3" did not complete successfully: exit code: 3`
	if err.Error() != want {
		t.Errorf("the error is %q", err)
	}
	if tail := tailOf(err); !strings.Contains(tail, "out\n") || !strings.Contains(tail, "err\n") {
		t.Errorf("the tail is %q", tail)
	}
	_, err = m.exec(&pb.ExecOp{Meta: &pb.Meta{Args: []string{"/no/program"}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}, m.base)
	if err == nil || !strings.Contains(err.Error(), "the file system has no program /no/program") {
		t.Errorf("a program that is not there: %v: %s", err, tailOf(err))
	}
}

// A runtime that fails is told from a command that does.
func TestContainerNotStarted(t *testing.T) {
	m := newMachine(t)
	_, err := m.exec(&pb.ExecOp{Meta: &pb.Meta{Args: []string{"/bin"}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}, m.base)
	if err == nil || !strings.Contains(err.Error(), `the container was not started: exec: "/bin": `) {
		t.Errorf("%v: %s", err, tailOf(err))
	}
}

func TestForeignProgram(t *testing.T) {
	m := newMachine(t)
	foreign := m.tree(m.base, func(dir string) {
		dt, err := os.ReadFile(filepath.Join(dir, "bin/busybox"))
		noError(t, err)
		dt[18] = 0xF3 // e_machine: RISC-V
		noError(t, os.WriteFile(filepath.Join(dir, "bin/foreign"), dt, 0o755))
	})
	defer func() { noError(t, foreign.Release(context.Background())) }()
	_, err := m.exec(&pb.ExecOp{Meta: &pb.Meta{Args: []string{"/bin/foreign"}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}, foreign)
	if err == nil || !strings.Contains(err.Error(), "another kind of machine") {
		t.Errorf("%v: %s", err, tailOf(err))
	}
}

func TestCancel(t *testing.T) {
	m := newMachine(t)
	why := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer time.AfterFunc(300*time.Millisecond, func() { cancel(why) }).Stop()
	begun := time.Now()
	_, err := m.execContext(ctx, sh("sleep 600 & sleep 600"), m.base)
	if !errors.Is(err, why) {
		t.Errorf("the error is %v", err)
	}
	if d := time.Since(begun); d > 5*time.Minute {
		t.Errorf("it took %s", d)
	}
}

func TestBackgroundProcesses(t *testing.T) {
	m := newMachine(t)
	begun := time.Now()
	if got := m.run("sleep 600 & (sh -c 'sleep 600 &'); echo done > /out"); got != "done\n" {
		t.Errorf("%q", got)
	}
	if d := time.Since(begun); d > 5*time.Minute {
		t.Errorf("it took %s", d)
	}
}

func TestTwoAtATime(t *testing.T) {
	m := newMachine(t)
	// Each waits for the other: they run at the same time or not at all.
	script := func(me, other string) string {
		return "touch /c/" + me + "; while ! test -e /c/" + other + "; do sleep 0.01; done"
	}
	shared := with(&pb.Mount{Input: -1, Output: -1, Dest: "/c", MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "c"}})
	var g errgroup.Group
	ctx, stop := context.WithTimeout(m.ctx, 5*time.Minute)
	defer stop()
	g.Go(func() error { _, err := m.execContext(ctx, sh(script("a", "b"), shared), m.base); return err })
	g.Go(func() error { _, err := m.execContext(ctx, sh(script("b", "a"), shared), m.base); return err })
	noError(t, g.Wait())
}

// BenchmarkTrue is what a step costs that does nothing, with the tree it makes.
func BenchmarkTrue(b *testing.B) {
	m := newMachine(b)
	op := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"/bin/true"}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}
	for b.Loop() {
		if _, err := m.exec(op, m.base); err != nil {
			b.Fatal(err)
		}
	}
}
