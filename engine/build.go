package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Request is one build. It has a Definition, a Frontend or an Edge.
type Request struct {
	// ID names the build while it runs; "" is a random one.
	ID string
	// Definition is LLB to solve.
	Definition *pb.Definition
	// Edge is of vertices of the program's own, which bring their ops (ops.Maker),
	// above vertices of LLB or not: see Engine.Load.
	Edge solver.Edge
	// Frontend is the name of what makes LLB of the request, as in
	// "dockerfile.v0", with its attributes (docs/library.md lists them) and input
	// definitions.
	Frontend       string
	FrontendAttrs  map[string]string
	FrontendInputs map[string]*pb.Definition
	// Session is what the build may use of the caller's: package session/local makes
	// one of this process's directories, secrets and agents. It is lent to one build at
	// a time, until Build returns. Nil lends nothing.
	Session session.Session
	// Exports are what is made of the result. They are checked before anything is
	// built, and run one after the other. With none, the result is only built.
	Exports []export.Request
	// Allow grants entitlements: "network.host", "security.insecure".
	Allow []string
	// NoCache runs every step, whatever the cache holds. The vertices of an Edge say
	// so themselves (VertexOptions.IgnoreCache).
	NoCache bool
	// Priority is the build's share of the slots relative to others'; 0 stands for 1.
	Priority int
	// Status, if not nil, gets what happens, and is closed before Build returns. It
	// must be read until then; reading slowly delays nothing but the return.
	Status chan<- *client.SolveStatus
}

// Response is what a build has resulted in.
type Response struct {
	// Exporters holds what each of Request.Exports had to say (exptypes keys).
	Exporters []map[string]string
	// Metadata is what the frontend said about the result; the answer to a
	// subrequest is in it.
	Metadata map[string][]byte
	// Trace is what was decided about each edge, and why.
	Trace []solver.EdgeTrace
}

// Build builds. When ctx ends, it returns at once what ctx says; steps that other
// builds wait for go on, and others clean up behind it: Engine.Close waits for them. An error of a step is a *solver.VertexError, and points
// into the Dockerfile where there is one (BuildKit's errdefs.Sources). A Response
// comes with an error, too, once there is a trace to tell.
func (e *Engine) Build(ctx context.Context, req Request) (_ *Response, err error) {
	if req.Status != nil {
		defer close(req.Status)
	}
	if err := e.begin(); err != nil {
		return nil, err
	}
	defer e.running.Done()
	if err := req.check(); err != nil {
		return nil, err
	}
	exporters, err := e.makeExporters(req.Exports)
	if err != nil {
		return nil, err
	}
	allowed, err := grant(req.Allow)
	if err != nil {
		return nil, err
	}
	if req.Session == nil {
		req.Session = session.Empty(identity.NewID())
	}
	remove, err := e.sessions.Add(req.Session)
	if err != nil {
		return nil, err
	}
	defer remove()
	if req.ID == "" {
		req.ID = identity.NewID()
	}
	job, err := e.solver.NewJob(req.ID)
	if err != nil {
		return nil, err
	}
	job.SessionID, job.Priority = req.Session.ID(), req.Priority

	b := &build{engine: e, req: req, job: job, allowed: allowed, exporters: exporters}
	// Definitions that are found while building are checked like the first one.
	job.SetValue(ops.LoadOptionsKey, e.loadOptions(b.loadOptions()))
	// The stream ends when the job is discarded, whatever happens to ctx: so the
	// last status always arrives.
	var stream errgroup.Group
	if req.Status != nil {
		stream.Go(func() error { return b.stream(context.WithoutCancel(ctx), req.Status) })
	}
	watched := e.watchDisk(ctx)
	res, err := b.run(ctx)
	watched()
	// Some libraries say of a wait that ended with ctx only what was waited for.
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	if discard := job.Discard(); err == nil {
		err = discard
	}
	if s := stream.Wait(); err == nil {
		err = s
	}
	res.Trace = job.Trace()
	e.collect()
	return res, err
}

// check says whether a request says what to build.
func (r *Request) check() error {
	n := 0
	for _, has := range []bool{r.Definition != nil, r.Frontend != "", r.Edge.Vertex != nil} {
		if has {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("a build has one of Definition, Frontend and Edge: this one has %d", n)
	}
	if r.Edge.Vertex != nil && r.NoCache {
		return errors.New("a build of an Edge has no NoCache: its vertices say so themselves (solver.VertexOptions.IgnoreCache)")
	}
	return r.checkWindows()
}

func (e *Engine) makeExporters(reqs []export.Request) ([]export.Exporter, error) {
	var out []export.Exporter
	for _, r := range reqs {
		x, err := export.New(e.exporters, r)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func grant(names []string) (entitlements.Set, error) {
	set := entitlements.Set{}
	for _, name := range names {
		ent, rest, err := entitlements.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("allow %q: %w", name, err)
		}
		set[ent] = rest
	}
	return set, nil
}

// build is one build under way.
type build struct {
	engine    *Engine
	req       Request
	job       *solver.Job
	allowed   entitlements.Set
	exporters []export.Exporter
	groups    groups
	dropped   sync.Map // llb.CacheMount: true
	metadata  metadata
}

// run solves and exports. The Response is never nil.
func (b *build) run(ctx context.Context) (res *Response, err error) {
	res = &Response{}
	if b.req.Edge.Vertex != nil {
		return res, b.runEdge(ctx, res)
	}
	c := frontend.NewClient(b.frontend(), b.req.FrontendAttrs, b.req.FrontendInputs)
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	result, err := c.Solve(ctx, gwclient.SolveRequest{
		Definition: b.req.Definition, Frontend: b.req.Frontend,
		FrontendOpt: b.req.FrontendAttrs, FrontendInputs: b.req.FrontendInputs,
	})
	if err != nil {
		return res, err
	}
	if result == nil { // a subrequest without an answer
		return res, nil
	}
	res.Metadata = result.Metadata
	src, err := exportSource(ctx, result)
	if err != nil {
		return res, err
	}
	if src == nil {
		return res, nil
	}
	return res, b.exportAll(ctx, res, src)
}

// runEdge solves and exports vertices of the program's own.
func (b *build) runEdge(ctx context.Context, res *Response) (err error) {
	result, err := b.job.Build(ctx, b.req.Edge)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, result.Release(context.WithoutCancel(ctx))) }()
	ref, err := store.RefOf(result)
	if err != nil {
		return err
	}
	return b.exportAll(ctx, res, &export.Source{Platforms: []export.Platform{{Ref: ref}}})
}

func (b *build) exportAll(ctx context.Context, res *Response, src *export.Source) error {
	for i, x := range b.exporters {
		said, err := b.export(ctx, x, src)
		if err != nil {
			return fmt.Errorf("output type=%s: %w", b.req.Exports[i].Type, err)
		}
		res.Exporters = append(res.Exporters, said)
	}
	return nil
}

func (b *build) export(ctx context.Context, x export.Exporter, src *export.Source) (said map[string]string, err error) {
	ctx, end := b.job.Begin(ctx, x.Name())
	defer func() { end(err) }()
	said, err = x.Export(ctx, src, b.req.Session)
	// A blob that was damaged is gone by now, and is made or fetched again. There may be
	// more of them.
	for n := 0; n < maxDamaged && errors.Is(err, store.ErrDamagedBlob) && ctx.Err() == nil; n++ {
		said, err = x.Export(ctx, src, b.req.Session)
	}
	return said, err
}

// maxDamaged is with how many damaged blobs an output is begun again.
const maxDamaged = 1000

// frontend is the build as frontends see it.
func (b *build) frontend() *frontend.Build {
	return &frontend.Build{
		SessionID:       b.req.Session.ID(),
		Workers:         b.engine.workers,
		Load:            b.load,
		Solve:           b.job.Build,
		ResolveMetadata: b.resolveMetadata,
		Warn:            solver.ProgressFrom(b.job.Context(context.Background())).Warn,
		Note: func(ctx context.Context, text string) {
			_, end := b.job.Begin(ctx, text)
			end(nil)
		},
		Frontends: b.engine.frontends,
	}
}

func (b *build) load(def *pb.Definition) (*llb.Graph, error) {
	g, err := b.engine.load(def, b.loadOptions())
	if err == nil {
		b.groups.add(g)
	}
	return g, err
}

// loadOptions are what the request says about definitions.
func (b *build) loadOptions() llb.LoadOptions {
	return llb.LoadOptions{
		Allowed: b.allowed, NoCache: b.req.NoCache, SessionID: b.req.Session.ID(), DropCaches: b.dropCaches,
	}
}

// dropCaches drops cache mounts, each once a build: a definition may be loaded again,
// when steps of this build have already written to the new ones.
func (b *build) dropCaches(caches []llb.CacheMount) error {
	for _, c := range caches {
		if _, dropped := b.dropped.LoadOrStore(c, true); dropped {
			continue
		}
		if err := b.engine.store.DropCacheMounts(context.Background(), c.ID, c.OnBase); err != nil {
			return fmt.Errorf("cache mount %q cannot be emptied: %w", c.ID, err)
		}
	}
	return nil
}

// load checks a definition, its sources included.
func (e *Engine) load(def *pb.Definition, opt llb.LoadOptions) (*llb.Graph, error) {
	return llb.Load(def, e.loadOptions(opt))
}

// loadOptions adds what the engine knows.
func (e *Engine) loadOptions(opt llb.LoadOptions) llb.LoadOptions {
	opt.DefaultPlatform = pb.PlatformFromSpec(e.workers[0].Platforms[0])
	opt.CheckSource = func(op *pb.SourceOp, platform *pb.Platform) error {
		src, err := e.sources.For(op.GetIdentifier())
		if err == nil {
			_, err = src.Parse(op, platform)
		}
		return err
	}
	return opt
}

// Load makes vertices of LLB, for a program to build its own on. They read local
// directories from the session of that ID, which is to be that of the build they are
// built in. No entitlements are granted: an op that needs one is an
// *llb.EntitlementError. The edge's Vertex is nil for the empty tree.
func (e *Engine) Load(def *pb.Definition, sessionID string) (solver.Edge, error) {
	g, err := e.load(def, llb.LoadOptions{SessionID: sessionID})
	if err != nil {
		return solver.Edge{}, err
	}
	return g.Edge, nil
}
