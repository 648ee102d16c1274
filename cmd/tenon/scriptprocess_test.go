package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/store"
)

var scriptSignals = map[string]os.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}

// scriptSignal: signal SIGNALS LINE CODE program args... starts a program, waits
// until it says a line on standard error, sends it the signals, and waits for it to
// end with an exit code (-1: by a signal), or one of several. It has a little more
// than the command's grace for that.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: signal SIGNALS LINE CODE program args...")
	}
	var want []int
	for code := range strings.SplitSeq(args[2], ",") {
		n, err := strconv.Atoi(code)
		ts.Check(err)
		want = append(want, n)
	}
	scriptProcess(ts, args[1], args[3:], want, func(p *os.Process) {
		for name := range strings.SplitSeq(args[0], ",") {
			ts.Check(p.Signal(scriptSignals[name]))
		}
	})
}

// scriptHoldRoot: holdsroot LINE program args... has the root until the program
// says a line; then it has to end well.
func scriptHoldRoot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: holdsroot LINE program args...")
	}
	st, err := store.Open(context.Background(), store.Options{Root: ts.Getenv("TENON_ROOT")})
	ts.Check(err)
	closed := false
	defer func() {
		if !closed {
			_ = st.Close() // the script has failed
		}
	}()
	scriptProcess(ts, args[0], args[1:], []int{0}, func(*os.Process) {
		closed = true
		ts.Check(st.Close())
	})
}

// scriptProcess runs a program, calls then when it has said a line, and gives it
// a little more than the command's grace to end.
func scriptProcess(ts *testscript.TestScript, line string, args []string, want []int, then func(*os.Process)) {
	r, w, err := os.Pipe()
	ts.Check(err)
	defer r.Close()
	cmd := scriptCommand(ts, args)
	cmd.Stderr, cmd.Stdout = w, ts.Stdout()
	ts.Check(cmd.Start())
	ts.Check(w.Close())
	ts.Check(r.SetReadDeadline(time.Now().Add(time.Minute)))
	said := &heard{lines: make(chan string, 10_000)}
	var listening sync.WaitGroup
	listening.Go(func() { said.listen(r) })
	if !said.await(line) {
		_ = cmd.Process.Kill()
		err := cmd.Wait()
		ts.Fatalf("it ended (%v) without saying %q:\n%s", err, line, said)
	}
	then(cmd.Process)
	late := time.AfterFunc(grace+5*time.Second, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	inTime := late.Stop()
	// What it left behind has the pipe still: that is not waited for.
	ts.Check(r.SetReadDeadline(time.Now().Add(time.Second)))
	listening.Wait()
	fmt.Fprint(ts.Stderr(), said)
	if !inTime {
		ts.Fatalf("it did not end:\n%s", said)
	}
	checkExit(ts, err, want, said.String())
}

// scriptStuck: stuck DIR mounts a file system that answers nothing, for ever, on DIR.
func scriptStuck(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stuck DIR")
	}
	dir := ts.MkAbs(args[0])
	// FUSE, with a server that does not even say hello.
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	ts.Check(err)
	ts.Check(unix.Mount("stuck", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd())))
	ts.Defer(func() {
		ts.Check(dev.Close())
		ts.Check(unix.Unmount(dir, unix.MNT_DETACH))
	})
}

// scriptCommand is a program with the directory and the environment of a script.
func scriptCommand(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := args[0]
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if p := filepath.Join(dir, args[0]); !strings.Contains(args[0], "/") && isProgram(p) {
			path = p
			break
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range strings.Fields("PATH HOME TMPDIR TENON_ROOT TENON_RUNTIME TENON_SNAPSHOTTER BUILDKIT_PROGRESS DOCKER_CONFIG XDG_CONFIG_HOME XDG_RUNTIME_DIR REGISTRY_AUTH_FILE") {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// heard is what a process says.
type heard struct {
	lines chan string // as they come; those that nobody waits for are only kept

	mu  sync.Mutex // guards all
	all bytes.Buffer
}

// listen reads r to its end.
func (h *heard) listen(r io.Reader) {
	defer close(h.lines)
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		h.mu.Lock()
		fmt.Fprintln(&h.all, sc.Text())
		h.mu.Unlock()
		select {
		case h.lines <- sc.Text():
		default:
		}
	}
}

// await waits for a line with a text.
func (h *heard) await(text string) bool {
	for line := range h.lines {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all.String()
}
