package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

// Daemon is BuildKit's daemon or tenond, started for this, with BuildKit's Go client or
// buildctl.
type Daemon struct {
	name, root, address, buildctl string

	daemon *exec.Cmd
	log    string // the file with what the daemon says
	client *client.Client
}

const daemonStart = 30 * time.Second // the time that the daemon gets to start

// NewDaemon starts a program that takes buildkitd's flags, with all its files in dir, on a
// socket in it. Its steps use the host's network, which costs nothing; those of Ours have
// one of their own.
func NewDaemon(ctx context.Context, name, dir, program, buildctl string) (_ *Daemon, err error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nil, fmt.Errorf("%s runs steps with runc: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := &Daemon{name: name, root: filepath.Join(dir, "root"), address: "unix://" + filepath.Join(dir, "sock"), buildctl: buildctl, log: filepath.Join(dir, "log")}
	config := filepath.Join(dir, "config") // not the machine's
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the daemon has its own
	d.daemon = exec.Command(program,
		"--config", config, "--root", d.root, "--addr", d.address,
		"--oci-worker=true", "--containerd-worker=false",
		"--oci-worker-net=host", "--oci-worker-binary="+runc, "--oci-worker-gc=false")
	d.daemon.Stdout, d.daemon.Stderr = log, log
	// It ends with this process, and an interrupt is for this process alone.
	d.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := d.daemon.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if err := d.connect(ctx); err != nil {
		said, _ := os.ReadFile(d.log) // what there is helps
		return nil, errors.Join(fmt.Errorf("connecting to %s: %w; it says:\n%s", name, err, said), d.stop())
	}
	return d, nil
}

// connect waits until the daemon answers.
func (d *Daemon) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, daemonStart)
	defer cancel()
	if d.client, err = client.New(ctx, d.address); err != nil {
		return err
	}
	return d.client.Wait(ctx)
}

// stop ends the daemon.
func (d *Daemon) stop() error {
	if err := d.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = d.daemon.Wait() // its exit code tells of the signal
	return nil
}

// Name implements Builder.
func (d *Daemon) Name() string { return d.name }

// Client is connected to the daemon.
func (d *Daemon) Client() *client.Client { return d.client }

// Build implements Builder, with the Go client.
func (d *Daemon) Build(ctx context.Context, req Request) (ran int, err error) {
	opt := client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: frontendAttrs(), SharedKey: req.Dir, LocalMounts: map[string]fsutil.FS{}}
	for name, dir := range map[string]string{"context": req.Dir, "dockerfile": req.Dir, "busybox": req.Busybox} {
		if opt.LocalMounts[name], err = fsutil.NewFS(dir); err != nil {
			return 0, err
		}
	}
	if out := req.Output; out.Type != "" {
		x := client.ExportEntry{Type: out.kind(), Attrs: out.attrs()}
		switch out.Type {
		case client.ExporterLocal:
			x.OutputDir = out.Path
		case client.ExporterTar, client.ExporterOCI:
			x.Output = func(map[string]string) (io.WriteCloser, error) { return out.open() }
		}
		opt.Exports = []client.ExportEntry{x}
	}
	opt.CacheImports, opt.CacheExports = caches(req.CacheFrom), caches(req.CacheTo)
	status := make(chan *client.SolveStatus)
	var eg errgroup.Group
	runs, cached := map[string]bool{}, map[string]bool{}
	eg.Go(func() error {
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Completed == nil || !isRun(v.Name) {
					continue
				}
				// One that was cached is told of again when its layers are fetched.
				id := v.Digest.String()
				cached[id] = cached[id] || v.Cached
				if !cached[id] {
					runs[id] = true
				}
			}
		}
		return nil
	})
	_, err = d.client.Solve(ctx, nil, opt, status)
	if werr := eg.Wait(); err == nil {
		err = werr
	}
	return len(runs), err
}

// caches is a cache in a registry, as the client has them.
func caches(ref string) []client.CacheOptionsEntry {
	if ref == "" {
		return nil
	}
	return []client.CacheOptionsEntry{{Type: "registry", Attrs: cacheAttrs(ref)}}
}

// Command implements Builder.
func (d *Daemon) Command(req Request) []string {
	args := []string{d.buildctl, "--addr", d.address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
		"--local", "context=" + req.Dir, "--local", "dockerfile=" + req.Dir, "--local", "busybox=" + req.Busybox}
	for k, v := range frontendAttrs() {
		args = append(args, "--opt", k+"="+v)
	}
	if req.Output.Type != "" {
		args = append(args, "--output", req.Output.flag())
	}
	return args
}

// Idle implements Builder: the daemon is there for the command, too.
func (d *Daemon) Idle(context.Context) (func(context.Context) error, error) {
	return func(context.Context) error { return nil }, nil
}

// Empty implements Builder.
func (d *Daemon) Empty(ctx context.Context) error { return d.client.Prune(ctx, nil, client.PruneAll) }

// Root implements Builder.
func (d *Daemon) Root() string { return d.root }

// Close stops the daemon.
func (d *Daemon) Close() error { return errors.Join(d.client.Close(), d.stop()) }
