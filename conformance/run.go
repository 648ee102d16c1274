package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
)

// runAll runs the functions of a plan, and returns what all of their tests ended with.
func (w *workspace) runAll(ctx context.Context, p *plan) (map[string]string, error) {
	path, err := w.onPath(p, w.daemon)
	if err != nil {
		return nil, err
	}
	logs := filepath.Join(w.logs, p.name)
	if err := os.RemoveAll(logs); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards all and done
	all, done := map[string]string{}, 0
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(w.jobs)
	for i, f := range p.functions {
		eg.Go(func() error {
			start := time.Now()
			results, err := w.try(ctx, p, f, i, path, logs)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(all, results)
			done++
			word := "ok    "
			if len(f.wrong(results)) > 0 {
				word = "failed"
			}
			fmt.Fprintf(os.Stderr, "%s %d/%d %s %s/%s %.1fs\n", word, done, len(p.functions), p.name, f.top, f.name, time.Since(start).Seconds())
			return err
		})
	}
	return all, eg.Wait()
}

// try runs a function, and again where it failed and is not known to: machines are busy.
func (w *workspace) try(ctx context.Context, p *plan, f *function, i int, path, logs string) (results map[string]string, err error) {
	for n := range w.retries + 1 {
		log := filepath.Join(logs, fmt.Sprintf("%s.%d", strings.ReplaceAll(f.top+"."+f.name, "/", "_"), n))
		if results, err = w.one(ctx, p, f, i, path, log); err != nil {
			return nil, err
		}
		again := false
		for _, name := range f.wrong(results) {
			again = again || !p.known[name]
		}
		if !again {
			break
		}
	}
	return results, nil
}

// one runs a function in namespaces of its own: with it end its processes and mounts.
func (w *workspace) one(ctx context.Context, p *plan, f *function, i int, path, log string) (map[string]string, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	tmp := filepath.Join(w.dir, strconv.Itoa(i))
	if err := os.MkdirAll(filepath.Join(tmp, "home"), 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	ctx2, cancel := context.WithTimeout(ctx, w.timeout+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx2, "/proc/self/exe", inside, strconv.FormatBool(p.network), w.source,
		w.kept(p.testName()), "-test.v", "-test.count=1", "-test.timeout="+w.timeout.String(), "-test.run", f.pattern())
	cmd.Dir = filepath.Join(w.copied, p.pkg)
	cmd.Env = w.env(p, tmp, path)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if p.network {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	_ = cmd.Run() // the results say more than its exit code
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	said, err := os.ReadFile(log)
	return parseResults(said), err
}

// env is the environment of a test: none of it is the caller's.
func (w *workspace) env(p *plan, tmp, path string) []string {
	env := []string{
		"PATH=" + path + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
		"HOME=" + filepath.Join(tmp, "home"), "TMPDIR=" + tmp,
		"BUILDKIT_REGISTRY_MIRROR_DIR=" + w.mirror,
		"BUILDKIT_TEST_SIGN_FIXTURES=" + w.kept("keys"),
	}
	for _, v := range p.env {
		env = append(env, strings.ReplaceAll(v, "{frontend}", w.frontendFile()))
	}
	return env
}

// lock waits until nobody else prepares.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	l := flock.New(file)
	if _, err := l.TryLockContext(ctx, time.Second); err != nil {
		return nil, err
	}
	return func() { _ = l.Unlock() }, nil
}
