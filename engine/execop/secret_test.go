package execop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sync/errgroup"
)

func symlink(old, path string) error { return os.Symlink(old, path) }

func secretMount(opt *pb.SecretOpt, dest string) func(*pb.ExecOp) {
	return with(&pb.Mount{Input: -1, Output: -1, Dest: dest, MountType: pb.MountType_SECRET, SecretOpt: opt})
}

func TestSecrets(t *testing.T) {
	m := newMachine(t)
	// Commands are kept; so they have the value in two halves.
	const value, halves = "the-value-of-a-secret", `"the-value-""of-a-secret"`
	m.caller.lend("token", value)
	opt := &pb.SecretOpt{ID: "token", Uid: 1234, Gid: 5678, Mode: 0o440}
	got := m.run(`stat -c '%u %g %a' /run/secrets/token > /out
test "$(cat /run/secrets/token)" = `+halves+` && echo read >> /out
grep ' /run/secrets/token ' /proc/mounts | grep -o tmpfs.ro >> /out
( echo x > /run/secrets/token ) 2>/dev/null || echo read-only >> /out`, secretMount(opt, "/run/secrets/token"))
	if want := "1234 5678 440\nread\ntmpfs ro\nread-only\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}

	env := func(op *pb.ExecOp) {
		op.Secretenv = []*pb.SecretEnv{{ID: "token", Name: "TOKEN"}, {ID: "none", Name: "NONE", Optional: true}}
	}
	if got := m.run(`test "$TOKEN" = `+halves+` && echo "right[$NONE]" > /out`, env); got != "right[]\n" {
		t.Errorf("in the environment: %q", got)
	}
	if path := findOnDisk(t, m.root, value); path != "" {
		t.Errorf("the value is on the disk: %s", path)
	}

	// A file of the caller's, where optional, and not given.
	if got := m.run("ls /run 2>/dev/null > /out; true", secretMount(&pb.SecretOpt{ID: "none", Optional: true}, "/run/secrets/none")); got != "" {
		t.Errorf("an optional one: %q", got)
	}
	for _, op := range []*pb.ExecOp{
		sh("true", secretMount(&pb.SecretOpt{ID: "none"}, "/s")),
		sh("true", func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{ID: "none", Name: "S"}} }),
	} {
		_, err := m.exec(op, m.base)
		var missing *execop.MissingSecretError
		if !errors.As(err, &missing) || missing.ID != "none" || !errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "--secret id=none") {
			t.Errorf("one that is missing: %v", err)
		}
	}
	// Without a session there are no secrets.
	if _, err := m.execContext(t.Context(), sh("true", secretMount(opt, "/s")), m.base); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("without a session: %v", err)
	}
}

// findOnDisk looks for a text in all files below a folder.
func findOnDisk(t *testing.T, root, text string) (found string) {
	t.Helper()
	noError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		dt, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(dt), text) {
			found = path
		}
		return err
	}))
	return found
}

// What was mounted, or listened at, when a process was killed is removed.
func TestSweep(t *testing.T) {
	m := newMachine(t)
	noError(t, execop.Sweep(m.store))
	left := m.store.Path("secrets", "secret-1")
	noError(t, os.MkdirAll(left, 0o700))
	noError(t, mountTmpfs(left))
	noError(t, os.WriteFile(filepath.Join(left, "value"), []byte("x"), 0o600))
	socket := m.store.Path("agents", "agent-1", "agent")
	noError(t, os.MkdirAll(filepath.Dir(socket), 0o700))
	noError(t, os.WriteFile(socket, nil, 0o600))
	noError(t, execop.Sweep(m.store))
	for _, path := range []string{left, filepath.Dir(socket)} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

// agent is an SSH agent that answers six bytes with the same.
func agent(t *testing.T) (dial func() (net.Conn, error)) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "a"))
	noError(t, err)
	var g errgroup.Group
	g.Go(func() error {
		for {
			c, err := l.Accept()
			if err != nil {
				return nil
			}
			g.Go(func() error {
				defer c.Close()
				_, err := io.Copy(c, io.LimitReader(c, 6))
				return err
			})
		}
	})
	t.Cleanup(func() {
		noError(t, l.Close())
		noError(t, g.Wait())
	})
	return func() (net.Conn, error) { return net.Dial("unix", l.Addr().String()) }
}

func sshMount(opt *pb.SSHOpt) func(*pb.ExecOp) {
	return with(&pb.Mount{Input: -1, Output: -1, Dest: "/run/agent", MountType: pb.MountType_SSH, SSHOpt: opt})
}

// withAsk is the base with the program ask.
func (m *machine) withAsk() *store.Ref {
	m.t.Helper()
	old := m.base
	ref := m.tree(old, func(dir string) {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "bin/ask"), "./testdata/ask")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			m.t.Fatalf("%v: %s", err, out)
		}
	})
	noError(m.t, old.Release(context.Background()))
	return ref
}

func TestSSH(t *testing.T) {
	m := newMachine(t)
	dial := agent(t)
	m.caller.agents = map[string]func() (net.Conn, error){"default": dial, "broken": func() (net.Conn, error) { return nil, fmt.Errorf("broken") }}
	m.base = m.withAsk()
	got := m.run("stat -c '%u %g %a %F' /run/agent > /out; ask /run/agent 2 >> /out", sshMount(&pb.SSHOpt{Uid: 1234, Gid: 5678, Mode: 0o600}))
	if want := "1234 5678 600 socket\nhello\nhello\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if left, err := os.ReadDir(m.store.Path("agents")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}

	if got := m.run("ls /run 2>/dev/null > /out; true", sshMount(&pb.SSHOpt{ID: "none", Optional: true})); got != "" {
		t.Errorf("an optional one: %q", got)
	}
	_, err := m.exec(sh("true", sshMount(&pb.SSHOpt{ID: "none"})), m.base)
	var missing *execop.MissingSSHError
	if !errors.As(err, &missing) || missing.ID != "none" || !strings.Contains(err.Error(), "--ssh none") {
		t.Errorf("one that is missing: %v", err)
	}
	if _, err := m.exec(sh("true", sshMount(&pb.SSHOpt{ID: "broken"})), m.base); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("one that fails: %v", err)
	}
}

// A connection that is open when a step ends, or is cancelled, does not keep it.
func TestSSHCancelled(t *testing.T) {
	m := newMachine(t)
	dial := agent(t)
	reached := make(chan struct{}, 8)
	m.caller.agents = map[string]func() (net.Conn, error){"default": func() (net.Conn, error) {
		reached <- struct{}{}
		return dial()
	}}
	m.base = m.withAsk()
	ctx, cancel := context.WithTimeoutCause(m.ctx, 30*time.Second, errors.New("nobody connects"))
	defer cancel()
	var g errgroup.Group
	g.Go(func() error {
		_, err := m.execContext(ctx, sh("ask /run/agent 0", sshMount(&pb.SSHOpt{Mode: 0o600})), m.base)
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("not cancelled: %w", err)
		}
		return nil
	})
	for range 2 { // the look whether there is one, and the step's
		select {
		case <-reached:
		case <-ctx.Done():
		}
	}
	cancel()
	noError(t, g.Wait())
}
