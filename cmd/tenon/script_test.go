package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// TestMain makes this binary the programs of the scripts, too: tenon itself, and
// one that writes LLB definitions.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tenon":     main,
		"llb-def":   scriptDefinition,
		"tenon-spy": spyMain,
	})
}

// TestScript runs testdata/script/*.txt: the command as people use it, in processes
// of its own, on real files. See testdata/script/README.
func TestScript(t *testing.T) {
	testenv.Root(t)
	// Processes are to have the signals that they have at a terminal, also where the
	// tests run under nohup: one that is caught here is not ignored by who we start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	busybox := testenv.Tool(t, "busybox")
	for _, tool := range []string{"runc", "git", "skopeo", "umoci", "docker-registry"} {
		testenv.Tool(t, tool)
	}
	base, digest := scriptBase(t, busybox)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("BASE_DIGEST", digest)
			return scriptSetup(env, base, busybox)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"archives":  scriptArchives,
			"code":      scriptCode,
			"sh":        scriptShell,
			"signal":    scriptSignal,
			"settled":   scriptSettled,
			"bomb":      scriptBomb,
			"stuck":     scriptStuck,
			"waits":     scriptWaits,
			"registry":  scriptRegistryNew,
			"s3":        scriptS3,
			"gha":       scriptGHA,
			"azure":     scriptAzure,
			"distrib":   scriptDistribution,
			"put":       scriptPut,
			"fault":     scriptFault,
			"protect":   scriptProtect,
			"requests":  scriptRequests,
			"site":      scriptSite,
			"refused":   scriptRefused,
			"holdsroot": scriptHoldRoot,
		},
	})
}

// scriptSetup gives a script a root, a home and a configuration of its own.
func scriptSetup(env *testscript.Env, base, busybox string) error {
	env.Setenv("BUILDKIT_PROGRESS", "plain")
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("TENON_ROOT", filepath.Join(env.WorkDir, "root"))
	env.Setenv("BASE", "base=oci-layout://"+base+":base")
	env.Setenv("LAYOUT", base)
	env.Setenv("BUSYBOX", busybox)
	env.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	env.Values[scriptState{}] = &scriptWorld{t: env.T().(testing.TB), sites: map[string]*scriptServer{}}
	env.Defer(func() { unmountBelow(env.T().(testing.TB), env.WorkDir) })
	return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o755)
}

// scriptState is the key of a script's scriptWorld.
type scriptState struct{}

// scriptWorld is what a script has started.
type scriptWorld struct {
	t     testing.TB // of the script
	sites map[string]*scriptServer
}

func world(ts *testscript.TestScript) *scriptWorld { return ts.Value(scriptState{}).(*scriptWorld) }

// unmountBelow removes what a script mounted, and complains of what the command
// left mounted.
func unmountBelow(t testing.TB, dir string) {
	mounts := mountsBelow(t, dir)
	slices.Reverse(mounts)
	for _, m := range mounts {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", m, err)
		}
	}
}

func mountsBelow(t testing.TB, dir string) (found []string) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	scriptOK(t, err)
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			found = append(found, f[4])
		}
	}
	return found
}

func scriptOK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scriptCode: code N program args... runs a program that has to end with exit code
// N, and nothing may panic.
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	checkExit(ts, err, []int{want}, ts.ReadFile("stderr"))
}

// checkExit checks that a program has ended with one of some codes, and that it did
// not panic.
func checkExit(ts *testscript.TestScript, err error, want []int, stderr string) {
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strings.Contains(stderr, "panic:") || strings.Contains(stderr, "goroutine ") {
		ts.Fatalf("it panicked")
	}
	if !slices.Contains(want, got) {
		ts.Fatalf("exit code %d, and it should be %d", got, want)
	}
}

// scriptBomb: bomb FILE checks that the build of a Dockerfile ends with an error, in a
// minute and within 2 GB of memory.
func scriptBomb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bomb FILE")
	}
	scriptCode(ts, false, []string{"1", "sh", "-c", `ulimit -d 2000000; exec timeout 60 tenon build --build-context "$BASE" -f "$0" b`, args[0]})
}

// scriptShell: sh 'commands' is exec sh -ec, for pipes and redirections.
func scriptShell(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sh 'commands'")
	}
	err := ts.Exec("sh", "-ec", args[0])
	if (err != nil) != neg {
		ts.Fatalf("sh: %v", err)
	}
}

// scriptRefused: refused flag... checks that each flag of docker's is refused by
// name, whatever its value, and that the error says more than that.
func scriptRefused(ts *testscript.TestScript, _ bool, args []string) {
	for _, flag := range args {
		err := ts.Exec("tenon", "build", flag, "1", ".")
		said := ts.ReadFile("stderr")
		checkExit(ts, err, []int{1}, said)
		name, _, _ := strings.Cut(flag, "=")
		if !strings.HasPrefix(said, "ERROR: "+name+" is not there: ") {
			ts.Fatalf("%s: %s", flag, said)
		}
	}
}

// scriptSettled: settled WORD fails if a process has the word in its command line,
// or if anything is mounted below the working directory's root.
func scriptSettled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: settled WORD")
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	for _, d := range dirs {
		if line, err := os.ReadFile(d); err == nil && strings.Contains(string(line), args[0]) {
			ts.Fatalf("%s is still running: %s", d, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	if left := mountsBelow(world(ts).t, ts.Getenv("TENON_ROOT")); len(left) > 0 {
		ts.Fatalf("still mounted: %s", strings.Join(left, " "))
	}
	if left, err := filepath.Glob(filepath.Join(ts.Getenv("TENON_ROOT"), "runtime", "*", "*")); err == nil && len(left) > 0 {
		fmt.Fprintln(ts.Stdout(), strings.Join(left, "\n"))
	}
}
