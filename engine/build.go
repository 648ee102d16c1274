package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/moby/buildkit/exporter/verifier"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/llbsolver/compat"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/entitlements"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/emulation"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

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
	ended := e.counter.begin()
	defer func() { ended(err) }()
	if err := req.check(e.frontends); err != nil {
		return nil, err
	}
	attester, err := newAttester(req.FrontendAttrs)
	if err != nil {
		return nil, err
	}
	exporters, err := e.makeExporters(req.Exports, req.Compatibility, attester)
	if err != nil {
		return nil, err
	}
	cacheExports, err := e.checkCaches(&req)
	if err != nil {
		return nil, err
	}
	allowed, err := e.grant(req.Allow)
	if err != nil {
		return nil, err
	}
	req.name()
	job, err := e.newJob(req.ID, req.SessionID)
	if err != nil {
		return nil, err
	}
	job.Priority = req.Priority

	b := &build{engine: e, req: req, job: job, allowed: allowed, exporters: exporters, cacheExports: cacheExports, attester: attester, begun: time.Now(), watched: make(chan struct{})}
	defer attester.observe()()
	defer e.builds.add(req.ID, b)()
	forget := e.sources.BeginBuild(job.SessionID)
	discard := func() error { return errors.Join(job.Discard(), forget(context.WithoutCancel(ctx))) }
	if err := b.lendToOps(ctx); err != nil {
		return nil, errors.Join(err, discard())
	}
	// The stream ends when the job is discarded, whatever happens to ctx: so the
	// last status always arrives.
	var stream errgroup.Group
	if req.Status != nil {
		stream.Go(func() error { return b.stream(context.WithoutCancel(ctx), req.Status) })
	}
	watched := e.watchDisk(ctx)
	// The build is known by now, and its session may still be on its way. It stays until
	// the job is discarded: work that others wait for may go by it.
	res := &Response{}
	var remove func()
	b.req.Session, remove, err = e.lent(ctx, req.Session, req.SessionID, req.Client)
	defer remove()
	if err == nil {
		res, err = b.runWithCaches(ctx)
	}
	watched()
	b.awaitStatus(ctx)
	res.Steps, res.OmittedSteps = b.account(context.WithoutCancel(ctx))
	// Some libraries say of a wait that ended with ctx only what was waited for.
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	if d := discard(); err == nil {
		err = d
	}
	if s := stream.Wait(); err == nil {
		err = s
	}
	res.Trace, res.Verified = job.Trace(), b.verified.All()
	e.collect()
	return res, err
}

func (e *Engine) makeExporters(reqs []export.Request, compatibility int, a *attester) ([]export.Exporter, error) {
	var out []export.Exporter
	for _, r := range reqs {
		r.Compatibility, r.Attests = compatibility, a.asked()
		x, err := export.New(e.exporters, r)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// grant is what a request is granted of what it asks for.
func (e *Engine) grant(names []string) (entitlements.Set, error) {
	asked := make([]entitlements.Entitlement, len(names))
	for i, name := range names {
		if _, _, err := entitlements.Parse(name); err != nil {
			return nil, fmt.Errorf("allow %q: %w", name, err)
		}
		asked[i] = entitlements.Entitlement(name)
	}
	return entitlements.WhiteList(asked, e.grantable)
}

// build is one build under way.
type build struct {
	engine    *Engine
	req       Request
	job       *solver.Job
	allowed   entitlements.Set
	exporters []export.Exporter
	// cacheExports are those of Request.CacheTo.
	cacheExports []cacheExport
	imports      imports
	ahead        *ahead // nil: nothing is brought ahead
	lender       lender
	vertices     vertices
	attester     *attester
	groups       groups
	dropped      sync.Map // llb.CacheMount: true
	metadata     metadata
	begun        time.Time
	watching     sync.Once
	watched      chan struct{} // closed when somebody has asked for the status
	failed       failed.Steps
	verified     verify.Steps
	keeping      sync.Once // failed is among the job's values
	looked       looked    // of other builds
	proxy        *proxyUse // nil where steps have a network
	inputs       sync.Map  // *frontend.Client: inputs of its request
	planning     *planner  // nil of a build that builds
}

// lendToOps makes values of the job of what ops ask the build for.
func (b *build) lendToOps(ctx context.Context) error {
	if err := b.useProxy(ctx); err != nil {
		return err
	}
	// Definitions that are found while building are checked like the first one.
	found, err := b.withPolicy(ctx, b.engine.loadOptions(b.loadOptions()), nil)
	if err != nil {
		return err
	}
	b.job.SetValue(ops.LoadOptionsKey, found)
	b.lender.imports = &b.imports
	b.job.SetValue(ops.LenderKey, &b.lender)
	b.askBeforeRuns()
	if b.req.Verify {
		b.job.SetValue(verify.Key, &b.verified)
	}
	return nil
}

// runWithCaches is run while caches of others are read, and those of the build are written. The
// Response is never nil.
func (b *build) runWithCaches(ctx context.Context) (*Response, error) {
	b.openImports(ctx)
	defer b.imports.close()
	b.openAhead(ctx)
	res, err := b.run(ctx)
	if cerr := b.ahead.close(ctx); err == nil {
		err = cerr
	}
	return res, err
}

// run solves and exports. The Response is never nil.
func (b *build) run(ctx context.Context) (res *Response, err error) {
	res = &Response{}
	if b.req.Edge.Vertex != nil {
		return res, b.runEdge(ctx, res)
	}
	c := frontend.NewClient(b.frontend(), b.req.FrontendAttrs, b.req.FrontendInputs)
	for what, why := range b.req.PassedOver {
		_, end := b.job.Begin(ctx, what)
		end(why)
	}
	b.looked.open(c)
	defer func() {
		b.looked.close()
		ctx := context.WithoutCancel(ctx)
		err = errors.Join(err, c.Close(ctx), b.failed.Release(ctx))
	}()
	result, err := b.solve(ctx, c)
	if err == nil && result != nil {
		b.ahead.wantAll(result)
	}
	if err != nil {
		res.Caches = b.salvage(ctx)
		return res, err
	}
	if result == nil { // a subrequest without an answer
		return res, nil
	}
	if err := b.warnOfPlatforms(ctx, result); err != nil {
		return res, err
	}
	if err := b.attester.scan(ctx, b, c, result); err != nil {
		return res, err
	}
	res.Metadata = result.Metadata
	src, err := exportSource(ctx, result)
	if err != nil {
		res.Caches = b.salvage(ctx)
		return res, err
	}
	if src == nil {
		return res, nil
	}
	if err := b.attester.tell(ctx, b, result, src); err != nil {
		return res, err
	}
	if err := b.inlineCaches(ctx, result, src); err != nil {
		return res, err
	}
	if err := b.addExports(ctx, result.Metadata); err != nil {
		return res, err
	}
	err = b.exportAll(ctx, res, src)
	for n := 0; n < maxLost && errors.Is(err, store.ErrLost) && ctx.Err() == nil; n++ {
		if err = b.makeAgain(ctx, result, src); err == nil {
			err = b.exportAll(ctx, res, src)
		}
	}
	if err != nil {
		return res, err
	}
	of, err := cachedResults(ctx, result)
	if err != nil {
		return res, err
	}
	res.Caches, err = b.exportCaches(ctx, of)
	return res, err
}

// addExports adds what the request says of its exports only now.
func (b *build) addExports(ctx context.Context, metadata map[string][]byte) error {
	if b.req.More == nil {
		return nil
	}
	more, err := b.req.More(ctx, metadata)
	if err != nil {
		return err
	}
	exporters, err := b.engine.makeExporters(more, b.req.Compatibility, b.attester)
	if err != nil {
		return err
	}
	b.req.Exports = append(slices.Clip(b.req.Exports), more...)
	b.exporters = append(b.exporters, exporters...)
	return nil
}

// warnOfPlatforms warns of a result that is not for the platforms that were asked for.
func (b *build) warnOfPlatforms(ctx context.Context, res *gwclient.Result) error {
	asked := res.Clone()
	if err := verifier.CaptureFrontendOpts(b.req.FrontendAttrs, asked); err != nil {
		return err
	}
	warnings, err := verifier.CheckInvalidPlatforms(ctx, asked)
	if err != nil || len(warnings) == 0 {
		return err
	}
	ctx, end := b.job.Begin(ctx, "verifying platforms")
	defer end(nil)
	for _, w := range warnings {
		solver.ProgressFrom(ctx).Warn(client.VertexWarning{Short: w.Short})
	}
	return nil
}

func (b *build) solve(ctx context.Context, c *frontend.Client) (*gwclient.Result, error) {
	if b.req.Run != nil {
		return c.RunFunc(ctx, "of the request", b.req.Run)
	}
	return c.Solve(ctx, gwclient.SolveRequest{
		Definition: b.req.Definition, Frontend: b.req.Frontend,
		FrontendOpt: b.req.FrontendAttrs, FrontendInputs: b.req.FrontendInputs,
	})
}

// runEdge solves and exports vertices of the program's own.
func (b *build) runEdge(ctx context.Context, res *Response) (err error) {
	b.ahead.want(b.req.Edge)
	result, err := b.job.Build(ctx, b.req.Edge)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, result.Release(context.WithoutCancel(ctx))) }()
	ref, err := store.RefOf(result)
	if err != nil {
		return err
	}
	if err := b.exportAll(ctx, res, &export.Source{Platforms: []export.Platform{{Ref: ref}}}); err != nil {
		return err
	}
	res.Caches, err = b.exportCaches(ctx, []solver.CachedResult{result})
	return err
}

func (b *build) exportAll(ctx context.Context, res *Response, src *export.Source) error {
	res.Exporters = nil
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
		SessionID:       b.req.SessionID,
		Workers:         []gwclient.WorkerInfo{b.engine.worker.info()},
		Load:            b.load,
		Solve:           b.job.Build,
		Evaluating:      b.ahead.want,
		ResolveMetadata: b.resolveMetadata,
		Warn:            solver.ProgressFrom(b.job.Context(context.Background())).Warn,
		Note: func(ctx context.Context, text string) {
			_, end := b.job.Begin(ctx, text)
			end(nil)
		},
		NewContainer: b.newContainer,
		KeepLeft:     b.keepLeft,
		Left:         b.failed.Of,
		Lent: func() (secrets, agents []string) {
			if l, ok := b.req.Session.(session.Lister); ok {
				return l.Lent()
			}
			return nil, nil
		},
		Frontends: b.engine.frontends,
	}
}

func (b *build) load(ctx context.Context, def *pb.Definition, policies []*spb.Policy, caches []gwclient.CacheOptionsEntry) (*llb.Graph, error) {
	opt, err := b.withPolicy(ctx, b.loadOptions(), policies)
	if err != nil {
		return nil, err
	}
	opt.CacheSources = b.cacheSources(caches)
	g, err := b.engine.load(def, opt)
	if err == nil {
		b.groups.add(g)
		b.vertices.add(g)
	}
	return g, err
}

// loadOptions are what the request says about definitions.
func (b *build) loadOptions() llb.LoadOptions {
	opt := llb.LoadOptions{
		Allowed: b.allowed, NoCache: b.req.NoCache, SessionID: b.req.SessionID, DropCaches: b.dropCaches,
	}
	opt.CheckSource = func(op *pb.SourceOp, _ *pb.Platform) error { return b.mayRead(op) }
	opt.Proxy = b.proxy != nil
	opt.TimesCount = timesCount(b.req.FrontendAttrs)
	opt.Devices = func(asked []*pb.CDIDevice) ([]*pb.CDIDevice, error) { return b.engine.devices.Grant(asked, b.allowed) }
	if b.req.Compatibility == compat.CompatibilityVersion013 {
		opt.GitAttrs = map[string]string{git.AttrOpenFiles: "true"}
	}
	return opt
}

// dropCaches drops cache mounts, each once a build: a definition may be loaded again,
// when steps of this build have already written to the new ones.
func (b *build) dropCaches(caches []llb.CacheMount) error {
	if b.planning != nil {
		return nil
	}
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
	opt.DefaultPlatform = pb.PlatformFromSpec(nativePlatform())
	mayRead := opt.CheckSource
	opt.CheckSource = func(op *pb.SourceOp, platform *pb.Platform) error {
		if mayRead != nil {
			if err := mayRead(op, platform); err != nil {
				return err
			}
		}
		src, err := e.sources.For(op.GetIdentifier())
		if err == nil {
			_, err = src.Parse(op, platform)
		}
		return err
	}
	opt.CheckRun = func(p *pb.Platform) error { return emulation.CheckName(p.Spec()) }
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
