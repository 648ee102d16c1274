// Package testenv says what a test needs of the machine. Where that is missing the
// test is skipped with a reason; on CI (CI=true) it fails instead, so that nothing
// is left out silently.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Root is for tests that mount or change owners.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacks(t, "this test mounts file systems: run it as root")
	}
}

// Tool returns the path of a program that a test runs.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacks(t, "this test needs "+name+": make test installs it where it may (apt-get install as root)")
	}
	return path
}

func lacks(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
