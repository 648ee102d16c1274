package build

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRun measures each case once, by ours alone, and small: what is measured builds,
// and each phase runs the steps that it should.
func TestRun(t *testing.T) {
	busybox := needs(t)
	dir := t.TempDir()
	ctx := context.Background()
	ours, err := NewOurs(ctx, filepath.Join(dir, "root"), "/bin/false")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ours.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out strings.Builder
	reg := NewRegistry()
	defer reg.Close()
	r := &Runner{Builders: []Builder{ours}, Registry: reg, Dir: dir, Busybox: busybox, Out: &out, Log: t.Output(), Trials: 1}
	if err := r.Warm(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(ctx, small(append(Cases(true), whyCases(false)[4:]...))); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^build [a-z-]+ (2|20|210) [a-z-]+ \d+\.\d - - - -$|^cost [a-z-]+ 2 [a-z-]+ [a-z-]+ [+-]\d+\.\d [+-]\d+\.\d$|^(downloaded|extracted) [a-z-]+ (2|20) [a-z-]+ \d+ - -$`)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, l := range lines {
		if !line.MatchString(l) {
			t.Errorf("a line is %q", l)
		}
	}
	if len(lines) != 51 {
		t.Errorf("there are %d lines:\n%s", len(lines), out.String())
	}
	// What nothing reads is neither fetched nor unpacked.
	for _, want := range []string{"extracted cache-import 20 hit 0 - -", "extracted cache-copy 2 link 0 - -", "extracted cache-copy 2 plain 2000000 - -"} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no line %q:\n%s", want, out.String())
		}
	}
}

// small are the cases with little to do and without commands.
func small(cases []Case) (less []Case) {
	for _, c := range cases {
		n := 2
		switch c.Name {
		case "context":
			n = 210 // the file that is changed is in the eighth of 200 directories
		case "cache-export", "cache-import":
			n = c.N // not each layer is by a RUN
		}
		var phases []Phase
		for _, p := range c.Phases {
			if p.Command {
				continue
			}
			switch p.Runs {
			case c.N:
				p.Runs = n
			case c.N + 1:
				p.Runs = n + 1
			}
			p.AtOnce = min(p.AtOnce, n)
			phases = append(phases, p)
		}
		c.N, c.Phases = n, phases
		less = append(less, c)
	}
	return less
}

// TestWrong shows that a phase that runs something else than it should is no figure.
func TestWrong(t *testing.T) {
	r := &Runner{Builders: []Builder{idle{}}, Dir: t.TempDir(), Out: t.Output(), Log: t.Output(), Trials: 1}
	err := r.Run(context.Background(), Cases(true)[:1])
	if err == nil || !strings.Contains(err.Error(), "0 RUN steps were executed, and not 10") {
		t.Errorf("a builder that runs nothing: %v", err)
	}
}

// idle does nothing.
type idle struct{ Builder }

func (idle) Name() string                                { return "idle" }
func (idle) Build(context.Context, Request) (int, error) { return 0, nil }

// needs returns a directory with a static busybox; where steps cannot be run, it
// skips the test, or on CI fails it.
func needs(t *testing.T) string {
	t.Helper()
	lacks := t.Skip
	if os.Getenv("CI") == "true" {
		lacks = t.Fatal
	}
	if os.Geteuid() != 0 {
		lacks("this test mounts file systems: run it as root")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		lacks("this test needs runc: ", err)
	}
	path, err := exec.LookPath("busybox")
	if err != nil {
		lacks("this test needs a static busybox: ", err)
	}
	dir := t.TempDir()
	dt, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), dt, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
