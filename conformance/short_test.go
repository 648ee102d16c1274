package main

import (
	"os"
	"testing"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// TestMain makes this binary the one that runs itself in new namespaces.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == inside {
		os.Exit(runInside(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// A few of BuildKit's tests of each subject pass on tenond.
func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles BuildKit's tests, which takes long the first time")
	}
	testenv.Root(t)
	for _, tool := range []string{"runc", "busybox", "docker-registry", "git", "gpg", "ssh-keygen", "curl"} {
		testenv.Tool(t, tool)
	}
	o, err := parse([]string{"-dir", ".", "-short", "-suite", "client,dockerfile,buildctl", "-logs", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
