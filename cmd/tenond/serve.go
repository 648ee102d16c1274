package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	apitypes "github.com/moby/buildkit/api/types"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/version"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/control"
	"github.com/tenonbuild/tenon/engine/daemon"
	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/tracing"
	"github.com/tenonbuild/tenon/internal/ownersocket"
	"github.com/tenonbuild/tenon/internal/release"
)

// defaultGrace is how long builds may go on when the daemon is to stop.
const defaultGrace = 10 * time.Second

// maxOwn is how many commands of tenon may be connected at a time.
const maxOwn = 1000

// serve serves until ctx ends.
func serve(ctx context.Context, cfg *configuration) (err error) {
	if err := runtime.DelegateCgroups(); err != nil {
		notice(fmt.Sprintf("steps cannot have limits: %v", err))
	}
	var gone removed
	opt, err := cfg.engine()
	if err != nil {
		return err
	}
	opt.Collected = gone.add
	opt.Trees = func(root string) *filetrees.Store { return history.Trees(engine.History(root)) }
	if opt.ProvenanceEnv, err = readProvenanceEnv(cfg.ProvenanceEnv); err != nil {
		return err
	}
	// They outlive the engine: its builds end when it closes.
	traces, err := tracing.FromEnv(ctx, "tenond", notice)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, traces.Close()) }()
	e, err := open(ctx, opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	past, err := history.Open(engine.History(e.Store().Root()), cfg.History.Limits())
	if err != nil {
		return fmt.Errorf("history of builds: %w", err)
	}
	listeners, err := listen(cfg)
	if err != nil {
		return err
	}
	own, err := ownersocket.Listen(engine.Questions(e.Store().Root()), daemon.SocketName, maxOwn)
	if err != nil {
		return fmt.Errorf("socket for tenon build: %w", err)
	}
	listeners = append(listeners, listener{own, control.Local()})
	api := control.New(control.Options{Engine: e, History: past, Traces: traces, Version: version(), Notice: notice})
	eg, ctx := errgroup.WithContext(ctx)
	if addr := cfg.GRPC.DebugAddress; addr != "" {
		if err := serveDebug(ctx, eg, addr, newMetrics(e, &gone)); err != nil {
			return fmt.Errorf("debugging pages at %s: %w", addr, err)
		}
	}
	var servers []*grpc.Server
	for _, l := range listeners {
		s := grpc.NewServer(append(api.GRPCOptions(), grpc.Creds(l.credentials))...)
		api.Register(s)
		eg.Go(func() error { return s.Serve(l) })
		servers = append(servers, s)
		if l.Listener != own {
			notice(fmt.Sprintf("listening at %s://%s", l.Addr().Network(), l.Addr()))
		}
	}
	tellSystemd(systemd.SdNotifyReady)
	eg.Go(func() error {
		<-ctx.Done()
		api.End()
		tellSystemd(systemd.SdNotifyStopping)
		notice("stopping" + goingOn(e.Solver().Stats().Jobs, cfg.Grace.Duration))
		return stop(servers, api.Cancel, cfg.Grace.Duration)
	})
	return eg.Wait()
}

// open opens the root. Clients and scripts that start buildkitd give it directories that
// have something else, too, such as its own state from before: Tenon's is then in a folder
// of its own there.
func open(ctx context.Context, opt engine.Options) (*engine.Engine, error) {
	e, err := engine.Open(ctx, opt)
	var foreign *store.ForeignRootError
	if errors.As(err, &foreign) {
		opt.Root = filepath.Join(opt.Root, "tenon")
		notice(fmt.Sprintf("%v: using %s", err, opt.Root))
		e, err = engine.Open(ctx, opt)
	}
	return e, err
}

// farewell is how long clients whose builds were canceled have to hear of it.
const farewell = 5 * time.Second

// goingOn says what is under way when the daemon is told to stop.
func goingOn(builds int, grace time.Duration) string {
	if builds == 0 {
		return ""
	}
	return fmt.Sprintf(": builds under way (%d) may go on for %s", builds, grace)
}

// stop stops servers: there are no new requests, and those that are under way may end by
// themselves until builds are canceled.
func stop(servers []*grpc.Server, cancel func(), grace time.Duration) error {
	late := time.AfterFunc(grace, cancel)
	defer late.Stop()
	var all errgroup.Group
	for _, s := range servers {
		all.Go(func() error {
			cut := time.AfterFunc(grace+farewell, s.Stop)
			defer cut.Stop()
			s.GracefulStop()
			return nil
		})
	}
	return all.Wait()
}

// serveDebug serves what a process tells of itself.
func serveDebug(ctx context.Context, eg *errgroup.Group, addr string, metrics http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", metrics)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	l, err := listenDebug(addr)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	eg.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	eg.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
	return nil
}

func listenDebug(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		return listenUnix(path, nil, nil)
	}
	return net.Listen("tcp", addr)
}

// version is what clients are told. They ask what the daemon can do by BuildKit's
// version, which is that of its libraries here.
func version() *apitypes.BuildkitVersion {
	return &apitypes.BuildkitVersion{
		Package: release.Package, Version: release.BuildKit(),
		Revision: cmp.Or(release.Revision(), "unknown"), DockerfileVersion: dockerfile.Version(),
	}
}
