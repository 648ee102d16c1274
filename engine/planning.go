package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/plan"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver"
)

// Planned is what Plan has found out.
type Planned struct {
	// Steps are what Response.Steps of the build would be if all ran that may run. Of
	// OmittedSteps more there is nothing.
	Steps        []why.Step
	OmittedSteps int
	// Decided says what would become of each of them.
	Decided map[digest.Digest]plan.Decided
	// Listed are the files of local directories, by the digests that they are cached by.
	Listed map[digest.Digest]*contenthash.Node
}

// errPlanReads says that a build cannot be planned without running something of it.
var errPlanReads = errors.New("what the build is cannot be known without doing a part of it: it reads from what it builds or fetches. Build it once, or with a local copy")

// Plan says what a build of the request would run, and runs nothing. Sources are asked what
// they are, as in a build, and caches of others what they have; nothing is pulled, exported, or
// written to the store. A frontend that would have to run something, or that reads from
// what a step makes, cannot be planned: that is an error.
//
// What is said of a hit holds as long as nothing is removed from the caches, and what is said of
// a miss as long as no other build makes it. docs/plan.md has it for users.
func (e *Engine) Plan(ctx context.Context, req Request) (_ *Planned, err error) {
	if err := e.begin(); err != nil {
		return nil, err
	}
	defer e.running.Done()
	if err := req.check(e.frontends); err != nil {
		return nil, err
	}
	if req.Edge.Vertex != nil {
		return nil, errors.New("vertices of a program cannot be planned: use solver.Job.Trace")
	}
	allowed, err := e.grant(req.Allow)
	if err != nil {
		return nil, err
	}
	req.name()
	req.Account = true
	p := &planner{listed: map[digest.Digest]*contenthash.Node{}}
	p.ops = e.ops.Planning(p.list)
	s := solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: p.ops.Resolve,
		DefaultCache:  solver.NewCacheManager(localCache, readKeys{e.store.CacheKeys()}, readResults{e.store}),
	})
	defer s.Close()
	job, err := s.NewJob(req.ID)
	if err != nil {
		return nil, err
	}
	job.SessionID = session.OfBuild(req.SessionID, identity.NewID())
	p.build = &build{engine: e, req: req, job: job, allowed: allowed, begun: time.Now(), planning: p}
	forget := e.sources.BeginBuild(job.SessionID)
	defer func() { err = errors.Join(err, job.Discard(), forget(context.WithoutCancel(ctx))) }()
	if err := p.build.lendToOps(ctx); err != nil {
		return nil, err
	}
	var remove func()
	p.build.req.Session, remove, err = e.lent(ctx, req.Session, req.SessionID, req.Client)
	defer remove()
	if err != nil {
		return nil, err
	}
	return p.run(ctx)
}

// planner plans one build.
type planner struct {
	build *build
	ops   *ops.Planning

	mu     sync.Mutex // guards what follows
	listed map[digest.Digest]*contenthash.Node
	wanted []plan.Edge
}

func (p *planner) list(of digest.Digest, root *contenthash.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed[of] = root
}

func (p *planner) run(ctx context.Context) (_ *Planned, err error) {
	b := p.build
	b.openImports(ctx)
	defer b.imports.close()
	f := b.frontend()
	f.Solve, f.Place, f.KeepLeft = p.solve, p.place, nil
	f.ResolveMetadata = func(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
		return b.resolveMetadata(source.Looking(ctx), op, opt)
	}
	f.NewContainer = func(context.Context, gwclient.NewContainerRequest, []*store.Ref) (frontend.Container, error) {
		return nil, fmt.Errorf("the frontend runs something: %w", errPlanReads)
	}
	f.Frontends = maps.Clone(f.Frontends)
	f.Frontends[gateway.ImageFrontend] = func(_ context.Context, c gwclient.Client) (*gwclient.Result, error) {
		return nil, fmt.Errorf("the frontend %s is an image, which would have to run: a build with it cannot be planned", c.BuildOpts().Opts["source"])
	}
	c := frontend.NewClient(f, b.req.FrontendAttrs, b.req.FrontendInputs)
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	result, err := b.solve(ctx, c)
	if err != nil {
		return nil, err
	}
	if result != nil {
		if err := result.EachRef(func(r gwclient.Reference) error { return r.Evaluate(ctx) }); err != nil {
			return nil, err
		}
	}
	trace := b.job.Trace()
	for i := range trace {
		for n := range trace[i].Inputs {
			if in := &trace[i].Inputs[n]; in.Content != nil && p.ops.MadeUp(in.Content.Digest()) {
				in.Content = nil
			}
		}
	}
	p.mu.Lock() // what was given up may still be listing
	wanted, listed := p.wanted, maps.Clone(p.listed)
	p.mu.Unlock()
	known := plan.Known{Unknown: p.ops.Unknown, MayHave: p.mayHave, Wanted: wanted}
	out := &Planned{Decided: plan.Decide(trace, known), Listed: listed}
	out.Steps, out.OmittedSteps = b.accountOf(ctx, trace)
	return out, nil
}

// mayHave says whether a cache may have anything of an operation. Of those of others it is not
// known.
func (p *planner) mayHave(cache string, op digest.Digest, output solver.Index, selector digest.Digest) bool {
	return cache != localCache || solver.MayHaveOp(p.build.engine.store.CacheKeys(), op, output, selector)
}

// solve finds out what would become of an edge.
func (p *planner) solve(ctx context.Context, e solver.Edge) (solver.CachedResult, error) {
	p.mu.Lock()
	p.wanted = append(p.wanted, plan.Edge{Vertex: e.Vertex.Digest(), Output: e.Index})
	p.mu.Unlock()
	return p.build.job.Build(ctx, e)
}

// place finds where frontends read: directories of the caller are read where they are.
func (p *planner) place(ctx context.Context, r *frontend.Reference) (dir string, release func() error, err error) {
	release = func() error { return nil }
	v := r.Graph().Edge.Vertex
	if v == nil {
		return "", release, nil
	}
	if op, ok := v.Sys().(*pb.Op); ok {
		if d, ok := p.build.lentDir(ctx, op.GetSource()); ok {
			if d.Path != "" {
				return d.Path, release, nil
			}
			return copied(ctx, d.FS)
		}
	}
	ref, err := r.Ref(ctx)
	if err != nil {
		return "", release, err
	}
	if !ref.Here() {
		return "", release, errPlanReads
	}
	return "", release, nil
}

// lentDir is the directory of the build's session that an operation is about.
func (b *build) lentDir(ctx context.Context, op *pb.SourceOp) (session.Dir, bool) {
	name, ok := strings.CutPrefix(op.GetIdentifier(), "local://")
	if !ok {
		return session.Dir{}, false
	}
	d, err := b.req.Session.Dir(ctx, name)
	return d, err == nil && d.Sync == nil && (d.Path != "" || d.FS != nil)
}

// maxCopied is how many bytes a directory may have that is in no place and that a frontend
// reads from: it has a Dockerfile.
const maxCopied = 256 << 20

// copied makes a folder, apart from the root, of a directory that is in no place.
func copied(ctx context.Context, from fsutil.FS) (dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp("", "tenon-plan-"); err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	left := int64(maxCopied)
	err = from.Walk(ctx, "/", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, path), 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		n, err := copyFile(filepath.Join(dir, path), from, path, left)
		left -= n
		return err
	})
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

func copyFile(to string, from fsutil.FS, path string, most int64) (n int64, err error) {
	r, err := from.Open(path)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	if n, err = io.Copy(w, io.LimitReader(r, most+1)); err == nil && n > most {
		err = fmt.Errorf("%s: the directory has more than %d MiB", path, maxCopied>>20)
	}
	return n, errors.Join(err, w.Close())
}
