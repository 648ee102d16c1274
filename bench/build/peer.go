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

// Peer is BuildKit: a daemon that was started for it, and its Go client or buildctl.
type Peer struct {
	address, buildctl string

	daemon *exec.Cmd
	log    string // the file with what the daemon says
	client *client.Client
}

const peerStart = 30 * time.Second // the time that the daemon gets to start

// NewPeer starts a daemon with all its files in dir, on a socket in it. Its steps
// use the host's network, which costs nothing; ours have one of their own.
func NewPeer(ctx context.Context, dir, buildkitd, buildctl string) (_ *Peer, err error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nil, fmt.Errorf("the peer runs steps with runc: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &Peer{address: "unix://" + filepath.Join(dir, "sock"), buildctl: buildctl, log: filepath.Join(dir, "log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the daemon has its own
	p.daemon = exec.Command(buildkitd,
		"--config", os.DevNull, "--root", filepath.Join(dir, "root"), "--addr", p.address,
		"--oci-worker=true", "--containerd-worker=false",
		"--oci-worker-net=host", "--oci-worker-binary="+runc, "--oci-worker-gc=false")
	p.daemon.Stdout, p.daemon.Stderr = log, log
	// It ends with this process, and an interrupt is for this process alone.
	p.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.daemon.Start(); err != nil {
		return nil, fmt.Errorf("starting the peer: %w", err)
	}
	if err := p.connect(ctx); err != nil {
		said, _ := os.ReadFile(p.log) // what there is helps
		return nil, errors.Join(fmt.Errorf("connecting to the peer: %w; it says:\n%s", err, said), p.stop())
	}
	return p, nil
}

// connect waits until the daemon answers.
func (p *Peer) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, peerStart)
	defer cancel()
	if p.client, err = client.New(ctx, p.address); err != nil {
		return err
	}
	return p.client.Wait(ctx)
}

// stop ends the daemon.
func (p *Peer) stop() error {
	if err := p.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = p.daemon.Wait() // its exit code tells of the signal
	return nil
}

// Name implements Builder.
func (p *Peer) Name() string { return "peer" }

// Build implements Builder, with the Go client.
func (p *Peer) Build(ctx context.Context, req Request) (ran int, err error) {
	opt := client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: frontendAttrs(), SharedKey: req.Dir, LocalMounts: map[string]fsutil.FS{}}
	for name, dir := range map[string]string{"context": req.Dir, "dockerfile": req.Dir, "busybox": req.Busybox} {
		if opt.LocalMounts[name], err = fsutil.NewFS(dir); err != nil {
			return 0, err
		}
	}
	if out := req.Output; out.Type != "" {
		x := client.ExportEntry{Type: out.Type, Attrs: out.attrs()}
		switch out.Type {
		case client.ExporterLocal:
			x.OutputDir = out.Path
		case client.ExporterTar, client.ExporterOCI:
			x.Output = func(map[string]string) (io.WriteCloser, error) { return out.open() }
		}
		opt.Exports = []client.ExportEntry{x}
	}
	status := make(chan *client.SolveStatus)
	var eg errgroup.Group
	runs := map[string]bool{}
	eg.Go(func() error {
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Completed != nil && !v.Cached && isRun(v.Name) {
					runs[v.Digest.String()] = true
				}
			}
		}
		return nil
	})
	_, err = p.client.Solve(ctx, nil, opt, status)
	if werr := eg.Wait(); err == nil {
		err = werr
	}
	return len(runs), err
}

// Command implements Builder.
func (p *Peer) Command(req Request) []string {
	args := []string{p.buildctl, "--addr", p.address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
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
func (p *Peer) Idle(context.Context) (func(context.Context) error, error) {
	return func(context.Context) error { return nil }, nil
}

// Close stops the daemon.
func (p *Peer) Close() error { return errors.Join(p.client.Close(), p.stop()) }
