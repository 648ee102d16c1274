package runtime_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// script makes a program of a shell script.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNoRuntime(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := runtime.New(t.Context(), runtime.Options{Root: t.TempDir()})
	if !errors.Is(err, runtime.ErrNoRuntime) || !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("the error is %v", err)
	}
	for _, want := range []string{"buildkit-runc", "runc", "crun", "apt-get install runc"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
}

func TestRuntimeThatFails(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	bad := script(t, dir, "oci", `[ "$1" = --version ] && { echo oci 1.0; exit; }
echo "cannot do that here" >&2; exit 1`)
	_, err := runtime.New(t.Context(), runtime.Options{Root: t.TempDir(), Binary: bad})
	var no *runtime.NoRuntimeError
	if !errors.As(err, &no) || len(no.Tried) != 1 || no.Tried[0].Binary != bad {
		t.Fatalf("the error is %v", err)
	}
	if !strings.Contains(err.Error(), "cannot do that here") {
		t.Errorf("the error does not say what the runtime said:\n%v", err)
	}
}

// A runtime that works is found behind one that does not, and then remembered.
func TestFindsTheOneThatWorks(t *testing.T) {
	testenv.Root(t)
	real := testenv.Tool(t, "runc")
	dir := t.TempDir()
	script(t, dir, "buildkit-runc", "exit 1")
	if err := os.Symlink(real, filepath.Join(dir, "runc")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	opt := runtime.Options{Root: t.TempDir()}
	e, err := runtime.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, e)
	if want := filepath.Join(dir, "runc"); e.Binary() != want {
		t.Fatalf("found %s, not %s", e.Binary(), want)
	}
	if !strings.Contains(e.Version(), "runc") {
		t.Errorf("the version is %q", e.Version())
	}

	// The memory is of this program: another one is tried.
	calls := filepath.Join(dir, "calls")
	counting := script(t, dir, "counting", `echo "$@" >> `+calls+`; exec `+real+` "$@"`)
	opt.Binary = counting
	for range 2 {
		e, err := runtime.New(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		closing(t, e)
	}
	dt, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(dt), " run "); n != 1 {
		t.Errorf("%d trials:\n%s", n, dt)
	}
}

// crun is used where it works, and where it does not the error says why.
func TestCrun(t *testing.T) {
	root := rootfs(t)
	crun, err := exec.LookPath("crun")
	if err != nil {
		t.Skip("there is no crun")
	}
	e, err := runtime.New(t.Context(), runtime.Options{Root: t.TempDir(), Binary: crun})
	if err != nil {
		if !errors.Is(err, runtime.ErrNoRuntime) {
			t.Fatal(err)
		}
		t.Skipf("crun does not work on this machine: %v", err)
	}
	closing(t, e)
	if out, err := run(t.Context(), e, root, "echo hello"); err != nil || out != "hello\n" {
		t.Fatalf("%q, %v", out, err)
	}
}

func TestCancelledNew(t *testing.T) {
	testenv.Root(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := runtime.New(ctx, runtime.Options{Root: t.TempDir(), Binary: testenv.Tool(t, "runc")})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	testenv.Root(t)
	runc := testenv.Tool(t, "runc")
	for name, opt := range map[string]runtime.Options{
		"Root":    {},
		"bridge":  {Root: t.TempDir(), Binary: runc, Network: runtime.Network{Mode: "bridge"}},
		"cni":     {Root: t.TempDir(), Binary: runc, Network: runtime.Network{Mode: "cni", CNIConfig: "/no/such.conflist"}},
		"init":    {Root: t.TempDir(), Binary: runc, Init: "/no/such/init"},
		"program": {Root: t.TempDir(), Binary: runc, Init: "/etc"},
	} {
		if _, err := runtime.New(t.Context(), opt); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
