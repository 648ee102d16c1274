package build

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/moby/buildkit/identity"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/frontend/dockerfile"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/recorder"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver/client"
)

// Ours is Tenon: the engine in this process, and the command tenon.
type Ours struct {
	root, program string
	setup         Setup

	mu     sync.RWMutex // guards engine
	engine *engine.Engine
	others map[Setup]*Ours
}

// NewOurs opens a root. The program is the command tenon.
func NewOurs(ctx context.Context, root, program string) (*Ours, error) {
	o := &Ours{root: root, program: program}
	return o, o.open(ctx)
}

func (o *Ours) open(ctx context.Context) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	opt := engine.Options{Root: o.root, NoCutoff: o.setup == NoCutoff}
	if o.setup == Recorded {
		opt.Trees = func(root string) *filetrees.Store { return history.Trees(engine.History(root)) }
	}
	o.engine, err = engine.Open(ctx, opt)
	return err
}

// As returns ours in another setup, and whether that is new. It is closed with ours.
func (o *Ours) As(ctx context.Context, setup Setup) (other *Ours, fresh bool, err error) {
	if other := o.others[setup]; other != nil {
		return other, false, nil
	}
	if setup == Planned {
		o.mu.RLock()
		defer o.mu.RUnlock()
		return &Ours{root: o.root, program: o.program, setup: setup, engine: o.engine}, false, nil
	}
	other = &Ours{root: o.root + "-" + string(setup), program: o.program, setup: setup}
	if err := other.open(ctx); err != nil {
		return nil, false, err
	}
	if o.others == nil {
		o.others = map[Setup]*Ours{}
	}
	o.others[setup] = other
	return other, true, nil
}

// build is Engine.Build, as the setup has it.
func (o *Ours) build(ctx context.Context, project string, req engine.Request) (err error) {
	if o.setup == Recorded {
		r := recorder.Recorder{Engine: o.engine, Limits: history.DefaultLimits, Project: project, Explain: true}
		_, err = r.Build(ctx, req)
		return err
	}
	if o.setup == Planned {
		close(req.Status)
		_, err = o.engine.Plan(ctx, req)
		return err
	}
	_, err = o.engine.Build(ctx, req)
	return err
}

// Name implements Builder.
func (o *Ours) Name() string { return "ours" }

// Build implements Builder, in this process.
func (o *Ours) Build(ctx context.Context, req Request) (ran int, err error) {
	sess, err := local.New(ctx, local.Options{
		ID:   identity.NewID(),
		Dirs: map[string]string{"context": req.Dir, "dockerfile": req.Dir, "busybox": req.Busybox},
	})
	if err != nil {
		return 0, err
	}
	status := make(chan *client.SolveStatus)
	r := engine.Request{Frontend: dockerfile.Name, FrontendAttrs: frontendAttrs(), Session: sess, Status: status}
	if out := req.Output; out.Type != "" {
		x := export.Request{Type: out.kind(), Attrs: out.attrs()}
		switch out.Type {
		case export.TypeLocal:
			x.Dir = out.Path
		case export.TypeTar, export.TypeOCI:
			x.Open = func(context.Context, map[string]string) (io.WriteCloser, error) { return out.open() }
		}
		r.Exports = []export.Request{x}
	}
	r.CacheFrom, r.CacheTo = cacheOptions(req.CacheFrom), cacheOptions(req.CacheTo)
	var eg errgroup.Group
	runs := map[string]bool{}
	eg.Go(func() error {
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Outcome == client.Executed && isRun(v.Name) {
					runs[v.Digest.String()] = true
				}
			}
		}
		return nil
	})
	o.mu.RLock()
	defer o.mu.RUnlock()
	err = o.build(ctx, req.Dir, r)
	if werr := eg.Wait(); err == nil {
		err = werr
	}
	return len(runs), err
}

// cacheOptions is a cache in a registry, as the engine has them.
func cacheOptions(ref string) []remotecache.Option {
	if ref == "" {
		return nil
	}
	return []remotecache.Option{{Type: "registry", Attrs: cacheAttrs(ref)}}
}

// frontendAttrs are the same for all builders.
func frontendAttrs() map[string]string {
	return map[string]string{"filename": "Dockerfile", "context:busybox": "local:busybox"}
}

// Command implements Builder.
func (o *Ours) Command(req Request) []string {
	args := []string{o.program, "build", "--root", o.root, "--progress", "plain", "--build-context", "busybox=" + req.Busybox}
	if req.Output.Type != "" {
		args = append(args, "--output", req.Output.flag())
	}
	return append(args, req.Dir)
}

// Idle implements Builder: one process has a root at a time.
func (o *Ours) Idle(context.Context) (func(context.Context) error, error) {
	return o.open, o.engine.Close()
}

// Empty implements Builder.
func (o *Ours) Empty(ctx context.Context) error {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.engine.Store().Prune(ctx, store.PruneOptions{All: true}, nil)
}

// Root implements Builder.
func (o *Ours) Root() string { return o.root }

// Close closes the root, and those of other setups.
func (o *Ours) Close() error {
	err := o.engine.Close()
	for _, other := range o.others {
		err = errors.Join(err, other.Close())
	}
	return err
}
