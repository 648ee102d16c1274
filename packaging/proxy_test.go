package packaging_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const modulePath = "github.com/tenonbuild/tenon"

// publish makes the module in dir known to a module proxy that is a directory, as a
// version: https://go.dev/ref/mod#goproxy-protocol.
func publish(t *testing.T, proxy, dir string, m module.Version) {
	t.Helper()
	at := filepath.Join(proxy, m.Path, "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, dt := range map[string][]byte{
		"list":              []byte(m.Version + "\n"),
		m.Version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, m.Version),
		m.Version + ".mod":  mod,
	} {
		if err := os.WriteFile(filepath.Join(at, name), dt, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(at, m.Version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := zip.CreateFromDir(f, m, dir); err != nil {
		t.Fatal(err)
	}
}

// solverVersion is the version of the solver that the module at the root requires.
func solverVersion(t *testing.T) string {
	t.Helper()
	dt, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", dt, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Replace) + len(f.Exclude); n != 0 {
		t.Errorf("go.mod has %d replace or exclude directives: go install refuses such a module", n)
	}
	for _, r := range f.Require {
		if r.Mod.Path == modulePath+"/solver" {
			return r.Mod.Version
		}
	}
	t.Fatal("go.mod does not require the solver")
	return ""
}

// The commands are installed with go install, and the libraries are required with go
// get, from a module proxy that has what is in this tree.
func TestModuleProxy(t *testing.T) {
	proxy := t.TempDir()
	publish(t, proxy, "..", module.Version{Path: modulePath, Version: version})
	solver := solverVersion(t)
	publish(t, proxy, "../solver", module.Version{Path: modulePath + "/solver", Version: solver})

	// A module cache of its own, so that no published version is taken in place of this
	// tree. What it needs besides comes from the ordinary one, as far as it is there.
	cached := filepath.Join(strings.TrimSpace(run(t, "", nil, "go", "env", "GOMODCACHE")), "cache/download")
	upstream := strings.TrimSpace(run(t, "", nil, "go", "env", "GOPROXY"))
	bin, dir := t.TempDir(), t.TempDir()
	env := []string{
		"GOPROXY=file://" + proxy + ",file://" + cached + "," + upstream, "GOSUMDB=off", "GOWORK=off",
		"GOMODCACHE=" + t.TempDir(), "GOBIN=" + bin, "GOFLAGS=-modcacherw -trimpath", "CGO_ENABLED=0",
	}
	run(t, dir, env, "go", "install", modulePath+"/cmd/tenon@"+version, modulePath+"/cmd/tenond@"+version)
	checkInstalled(t, bin)

	embedder := `package main

import (
	"fmt"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/solver"
)

func main() { fmt.Printf("%T %T\n", engine.Options{}, solver.SolverOpt{}) }
`
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(embedder), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, env, "go", "mod", "init", "example.com/embedder")
	run(t, dir, env, "go", "get", modulePath+"/engine@"+version, modulePath+"/solver@"+solver)
	if out := run(t, dir, env, "go", "run", "."); !strings.HasSuffix(out, "engine.Options solver.SolverOpt\n") {
		t.Errorf("the embedder says %q", out)
	}
}
