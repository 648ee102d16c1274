package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bkclient "github.com/moby/buildkit/client"
)

// loadDaemon is tenond in a process of its own.
type loadDaemon struct {
	cmd                 *exec.Cmd
	root, socket, debug string
	log                 string
}

// startLoadDaemon starts this test's binary as tenond: with -race it has the detector, too.
func startLoadDaemon(t *testing.T) *loadDaemon {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := &loadDaemon{
		root: filepath.Join(dir, "root"), socket: filepath.Join(dir, "sock"), debug: filepath.Join(dir, "debug"), log: filepath.Join(dir, "log"),
	}
	program, config := filepath.Join(dir, "tenond"), filepath.Join(dir, "config")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("[history]\nmaxEntries = 20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(program, "--root", d.root, "--config", config, "--addr", "unix://"+d.socket,
		"--debugaddr", "unix://"+d.debug, "--oci-worker-net=host", "--oci-worker-gc=false")
	d.cmd.Stderr = log
	d.cmd.Env = append(os.Environ(), "GODEBUG=memprofilerate=4096")
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	})
	c, err := bkclient.New(t.Context(), "unix://"+d.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Fatalf("%v\n%s", err, d.said(t))
	}
	return d
}

func (d *loadDaemon) said(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// stop ends the daemon, which has to end well.
func (d *loadDaemon) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer late.Stop()
	err := d.cmd.Wait()
	if said := d.said(t); err != nil || bytes.Contains(said, []byte("panic")) || bytes.Contains(said, []byte("DATA RACE")) {
		t.Errorf("it ended with %v:\n%s", err, said)
	}
}

// gauges are what a daemon holds.
type gauges struct {
	busy             map[string]float64 // what is to be zero
	goroutines, open float64
	heap             float64
	profile          []byte // of the heap
	mounts           int
	files            []string // of what runs
}

func (g gauges) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f open files, %.1f MB, %d mounts", g.goroutines, g.open, g.heap/1e6, g.mounts)
}

// more says what a daemon holds that it did not hold before.
func (g gauges) more(before gauges) (what []string) {
	for name, v := range g.busy {
		if v != 0 {
			what = append(what, fmt.Sprintf("%s is %.0f", name, v))
		}
	}
	for _, f := range g.files {
		what = append(what, f+" is left")
	}
	if before.busy == nil {
		return what
	}
	if g.goroutines > before.goroutines || g.open > before.open || g.mounts > before.mounts {
		what = append(what, fmt.Sprintf("there are %v, and were %v", g, before))
	}
	return what
}

// settle waits until a daemon holds nothing more than before: what clients have left it
// cleans up, but not at once.
func (l *load) settle(t *testing.T, before gauges) (g gauges) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		g = l.daemon.gauges(t)
		what := g.more(before)
		if len(what) == 0 {
			return g
		}
		if time.Now().After(end) {
			t.Fatalf("seed %d: %s\n%s", *loadSeed, strings.Join(what, "\n"), l.daemon.get(t, "/debug/pprof/goroutine?debug=1"))
		}
	}
}

func (d *loadDaemon) gauges(t *testing.T) gauges {
	t.Helper()
	// A profile leaves garbage behind, the more, the more kinds of calls there were. It goes
	// with the next one, which says how much there is before it leaves its own. What pools
	// have is gone after the second.
	profile := d.get(t, "/debug/pprof/heap?gc=1")
	d.get(t, "/debug/pprof/heap?gc=1")
	text := d.get(t, "/debug/pprof/heap?gc=1&debug=1")
	// Of the goroutines that tell of each other in /metrics, none is in here.
	text = append(text, d.get(t, "/debug/pprof/goroutine?debug=1")...)
	text = append(text, d.get(t, "/metrics")...)
	value := func(name string) float64 {
		m := regexp.MustCompile(`(?m)^` + name + ` (?:= )?(\S+)$`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("/metrics has no %s:\n%s", name, text)
		}
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	g := gauges{busy: map[string]float64{}, goroutines: value("goroutine profile: total"), open: value("process_open_fds"), heap: value("# HeapAlloc"), profile: profile}
	for _, name := range []string{"tenon_builds_running", "tenon_sessions_active", "tenon_jobs_active", "tenon_vertices_active"} {
		g.busy[name] = value(name)
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	g.mounts = bytes.Count(mounts, []byte("\n"))
	for _, pattern := range []string{"state/runtime/run/*/", "state/runtime/names/*", "state/secrets/*/"} {
		files, err := filepath.Glob(filepath.Join(d.root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		g.files = append(g.files, files...)
	}
	return g
}

// get asks the debugging pages.
func (d *loadDaemon) get(t *testing.T, path string) []byte {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", d.debug)
	}}}
	resp, err := c.Get("http://tenond" + path)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.said(t))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
