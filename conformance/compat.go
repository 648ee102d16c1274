package main

import (
	"context"
	"encoding/json"
	"io/fs"
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
	if err := w.compile(ctx, w.source, "buildkitd", "./cmd/buildkitd", "build"); err != nil {
		return err
	}
	if err := w.compile(ctx, w.source, "client.test", "./client", "test", "-c"); err != nil {
		return err
	}
	const recorded = "client/testdata/compatibility"
	dir := filepath.Join(w.copied, recorded)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	of := &plan{suite: suite{name: "recordings", pkg: p.pkg, env: []string{"BUILDKIT_UPDATE_COMPAT_GOLDENS=1"}}, functions: p.functions}
	from := *w
	from.daemon, from.jobs, from.timeout, from.retries = w.kept("buildkitd"), 1, 20*time.Minute, 0
	if _, err := from.runAll(ctx, of); err != nil {
		return err
	}
	// The source stays as it was downloaded: the compiler is shown other files.
	replace := map[string]string{}
	for _, root := range []string{w.source, w.copied} {
		err := filepath.WalkDir(filepath.Join(root, recorded), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, path)
			to := path
			if root == w.source {
				to = "" // not there
			}
			replace[filepath.Join(w.source, name)] = to
			return err
		})
		if err != nil {
			return err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlay := filepath.Join(w.dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o644); err != nil {
		return err
	}
	return w.compile(ctx, w.source, p.testName(), "./"+p.pkg, "test", "-c", "-overlay", overlay)
}
