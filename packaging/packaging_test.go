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

// checkInstalled has an installed tenon say its version and build something.
func checkInstalled(t *testing.T, tenon string) {
	t.Helper()
	if out := run(t, "", nil, tenon, "--version"); !strings.HasPrefix(out, "tenon "+version+" ") {
		t.Errorf("tenon --version says %q", out)
	}
	testenv.Root(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /copied\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, nil, tenon, "build", "--root", t.TempDir(), "-o", "out", ".")
	if _, err := os.Stat(filepath.Join(dir, "out/copied")); err != nil {
		t.Error(err)
	}
}

// What make dist makes can be installed: the checksums are right, the archive and the
// package hold a tenon that works and its completions.
func TestDist(t *testing.T) {
	dpkg := testenv.Tool(t, "dpkg")
	dist := filepath.Join(t.TempDir(), "dist")
	run(t, "", []string{"DIST=" + dist, "VERSION=" + version, "ARCHES=" + runtime.GOARCH}, "./dist")
	run(t, dist, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")

	unpacked := t.TempDir()
	run(t, unpacked, nil, "tar", "-xzf", filepath.Join(dist, "tenon-"+version+"-linux-"+runtime.GOARCH+".tar.gz"), "--strip-components=1")
	checkInstalled(t, filepath.Join(unpacked, "tenon"))
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if _, err := os.Stat(filepath.Join(unpacked, "completions/tenon."+shell)); err != nil {
			t.Error(err)
		}
	}

	// A system of its own, in which nothing is installed yet.
	system := t.TempDir()
	run(t, system, nil, "mkdir", "-p", "var/lib/dpkg/info", "var/lib/dpkg/updates")
	run(t, system, nil, "touch", "var/lib/dpkg/status")
	deb := filepath.Join(dist, "tenon_"+strings.TrimPrefix(version, "v")+"_"+runtime.GOARCH+".deb")
	run(t, "", nil, dpkg, "--root="+system, "--log="+os.DevNull, "--install", deb)
	checkInstalled(t, filepath.Join(system, "usr/bin/tenon"))
	run(t, "", nil, "bash", "-n", filepath.Join(system, "usr/share/bash-completion/completions/tenon"))
	run(t, "", nil, dpkg, "--root="+system, "--log="+os.DevNull, "--purge", "tenon")
	if left := run(t, system, nil, "find", ".", "-path", "./var", "-prune", "-o", "-type", "f", "-print"); left != "" {
		t.Errorf("after purging there are still:\n%s", left)
	}
}
