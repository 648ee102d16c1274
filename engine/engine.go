// Package engine builds: it takes LLB, or what a frontend makes LLB of (a
// Dockerfile, say), finds in its caches what need not be done, runs the rest, and
// exports the result. It is the whole of Tenon as a library, in this process.
//
//	e, err := engine.Open(ctx, engine.Options{Root: "/var/lib/tenon"})
//	if err != nil { ... }
//	defer e.Close()
//	res, err := e.Build(ctx, engine.Request{
//		Frontend: "dockerfile.v0",
//		Session:  session,
//		Exports:  []export.Request{{Type: "local", Dir: "out"}},
//	})
//
// What the libraries below log is discarded: see store/log.go for how to see it.
//
// The umask of the process should be 022 or 0: with another one, directories that
// nobody gives a mode, such as the root of a tree, have less of it, and trees are
// known by the modes of what is in them.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"

	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/resolver/config"

	"github.com/tenonbuild/tenon/engine/devices"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/frontend/dockerfile"
	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/gcpolicy"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/query/remote"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/blob"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/http"
	"github.com/tenonbuild/tenon/engine/source/image"
	"github.com/tenonbuild/tenon/engine/source/local"
	"github.com/tenonbuild/tenon/engine/source/ocilayout"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Options are what an Engine is made of. The zero value of each is a default.
type Options struct {
	// Root is the folder of everything the engine keeps. One process has it at a
	// time.
	Root string
	// Snapshotter is "overlayfs" or "native"; "" is the first that works.
	Snapshotter string
	// NoWait returns a *store.LockedError if another process has the root.
	NoWait bool
	// Waiting is called once before waiting for another process, which it names.
	Waiting func(owner string)
	// Notice is told, for people, what of the root was damaged and what became of it,
	// while the Engine is opened, used and closed.
	Notice func(text string)
	// Registries says how registries are reached, by host.
	Registries map[string]config.RegistryConfig
	// Runtime says how containers are run. Its Root is set by Open.
	Runtime runtime.Options
	// GC says what is removed by itself after builds, and while they run on a disk
	// that gets full. The zero value is limits from the disk's size.
	GC gcpolicy.Config
	// Collected, if not nil, is told what was removed by itself, and why something could
	// not be: then the rest is zero. It may be called at any time until Close returns.
	Collected func(u store.UsageInfo, err error)
	// Labels are the worker's, beside those that it has by itself.
	Labels map[string]string
	// Entitlements are those that builds can be granted (Request.Allow); nil stands for
	// all: who asks for a build then decides.
	Entitlements []string
	// ProxyNetwork has the steps of all builds reach others only by a proxy.
	ProxyNetwork bool
	// Devices are what steps can be given; nil stands for none.
	Devices *devices.Devices
	// ProvenanceEnv is what provenance says of the builder, beside what it is made of.
	ProvenanceEnv map[string]any
	// NoCutoff has no step be found by what the steps before it have written: it is for
	// measuring what that costs (bench/build). What is built is the same.
	NoCutoff bool
	// Parallelism bounds how many steps run at once; 0 is the solver's default.
	Parallelism int
	// Log bounds what is shown of a step's output, and so kept in memory while its build
	// runs.
	Log execop.LogLimits
	// Frontends are run by name beside the built-in ones, before those of equal
	// names.
	Frontends map[string]frontend.Func
	// WithoutFrontends are names of built-in frontends that there are not to be.
	WithoutFrontends []string
	// FrontendImages says which images may be run as frontends; the zero value: all.
	FrontendImages gateway.Images
	// Exporters are used by type beside the built-in ones, before those of equal
	// types.
	Exporters map[string]export.Factory
	// Trees keeps lists of the files that sources had; nil keeps none.
	Trees func(root string) *filetrees.Store
	// Sources makes sources that serve schemes beside the built-in ones, before
	// those of equal schemes.
	Sources func(s *store.Store, sessions *session.Sessions) []source.Source
}

// localCache is the ID of the store as a cache.
const localCache = "local"

// Engine builds. Its methods may be called concurrently.
type Engine struct {
	store     *store.Store
	solver    *solver.Solver
	runtime   *runtime.Executor // nil if there is none that works
	sessions  *session.Sessions
	sources   *source.Set
	registry  *registry.Registry
	frontends map[string]frontend.Func
	exporters map[string]export.Factory
	caches    map[string]remotecache.Backend
	breaker   breaker       // of caches that builds import
	packing   chan struct{} // slots of remotecache.Ahead
	worker    Worker
	grantable []entitlements.Entitlement // nil: all
	devices   *devices.Devices
	proxied   bool
	collected func(store.UsageInfo, error)
	answers   *remote.Server // nil where there can be none
	ops       *ops.Env
	builds    builds
	counter   counter
	trees     treeKeeper

	provenanceEnv map[string]any // only to be read

	mu      sync.Mutex // guards closed, and adding to running
	closed  bool
	running sync.WaitGroup // builds
}

// Open opens or makes a root. The Engine is the caller's, who closes it.
func Open(ctx context.Context, opt Options) (*Engine, error) {
	st, err := store.Open(ctx, store.Options{
		Root: opt.Root, Snapshotter: opt.Snapshotter, NoWait: opt.NoWait, Waiting: opt.Waiting, GC: opt.GC.For, Notice: opt.Notice,
		Removed: func(r store.Removal) { noteRemoved(opt, r) },
	})
	if err != nil {
		return nil, err
	}
	e := &Engine{store: st, sessions: &session.Sessions{}, packing: packSlots(), collected: opt.Collected, provenanceEnv: opt.ProvenanceEnv, devices: opt.Devices, proxied: opt.ProxyNetwork}
	if err := e.assemble(ctx, opt); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	// Where there can be no socket, others wait until the root is free.
	e.answers, _ = remote.Listen(Questions(st.Root()), query.Local(st))
	return e, nil
}

// Questions is the directory by which the process that has a root is asked what is in
// it: see remote.Ask.
func Questions(root string) string { return filepath.Join(root, "state", "questions") }

// History is the directory of the history of builds in a root.
func History(root string) string { return filepath.Join(root, "state", "history") }

// assemble puts the parts together.
func (e *Engine) assemble(ctx context.Context, opt Options) error {
	gc, err := opt.GC.For(e.store.Root())
	if err != nil {
		return err
	}
	if e.worker, err = newWorker(e.store, gc, opt); err != nil {
		return err
	}
	if opt.Entitlements != nil {
		e.grantable = []entitlements.Entitlement{}
		for _, name := range opt.Entitlements {
			if _, _, err := entitlements.Parse(name); err != nil {
				return fmt.Errorf("entitlement %q: %w", name, err)
			}
			e.grantable = append(e.grantable, entitlements.Entitlement(name))
		}
	}
	reg, err := registry.New(registry.Options{Hosts: opt.Registries, Sessions: e.sessions})
	if err != nil {
		return err
	}
	e.registry = reg
	sources, err := builtinSources(e.store, e.sessions, reg)
	if err != nil {
		return err
	}
	if opt.Sources != nil {
		sources = append(sources, opt.Sources(e.store, e.sessions)...)
	}
	e.sources = source.NewSet(sources...)
	e.exporters = export.Builtin(export.Deps{Store: e.store, Pusher: export.ViaRegistry(reg)})
	maps.Copy(e.exporters, opt.Exporters)
	e.caches = remotecache.Builtin(remotecache.Deps{Sessions: e.sessions, Registry: reg})
	e.frontends = map[string]frontend.Func{dockerfile.Name: dockerfile.Build, gateway.ImageFrontend: opt.FrontendImages.Frontend}
	for _, name := range opt.WithoutFrontends {
		delete(e.frontends, name)
	}
	maps.Copy(e.frontends, opt.Frontends)

	if err := execop.Sweep(e.store); err != nil {
		return fmt.Errorf("cleaning up after a build that was killed: %w", err)
	}
	env := &ops.Env{Store: e.store, Sources: e.sources, Sessions: e.sessions, Log: opt.Log, NoCutoff: opt.NoCutoff}
	opt.Runtime.Root, opt.Runtime.Devices = e.store.Path("runtime"), opt.Devices.Manager()
	// Without a runtime only steps that run something fail: they say why.
	x, err := runtime.New(ctx, opt.Runtime)
	switch {
	case err == nil:
		e.runtime, env.Executor = x, x
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		env.NoExecutor = err
	}
	if opt.Trees != nil {
		e.trees.to = opt.Trees(e.store.Root())
		env.Listed = e.trees.keep
	}
	e.ops = env
	e.solver = solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: env.Resolve,
		DefaultCache:  solver.NewCacheManager(localCache, e.store.CacheKeys(), e.store.Results()),
		Parallelism:   opt.Parallelism,
	})
	return nil
}

func builtinSources(st *store.Store, sessions *session.Sessions, reg *registry.Registry) ([]source.Source, error) {
	h, err := http.New(http.Options{Store: st, Sessions: sessions})
	if err != nil {
		return nil, fmt.Errorf("http source: %w", err)
	}
	blobs := blob.Places{Registry: reg, Sessions: sessions}
	g, err := git.New(git.Options{Store: st, Sessions: sessions, Blob: blobs.Open})
	if err != nil {
		return nil, fmt.Errorf("git source: %w", err)
	}
	return []source.Source{
		blob.New(blob.Options{Store: st, Places: blobs}),
		image.New(image.Options{Store: st, Registry: reg}),
		ocilayout.New(ocilayout.Options{Store: st, Sessions: sessions}),
		local.New(local.Options{Store: st, Sessions: sessions}),
		h, g,
	}, nil
}

// Store is where the engine keeps what it makes. It is the engine's: do not close it.
func (e *Engine) Store() *store.Store { return e.store }

// Solver is the engine's solver, for a program that solves vertices of its own.
func (e *Engine) Solver() *solver.Solver { return e.solver }

// Close waits for the builds that are under way, and closes the root.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	e.running.Wait()
	e.solver.Close()
	e.trees.wait()
	var errs error
	if e.runtime != nil {
		errs = e.runtime.Close()
	}
	if e.answers != nil {
		errs = errors.Join(errs, e.answers.Close())
	}
	return errors.Join(errs, e.store.Close())
}

// begin counts a build, unless the engine is closed.
func (e *Engine) begin() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("the engine is closed")
	}
	e.running.Add(1)
	return nil
}
