package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/daemon"
	"github.com/tenonbuild/tenon/engine/store"
)

// builder is what builds: an engine in this process, or a daemon.
type builder interface {
	Build(ctx context.Context, req engine.Request) (*engine.Response, error)
}

// pruner is what removes records: an engine's store, or a daemon.
type pruner interface {
	Prune(ctx context.Context, opt store.PruneOptions, removed func(store.UsageInfo)) error
}

// worker is what a command works with. One of its fields is set.
type worker struct {
	engine *engine.Engine
	daemon *daemon.Client
}

func (w worker) builder() builder {
	if w.daemon != nil {
		return w.daemon
	}
	return w.engine
}

func (w worker) pruner() pruner {
	if w.daemon != nil {
		return w.daemon
	}
	return w.engine.Store()
}

func (w worker) close() error {
	if w.daemon != nil {
		return w.daemon.Close()
	}
	return w.engine.Close()
}

// daemonAddr is the daemon that --addr or TENON_HOST names; "" for none.
func (c *cli) daemonAddr() string {
	if c.flags.addr != "" {
		return c.flags.addr
	}
	v, _ := c.env("TENON_HOST")
	return v
}

// work lets use work with the daemon that is named, with the root, or with the daemon that
// has it. Where another process has the root that is none, it waits for it.
func (c *cli) work(ctx context.Context, use func(worker) error) (err error) {
	w, err := c.reach(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return use(w)
}

func (c *cli) reach(ctx context.Context) (worker, error) {
	if addr := c.daemonAddr(); addr != "" {
		d, err := daemon.Dial(ctx, addr, c.flags.tls)
		return worker{daemon: d}, err
	}
	if c.flags.tls != (daemon.TLS{}) {
		return worker{}, errors.New("--tlscacert, --tlscert, --tlskey and --tlsservername are for a daemon: name it with --addr or TENON_HOST")
	}
	cfg, err := c.configure()
	if err != nil {
		return worker{}, err
	}
	quiet := *c
	quiet.flags.noWait = true
	for said := false; ; {
		e, err := quiet.open(ctx)
		var locked *store.LockedError
		if !errors.As(err, &locked) {
			return worker{engine: e}, err
		}
		d, err := daemon.Owner(ctx, engine.Questions(cfg.Root))
		if !errors.Is(err, daemon.ErrNone) {
			return worker{daemon: d}, err
		}
		if c.flags.noWait {
			return worker{}, locked
		}
		if !said {
			c.waiting(locked.Owner, cfg.Root)
			said = true
		}
		select {
		case <-ctx.Done():
			return worker{}, fmt.Errorf("gave up waiting: %w (%w)", locked, context.Cause(ctx))
		case <-time.After(readPoll):
		}
	}
}
