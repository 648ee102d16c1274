package runtime_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/sys/user"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// bind is a directory of this machine's, mounted as it is.
type bind string

func (b bind) Mount(_ context.Context, readonly bool) (executor.MountableRef, error) {
	opts := []string{"rbind"}
	if readonly {
		opts = append(opts, "ro")
	}
	return bindMount{path: string(b), opts: opts}, nil
}

type bindMount struct {
	path string
	opts []string
}

func (b bindMount) Mount() ([]mount.Mount, func() error, error) {
	return []mount.Mount{{Type: "bind", Source: b.path, Options: b.opts}}, func() error { return nil }, nil
}

func (bindMount) IdentityMapping() *user.IdentityMapping { return nil }

// output is what a process writes.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(dt []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(dt)
}

func (o *output) Close() error { return nil }

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// rootfs is a tree with busybox in it.
func rootfs(t testing.TB) bind {
	t.Helper()
	testenv.Root(t)
	box := testenv.Tool(t, "busybox")
	dir := t.TempDir()
	for _, d := range []string{"bin", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dt, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), dt, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "true", "sleep", "cat", "ps", "id", "ls", "echo", "hostname", "touch"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return bind(dir)
}

// newExecutor makes an executor of the runtime that tests are run with.
func newExecutor(t testing.TB, opt runtime.Options) *runtime.Executor {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "runc")
	if opt.Root == "" {
		opt.Root = filepath.Join(t.TempDir(), "containers")
	}
	e, err := runtime.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, e)
	return e
}

// closing closes an executor when the test ends.
func closing(t testing.TB, e *runtime.Executor) {
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// run runs a shell script.
func run(ctx context.Context, e *runtime.Executor, root executor.Mountable, script string) (string, error) {
	return runMeta(ctx, e, root, nil, executor.Meta{Args: []string{"/bin/sh", "-c", script}, Cwd: "/"}, nil)
}

func runMeta(ctx context.Context, e *runtime.Executor, root executor.Mountable, mounts []executor.Mount, meta executor.Meta, started chan<- struct{}) (string, error) {
	var out output
	meta.Env = append(meta.Env, "PATH=/bin")
	_, err := e.Run(ctx, "", executor.Mount{Src: root}, mounts, executor.ProcessInfo{Meta: meta, Stdout: &out, Stderr: &out}, started)
	return out.String(), err
}

func TestRuns(t *testing.T) {
	e := newExecutor(t, runtime.Options{Log: testLog{t}})
	t.Log(e.Binary(), e.Version())
	out, err := run(t.Context(), e, rootfs(t), "echo hello; id -u; hostname; cat /proc/self/cgroup; ls -a / /dev")
	if err != nil {
		t.Fatal(err, out)
	}
	t.Log(out)
}

type testLog struct{ t testing.TB }

func (l testLog) Write(dt []byte) (int, error) {
	l.t.Logf("executor: %s", dt)
	return len(dt), nil
}

// BenchmarkTrue is what a step costs that does nothing.
func BenchmarkTrue(b *testing.B) {
	e := newExecutor(b, runtime.Options{})
	root := rootfs(b)
	for b.Loop() {
		if out, err := runMeta(b.Context(), e, root, nil, executor.Meta{Args: []string{"/bin/true"}, Cwd: "/"}, nil); err != nil {
			b.Fatal(err, out)
		}
	}
}
