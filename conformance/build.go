package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goTool runs go, for BuildKit's module where it is in that module's directory.
func goTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	if dir != "" {
		cmd.Env = append(cmd.Env, "GOWORK=off")
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	return out, nil
}

// download returns the directory with BuildKit's source, which is not to be changed.
func download(ctx context.Context) (string, error) {
	out, err := goTool(ctx, "", "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return "", err
	}
	var m struct{ Dir string }
	return m.Dir, json.Unmarshal(out, &m)
}

// compile makes a program, unless it was made before: the cache is of one version. It is
// compiled in the copy of the source, since tests may write beside where they were.
func (w *workspace) compile(ctx context.Context, name, pkg string, args ...string) error {
	to := w.kept(name)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	fmt.Fprintf(os.Stderr, "conformance: making %s\n", name)
	args = append(args, "-o", to+".new", pkg)
	if _, err := goTool(ctx, w.copied, args...); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// programs makes what the plans need.
func (w *workspace) programs(ctx context.Context, plans []*plan) error {
	for _, p := range plans {
		if p.compat {
			continue // later, with other recordings
		}
		if err := w.compile(ctx, p.testName(), "./"+p.pkg, "test", "-c"); err != nil {
			return err
		}
		if p.name == "gateway" {
			// Its image has nothing else.
			if err := w.compile(ctx, "dockerfile-frontend", "./frontend/dockerfile/cmd/dockerfile-frontend", "build", "-tags", "netgo,osusergo"); err != nil {
				return err
			}
		}
	}
	if err := w.compile(ctx, "buildctl", "./cmd/buildctl", "build"); err != nil {
		return err
	}
	switch w.daemon {
	case "":
		w.daemon = filepath.Join(w.dir, "tenond")
		_, err := goTool(ctx, "", "build", "-o", w.daemon, "github.com/tenonbuild/tenon/cmd/tenond")
		return err
	case "buildkitd":
		w.daemon = w.kept("buildkitd")
		return w.compile(ctx, "buildkitd", "./cmd/buildkitd", "build")
	}
	var err error
	w.daemon, err = filepath.Abs(w.daemon)
	return err
}

// onPath makes a directory for PATH: the daemon is to be called buildkitd, with flags that
// depend on the suite.
func (w *workspace) onPath(p *plan, daemon string) (string, error) {
	dir := filepath.Join(w.dir, "path-"+p.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	registry, err := exec.LookPath("docker-registry")
	if err != nil {
		return "", err
	}
	links := map[string]string{"registry": registry, "buildctl": w.kept("buildctl")}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	args := p.args
	if strings.HasSuffix(daemon, "/buildkitd") {
		args = nil
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", daemon, strings.Join(args, " "))
	return dir, os.WriteFile(filepath.Join(dir, "buildkitd"), []byte(script), 0o755)
}
