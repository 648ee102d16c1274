// Package frontend runs frontends in this process: programs that turn what a user
// asks for into LLB and have it solved. A frontend is a function over BuildKit's
// gateway client, so that those of its ecosystem can be used as they are.
package frontend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	apicapspb "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/moby/buildkit/util/imageutil"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/failed"
	tenonllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	tenonclient "github.com/tenonbuild/tenon/solver/client"
)

// Func is a frontend. It returns references that the client made, which stay the
// client's.
type Func = client.BuildFunc

// Build is what a Client needs of the build it belongs to.
type Build struct {
	// SessionID is that of the caller, whose local directories are meant.
	SessionID string
	// Workers tells a frontend which platforms can be run here, the default first.
	Workers []client.WorkerInfo
	// Load checks a definition, whose sources the build's policies and these decide about, and
	// which is looked up in these caches beside the build's.
	Load func(ctx context.Context, def *pb.Definition, policies []*spb.Policy, caches []client.CacheOptionsEntry) (*tenonllb.Graph, error)
	// Solve solves an edge for the build. The result is the caller's.
	Solve func(ctx context.Context, e solver.Edge) (solver.CachedResult, error)
	// Evaluating is told of an edge that a frontend wants to have solved for its own sake; nil:
	// nobody is.
	Evaluating func(e solver.Edge)
	// ResolveMetadata asks a source about an identifier.
	ResolveMetadata func(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error)
	// Warn shows a warning. Vertex is the digest of an op of a definition that was
	// solved before.
	Warn func(w tenonclient.VertexWarning)
	// Note tells the user something that is neither a result nor a warning.
	Note func(ctx context.Context, text string)
	// Lent tells the IDs of the secrets and SSH agents that the caller lends, as far as
	// that is known.
	Lent func() (secrets, agents []string)
	// Place, if not nil, says where the tree of a reference can be read without solving it;
	// "" is nowhere.
	Place func(ctx context.Context, r *Reference) (dir string, release func() error, err error)
	// NewContainer makes a container of trees, one for each mount of the request and nil
	// for the empty one, which are borrowed until it is released.
	NewContainer func(ctx context.Context, req client.NewContainerRequest, trees []*store.Ref) (Container, error)
	// KeepLeft has what failed steps leave kept for Left, which finds it by an error of
	// the build. It is borrowed until the build ends; nil if nothing is known.
	KeepLeft func()
	Left     func(err error) *failed.Left
	// Frontends are those that can be asked for by name.
	Frontends map[string]Func
}

// Client is BuildKit's gateway client for one frontend of one build. What it
// solves it keeps until Close.
type Client struct {
	build  *Build
	name   string  // of the frontend that another one has run
	parent *Client // of that other one; nil of the first
	attrs  map[string]string
	inputs map[string]*pb.Definition
	made   uint64
	kept   *kept
}

// made counts the clients and references of this process.
var made atomic.Uint64

var _ client.Client = (*Client)(nil)

// NewClient makes the client of a frontend that is run with attrs and inputs.
func NewClient(b *Build, attrs map[string]string, inputs map[string]*pb.Definition) *Client {
	return &Client{build: b, attrs: attrs, inputs: inputs, made: made.Add(1), kept: &kept{}}
}

// Close releases everything that references of this client hold.
func (c *Client) Close(ctx context.Context) error { return c.kept.release(ctx) }

// Run runs the frontend of a name. If it panics, that is an error of this build only.
func (c *Client) Run(ctx context.Context, name string) (*client.Result, error) {
	if err := Known(c.build.Frontends, name); err != nil {
		return nil, err
	}
	return c.RunFunc(ctx, name, c.build.Frontends[name])
}

// Known returns an error if there is no frontend of a name.
func Known(all map[string]Func, name string) error {
	if _, ok := all[name]; ok {
		return nil
	}
	return fmt.Errorf("there is no frontend %q: there is %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// RunFunc runs a frontend as Run does.
func (c *Client) RunFunc(ctx context.Context, name string, f Func) (_ *client.Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the frontend %s panicked: %v\n%s", name, r, debug.Stack())
		}
	}()
	return f(ctx, c)
}

// Solve solves a definition, or runs another frontend. A definition is checked at
// once, and solved when its reference is first used, or now if Evaluate is set.
func (c *Client) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Frontend != "" {
		if req.Definition != nil && len(req.Definition.Def) > 0 {
			return nil, errors.New("a request has both a frontend and a definition: it can have one")
		}
		bytes, defs := asked(req.FrontendOpt, req.FrontendInputs)
		if err := c.kept.take(bytes, defs...); err != nil {
			return nil, err
		}
		other := &Client{build: c.build, name: req.Frontend, parent: c, attrs: req.FrontendOpt, inputs: req.FrontendInputs, made: made.Add(1), kept: c.kept}
		res, err := other.Run(ctx, req.Frontend)
		if err == nil && req.Evaluate {
			err = evaluate(ctx, res)
		}
		if err != nil {
			return nil, err
		}
		return res, nil
	}
	res := client.NewResult()
	if req.Definition == nil || len(req.Definition.Def) == 0 {
		return res, nil
	}
	graph, err := c.build.Load(ctx, req.Definition, req.SourcePolicies, req.CacheImports)
	if err != nil {
		return nil, err
	}
	if err := c.kept.take(0, req.Definition); err != nil {
		return nil, err
	}
	ref := &Reference{build: c.build, client: c, graph: graph, def: req.Definition, made: made.Add(1)}
	c.kept.add(ref)
	if req.Evaluate {
		if err := ref.Evaluate(ctx); err != nil {
			return nil, err
		}
	}
	res.SetRef(ref)
	return res, nil
}

// evaluate solves all that a frontend has returned.
func evaluate(ctx context.Context, res *client.Result) error {
	if res == nil {
		return nil
	}
	eg, ctx := errgroup.WithContext(ctx)
	solve := func(ref client.Reference) {
		if ref != nil {
			eg.Go(func() error { return ref.Evaluate(ctx) })
		}
	}
	solve(res.Ref)
	for _, ref := range res.Refs {
		solve(ref)
	}
	for _, list := range res.Attestations {
		for _, a := range list {
			solve(a.Ref)
		}
	}
	return eg.Wait()
}

// ResolveSourceMetadata tells about a source without fetching it.
func (c *Client) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	m, err := c.resolve(ctx, op, opt)
	return m, ownError(ctx, err)
}

func (c *Client) resolve(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	m, err := c.build.ResolveMetadata(ctx, op, opt)
	if err == nil {
		err = c.kept.addResolved(c, m, opt)
	}
	return m, err
}

// ownError is an error of something that a frontend asked for with ctx. When that has
// ended, it is no more than that: the cause of an errgroup's context is the error of
// another of its functions, and a frontend would put that down to this one, too.
func ownError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// ResolveImageConfig returns an image's name as it was resolved, its digest and
// its config.
func (c *Client) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	scheme := "docker-image://"
	if opt.OCILayoutOpt != nil {
		scheme = "oci-layout://"
	}
	m, err := c.resolve(ctx, &pb.SourceOp{Identifier: scheme + ref}, opt)
	if err != nil {
		return "", "", nil, ownError(ctx, err)
	}
	if m.Image == nil {
		return "", "", nil, &imageutil.ResolveToNonImageError{Ref: ref, Updated: m.Op.GetIdentifier()} // a policy put something else in its place
	}
	return strings.TrimPrefix(m.Op.GetIdentifier(), scheme), m.Image.Digest, m.Image.Config, nil
}

// InputDefinitions are the definitions that Inputs makes states of. They are only to be
// read.
func (c *Client) InputDefinitions() map[string]*pb.Definition { return c.inputs }

// Caps are what can be asked of a client, and what definitions may have.
func (*Client) Caps() (frontend, llb []*apicapspb.APICap) { return gwpb.Caps.All(), tenonllb.Caps() }

// BuildOpts tells the frontend what it was asked for, and what there is.
func (c *Client) BuildOpts() client.BuildOpts {
	return client.BuildOpts{
		Opts:      c.attrs,
		SessionID: c.build.SessionID,
		Workers:   c.build.Workers,
		Product:   "tenon",
		LLBCaps:   pb.Caps.CapSet(tenonllb.Caps()),
		Caps:      gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

// Inputs are the definitions that the caller gave the frontend, by name.
func (c *Client) Inputs(context.Context) (map[string]llb.State, error) {
	states := map[string]llb.State{}
	for name, def := range c.inputs {
		op, err := llb.NewDefinitionOp(def)
		if err != nil {
			return nil, fmt.Errorf("input %q of the frontend: %w", name, err)
		}
		states[name] = llb.NewState(op)
	}
	return states, nil
}

// Warn shows a warning of the frontend about an op.
func (c *Client) Warn(_ context.Context, dgst digest.Digest, msg string, opts client.WarnOpts) error {
	w := tenonclient.VertexWarning{
		Vertex: dgst,
		Level:  opts.Level,
		Short:  []byte(msg),
		Detail: opts.Detail,
		URL:    opts.URL,
	}
	if s := opts.SourceInfo; s != nil {
		w.SourceInfo = &tenonclient.SourceInfo{Filename: s.Filename, Data: s.Data, Language: s.Language}
	}
	for _, r := range opts.Range {
		w.Range = append(w.Range, &tenonclient.Range{Start: position(r.GetStart()), End: position(r.GetEnd())})
	}
	if known := c.kept.vertexOf(dgst); known != "" {
		w.Vertex = known
	}
	switch c.kept.roomFor(sizeOf(w)) {
	case all:
		c.build.Warn(w)
	case none:
		c.build.Warn(tenonclient.VertexWarning{Short: fmt.Appendf(nil, "More warnings are not shown: those of this build have more than %d MiB", maxWarned>>20)})
	}
	return nil
}

// sizeOf is about what a warning takes, wherever it is shown or recorded: each has the source
// that it is about whole.
func sizeOf(w tenonclient.VertexWarning) int {
	n := 256 + len(w.Short) + len(w.URL) + 64*len(w.Range)
	for _, dt := range w.Detail {
		n += len(dt)
	}
	if w.SourceInfo != nil {
		n += len(w.SourceInfo.Data)
	}
	return n
}

func position(p *pb.Position) tenonclient.Position {
	return tenonclient.Position{Line: p.GetLine(), Character: p.GetCharacter()}
}

// Note tells the user something. It is not of the gateway's client: a frontend
// that wants to use it asks whether its client has it.
func (c *Client) Note(ctx context.Context, text string) { c.build.Note(ctx, text) }

// Lent are the IDs of the secrets and SSH agents that the caller lends, as far as that is
// known. It is not of the gateway's client.
func (c *Client) Lent() (secrets, agents []string) {
	if c.build.Lent == nil {
		return nil, nil
	}
	return c.build.Lent()
}
