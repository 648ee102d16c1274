// Package gateway is BuildKit's gateway API (LLBBridge) over a frontend's client: for a
// frontend that runs outside of this process, such as a client that drives its build
// itself. What the API calls references are those of the client, by names that are made
// here. Nothing about a build is decided here.
package gateway

import (
	"context"
	"errors"
	"sync"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	apicapspb "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Client is what a Bridge needs of a frontend's client.
type Client interface {
	gwclient.Client
	// InputDefinitions are what Inputs are made of.
	InputDefinitions() map[string]*pb.Definition
	// Caps are what can be asked of the client, and what definitions may have.
	Caps() (frontend, llb []*apicapspb.APICap)
	// KeepLeft has what steps leave that fail from now on kept for Left.
	KeepLeft()
	// Left is what the failed step of an error was given and has left, by its mounts or
	// file actions, and which of these failed; empty if nothing is known.
	Left(err error) (inputs, outputs []gwclient.Reference, action int)
}

// Bridge serves the API for one frontend.
type Bridge struct {
	gwpb.UnimplementedLLBBridgeServer
	client Client

	mu         sync.Mutex // guards what follows
	refs       map[string]gwclient.Reference
	containers map[string]gwclient.Container
	closed     bool
	returned   chan struct{} // closed when there is what was returned
	result     *gwclient.Result
	err        error
}

var _ gwpb.LLBBridgeServer = (*Bridge)(nil)

// New makes a Bridge, which is to be closed. References stay the client's.
func New(c Client) *Bridge {
	c.KeepLeft()
	return &Bridge{
		client: c, refs: map[string]gwclient.Reference{}, containers: map[string]gwclient.Container{},
		returned: make(chan struct{}),
	}
}

// Returned waits until the frontend has called Return, and returns what it gave.
func (b *Bridge) Returned(ctx context.Context) (*gwclient.Result, error) {
	select {
	case <-b.returned:
		return b.result, b.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Return ends the frontend's work.
func (b *Bridge) Return(_ context.Context, req *gwpb.ReturnRequest) (*gwpb.ReturnResponse, error) {
	res, failed, err := b.what(req)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.returned:
		return nil, status.Error(codes.FailedPrecondition, "the frontend has returned already")
	default:
	}
	b.result, b.err = res, failed
	close(b.returned)
	return &gwpb.ReturnResponse{}, nil
}

// what is what a request returns: a result, or the error that the frontend failed with.
func (b *Bridge) what(req *gwpb.ReturnRequest) (res *gwclient.Result, failed, err error) {
	if e := req.GetError(); e != nil {
		if e.Code == int32(codes.OK) {
			return nil, nil, status.Error(codes.InvalidArgument, "the frontend returned an error that is none: its code is OK")
		}
		return nil, grpcerrors.FromGRPC(status.ErrorProto(&spb.Status{Code: e.Code, Message: e.Message, Details: e.Details})), nil
	}
	if req.GetResult() == nil {
		return nil, nil, status.Error(codes.InvalidArgument, "the frontend returned neither a result nor an error")
	}
	res, err = b.fromPB(req.Result)
	return res, nil, err
}

// keep gives a reference a name; "" for the empty tree.
func (b *Bridge) keep(ref gwclient.Reference) *gwpb.Ref {
	if ref == nil {
		return &gwpb.Ref{}
	}
	out := &gwpb.Ref{Id: identity.NewID()}
	if d, ok := ref.(interface{ Definition() *pb.Definition }); ok {
		out.Def = d.Definition()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refs[out.Id] = ref
	return out
}

// ref returns the reference of a name; nil for the empty tree.
func (b *Bridge) ref(id string) (gwclient.Reference, error) {
	if id == "" {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ref, ok := b.refs[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no such reference: %q", id)
	}
	return ref, nil
}

// tree returns the reference of a name that something is to be read from.
func (b *Bridge) tree(id string) (gwclient.Reference, error) {
	ref, err := b.ref(id)
	if err == nil && ref == nil {
		err = status.Error(codes.InvalidArgument, "the empty reference has no files")
	}
	return ref, err
}

// Ping tells what can be asked.
func (b *Bridge) Ping(context.Context, *gwpb.PingRequest) (*gwpb.PongResponse, error) {
	frontend, llb := b.client.Caps()
	return &gwpb.PongResponse{FrontendAPICaps: frontend, LLBCaps: llb, Workers: workers(b.client.BuildOpts().Workers)}, nil
}

// Inputs are the definitions that the frontend was given.
func (b *Bridge) Inputs(context.Context, *gwpb.InputsRequest) (*gwpb.InputsResponse, error) {
	return &gwpb.InputsResponse{Definitions: b.client.InputDefinitions()}, nil
}

// Solve solves a definition, or runs a frontend that is built in.
func (b *Bridge) Solve(ctx context.Context, req *gwpb.SolveRequest) (*gwpb.SolveResponse, error) {
	in := gwclient.SolveRequest{
		Evaluate: req.Evaluate, Definition: req.Definition,
		Frontend: req.Frontend, FrontendOpt: req.FrontendOpt, FrontendInputs: req.FrontendInputs,
	}
	for _, e := range req.CacheImports {
		if e == nil {
			return nil, status.Error(codes.InvalidArgument, "a cache import is missing")
		}
		in.CacheImports = append(in.CacheImports, gwclient.CacheOptionsEntry{Type: e.Type, Attrs: e.Attrs})
	}
	for _, p := range req.SourcePolicies {
		if p == nil {
			return nil, status.Error(codes.InvalidArgument, "a source policy is missing")
		}
		in.SourcePolicies = append(in.SourcePolicies, p)
	}
	res, err := b.client.Solve(ctx, in)
	if err != nil {
		return nil, b.wire(err)
	}
	if len(res.Refs) > 0 && !req.AllowResultReturn {
		return nil, errors.New("the result is one for each platform, which the frontend is too old to take")
	}
	out, err := b.toPB(res, req.AllowResultArrayRef)
	if err != nil {
		return nil, err
	}
	resp := &gwpb.SolveResponse{Result: out}
	if !req.AllowResultReturn {
		resp.Ref = out.GetRefDeprecated() + out.GetRef().GetId()
	}
	return resp, nil
}

// Evaluate solves what a reference stands for.
func (b *Bridge) Evaluate(ctx context.Context, req *gwpb.EvaluateRequest) (*gwpb.EvaluateResponse, error) {
	ref, err := b.ref(req.Ref)
	if err == nil && ref != nil {
		err = ref.Evaluate(ctx)
	}
	if err != nil {
		return nil, b.wire(err)
	}
	return &gwpb.EvaluateResponse{}, nil
}

// ReadFile reads a file of a reference.
func (b *Bridge) ReadFile(ctx context.Context, req *gwpb.ReadFileRequest) (*gwpb.ReadFileResponse, error) {
	ref, err := b.tree(req.Ref)
	if err != nil {
		return nil, err
	}
	dt, err := ref.ReadFile(ctx, readRequest(req))
	if err != nil {
		return nil, b.wire(err)
	}
	return &gwpb.ReadFileResponse{Data: dt}, nil
}

// ReadDir lists a directory of a reference.
func (b *Bridge) ReadDir(ctx context.Context, req *gwpb.ReadDirRequest) (*gwpb.ReadDirResponse, error) {
	ref, err := b.tree(req.Ref)
	if err != nil {
		return nil, err
	}
	list, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: req.DirPath, IncludePattern: req.IncludePattern})
	if err != nil {
		return nil, b.wire(err)
	}
	return &gwpb.ReadDirResponse{Entries: list}, nil
}

// StatFile tells about a path of a reference.
func (b *Bridge) StatFile(ctx context.Context, req *gwpb.StatFileRequest) (*gwpb.StatFileResponse, error) {
	ref, err := b.tree(req.Ref)
	if err != nil {
		return nil, err
	}
	st, err := ref.StatFile(ctx, gwclient.StatRequest{Path: req.Path})
	if err != nil {
		return nil, b.wire(err)
	}
	return &gwpb.StatFileResponse{Stat: st}, nil
}

// Warn shows a warning.
func (b *Bridge) Warn(ctx context.Context, req *gwpb.WarnRequest) (*gwpb.WarnResponse, error) {
	for _, r := range req.Ranges {
		if r == nil {
			return nil, status.Error(codes.InvalidArgument, "a warning is about a range that is missing")
		}
	}
	dgst, err := parseDigest(req.Digest)
	if err != nil {
		return nil, err
	}
	err = b.client.Warn(ctx, dgst, string(req.Short), gwclient.WarnOpts{
		Level: int(req.Level), SourceInfo: req.Info, Range: req.Ranges, Detail: req.Detail, URL: req.Url,
	})
	if err != nil {
		return nil, b.wire(err)
	}
	return &gwpb.WarnResponse{}, nil
}
