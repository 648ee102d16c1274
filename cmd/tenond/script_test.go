package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// TestMain makes this binary the daemon of the scripts, too.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tenond": main, "buildkitd": main})
}

// TestScript runs testdata/script/*.txt: the daemon in a process of its own, and tenon as
// its client.
func TestScript(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../tenon").CombinedOutput(); err != nil {
		t.Fatalf("building tenon: %v\n%s", err, out)
	}
	if err := os.Symlink("tenon", filepath.Join(bin, "buildctl")); err != nil {
		t.Fatal(err)
	}
	runScripts(t, "testdata/script", bin, withRegistry(t))
}

// clientPrograms say how the clients of TestClients are made, and the daemon that they are
// made for, by go. Buildctl's module cannot be installed from; bench is of a version of it.
var clientPrograms = map[string][]string{
	"buildx":   {"install", "github.com/docker/buildx/cmd/buildx@v0.38.2"},
	"buildctl": {"-C", "../../bench", "install", "github.com/moby/buildkit/cmd/buildctl", "github.com/moby/buildkit/cmd/buildkitd"},
}

// TestClients runs testdata/clients/*.txt: the daemon in a process of its own, and as its
// clients buildx and buildctl as they are published.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("makes the clients, which takes long the first time")
	}
	testenv.Root(t)
	testenv.Tool(t, "runc")
	bin := t.TempDir()
	for client, args := range clientPrograms {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("making %s: %v\n%s", client, err, out)
		}
	}
	runScripts(t, "testdata/clients", bin, withRegistry(t))
}

// withRegistry gives each script a registry.
func withRegistry(t *testing.T) func(*testscript.Env) {
	return func(env *testscript.Env) { env.Setenv("REGISTRY", registrytest.New(t).Host) }
}

// runScripts runs the scripts of a directory, with the programs of another one.
func runScripts(t *testing.T, dir, bin string, more func(*testscript.Env)) {
	busybox := testenv.Tool(t, "busybox")
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("BUSYBOX", busybox)
			env.Setenv("BUILDKIT_PROGRESS", "plain")
			env.Setenv("HOME", env.WorkDir)
			all := map[string]*running{}
			env.Values[scriptState{}] = all
			env.Defer(func() {
				for _, r := range all {
					_ = r.cmd.Process.Kill()
					_ = r.cmd.Wait()
				}
			})
			if more != nil {
				more(env)
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start": scriptStart,
			"stop":  scriptStop,
			"get":   scriptGet,
		},
	})
}

type scriptState struct{}

// running is a daemon of a script.
type running struct {
	cmd    *exec.Cmd
	notify *net.UnixConn // where it tells systemd how it is
}

// patience is how long a daemon may take to start, or to stop, on a busy machine.
const patience = time.Minute

// scriptStart: start NAME [SOCKET.sock...] program args... starts a daemon as systemd does, with
// sockets that are open already if some are named, and goes on once it is ready.
func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME [SOCKET.sock] program args...")
	}
	all := ts.Value(scriptState{}).(map[string]*running)
	name, args := args[0], args[1:]
	socket := ts.MkAbs(name + ".notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	ts.Check(err)
	env := []string{"NOTIFY_SOCKET=" + socket}
	var files []*os.File
	var names []string
	for strings.HasSuffix(args[0], ".sock") {
		path, _ := strings.CutSuffix(args[0], ".sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(path + ".sock"), Net: "unix"})
		ts.Check(err)
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		ts.Check(err)
		ts.Check(l.Close())
		defer f.Close()
		files, names, args = append(files, f), append(names, path), args[1:]
	}
	env = append(env, fmt.Sprint("LISTEN_FDS=", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	// The process is to find its own number in LISTEN_PID.
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, args...)...)
	cmd.Dir, cmd.ExtraFiles, cmd.Env = ts.MkAbs("."), files, env
	for _, v := range []string{"PATH", "HOME", "WORK", "TESTSCRIPT_COMMAND"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	log, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	ts.Check(cmd.Start())
	all[name] = &running{cmd, notify}
	all[name].await(ts, "READY=1")
}

func (r *running) await(ts *testscript.TestScript, state string) {
	ts.Check(r.notify.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 4096)
	n, err := r.notify.Read(buf)
	if err != nil {
		ts.Fatalf("waiting for %s: %v", state, err)
	}
	if got := string(buf[:n]); got != state {
		ts.Fatalf("it says %q, and should say %q", got, state)
	}
}

// scriptStop: stop NAME ends a daemon, which has to end well, and prints what it has said.
func scriptStop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop NAME")
	}
	all := ts.Value(scriptState{}).(map[string]*running)
	r := all[args[0]]
	ts.Check(r.cmd.Process.Signal(syscall.SIGTERM))
	r.await(ts, "STOPPING=1")
	late := time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() })
	err := r.cmd.Wait()
	late.Stop()
	delete(all, args[0])
	said := ts.ReadFile(filepath.Base(args[0]) + ".log")
	if _, werr := ts.Stdout().Write([]byte(said)); werr != nil {
		err = errors.Join(err, werr)
	}
	if err != nil || strings.Contains(said, "panic") {
		ts.Fatalf("it ended with %v:\n%s", err, said)
	}
}

// scriptGet: get SOCKET PATH prints what a server at a unix socket answers.
func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get SOCKET PATH")
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", ts.MkAbs(args[0]))
	}}}
	resp, err := c.Get("http://tenond" + args[1])
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("it answers %s", resp.Status)
	}
}
