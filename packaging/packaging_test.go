// Package packaging_test installs Tenon in the ways in which its users do.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/internal/testenv"
)

const version = "v0.1.0"

// run runs a program to its end and returns what it said.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// checkInstalled has installed programs say their version, and tenon build something.
func checkInstalled(t *testing.T, dir string) {
	t.Helper()
	tenon := filepath.Join(dir, "tenon")
	for _, program := range []string{"tenon", "tenond"} {
		if out := run(t, "", nil, filepath.Join(dir, program), "--version"); !strings.HasPrefix(out, program+" "+version+" ") {
			t.Errorf("%s --version says %q", program, out)
		}
	}
	testenv.Root(t)
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /copied\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, nil, tenon, "build", "--root", t.TempDir(), "-o", "out", ".")
	if _, err := os.Stat(filepath.Join(dir, "out/copied")); err != nil {
		t.Error(err)
	}
}

// checkUnits looks for the units. The service starts what is installed.
func checkUnits(t *testing.T, dir string) {
	t.Helper()
	service, err := os.ReadFile(filepath.Join(dir, "tenond.service"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tenond.socket")); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(service), "\nExecStart=/usr/bin/tenond --addr fd:// ") {
		t.Errorf("the service starts something else:\n%s", service)
	}
}

// What make dist makes can be installed: the checksums are right, the archive and the
// package hold programs that work, their completions, and units for systemd.
func TestDist(t *testing.T) {
	dpkg := testenv.Tool(t, "dpkg")
	dist := filepath.Join(t.TempDir(), "dist")
	run(t, "", []string{"DIST=" + dist, "VERSION=" + version, "ARCHES=" + runtime.GOARCH}, "./dist")
	run(t, dist, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")

	unpacked := t.TempDir()
	run(t, unpacked, nil, "tar", "-xzf", filepath.Join(dist, "tenon-"+version+"-linux-"+runtime.GOARCH+".tar.gz"), "--strip-components=1")
	checkInstalled(t, unpacked)
	checkUnits(t, filepath.Join(unpacked, "systemd"))
	for _, shell := range []string{"bash", "zsh", "fish"} {
		for _, program := range []string{"tenon", "tenond"} {
			if _, err := os.Stat(filepath.Join(unpacked, "completions", program+"."+shell)); err != nil {
				t.Error(err)
			}
		}
	}

	// A system of its own, in which nothing is installed yet.
	system := t.TempDir()
	run(t, system, nil, "mkdir", "-p", "var/lib/dpkg/info", "var/lib/dpkg/updates")
	run(t, system, nil, "touch", "var/lib/dpkg/status")
	deb := filepath.Join(dist, "tenon_"+strings.TrimPrefix(version, "v")+"_"+runtime.GOARCH+".deb")
	run(t, "", nil, dpkg, "--root="+system, "--log="+os.DevNull, "--install", deb)
	checkInstalled(t, filepath.Join(system, "usr/bin"))
	checkUnits(t, filepath.Join(system, "usr/lib/systemd/system"))
	for _, program := range []string{"tenon", "tenond"} {
		run(t, "", nil, "bash", "-n", filepath.Join(system, "usr/share/bash-completion/completions", program))
	}
	run(t, "", nil, dpkg, "--root="+system, "--log="+os.DevNull, "--purge", "tenon")
	if left := run(t, system, nil, "find", ".", "-path", "./var", "-prune", "-o", "-type", "f", "-print"); left != "" {
		t.Errorf("after purging there are still:\n%s", left)
	}
}
