package main

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// recordings makes the tests of compatibility, which compare what is exported with
// recordings of digests. Those that come with BuildKit are of Docker Hub's busybox: others
// are made with buildkitd.
func (w *workspace) recordings(ctx context.Context, p *plan) error {
	if _, err := os.Stat(w.kept(p.testName())); err == nil {
		return nil
	}
	if err := w.compile(ctx, "buildkitd", "./cmd/buildkitd", "build"); err != nil {
		return err
	}
	if err := w.compile(ctx, "client.test", "./client", "test", "-c"); err != nil {
		return err
	}
	// The tests write where they were compiled, and the next binary embeds it.
	for _, of := range []string{"common", "image", "oci"} {
		if err := os.RemoveAll(filepath.Join(w.copied, "client/testdata/compatibility", of)); err != nil {
			return err
		}
	}
	of := &plan{suite: suite{name: "recordings", pkg: p.pkg, env: []string{"BUILDKIT_UPDATE_COMPAT_GOLDENS=1"}}, functions: p.functions}
	from := *w
	from.daemon, from.jobs, from.timeout, from.retries = w.kept("buildkitd"), 1, 20*time.Minute, 0
	if _, err := from.runAll(ctx, of); err != nil {
		return err
	}
	return w.compile(ctx, p.testName(), "./"+p.pkg, "test", "-c")
}
