package control

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver/client"
)

// Solve builds, and ends when the client does.
func (s *Server) Solve(ctx context.Context, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	if req.Ref == "" {
		return nil, status.Error(codes.InvalidArgument, "a build needs a name (Ref)")
	}
	defer s.answers.begin(req.Ref)()
	if s.stopping.Err() != nil {
		return nil, errStopping
	}
	ctx, done := s.untilCancel(ctx)
	defer done()
	rec, err := s.record(req)
	if err != nil {
		return nil, err
	}
	trace := s.opt.Traces.Begin(ctx, "build", map[string]string{"ref": req.Ref, "frontend": req.Frontend})
	var log errgroup.Group
	var happens chan *client.SolveStatus
	if rec != nil || trace != nil {
		happens = make(chan *client.SolveStatus)
		log.Go(func() error {
			err := each(happens, func(m *controlapi.StatusResponse) error {
				trace.See(m)
				if rec == nil {
					return nil
				}
				return rec.Log(m)
			})
			for range happens { // the build goes on without a log
			}
			return err
		})
	}
	said, err := s.build(ctx, req, rec, happens)
	if err != nil && context.Cause(ctx) == errStopping {
		err = errStopping
	}
	err = gateway.Wire(err)
	s.notice(log.Wait())
	trace.End(err)
	if rec != nil {
		s.notice(rec.End(said, err))
	}
	if err != nil {
		return nil, err
	}
	return &controlapi.SolveResponse{ExporterResponse: said}, nil
}

// build builds, and says what the client is told of that.
func (s *Server) build(ctx context.Context, req *controlapi.SolveRequest, rec *history.Recording, happens chan<- *client.SolveStatus) (map[string]string, error) {
	begun := time.Now()
	exports := s.requests(req, exporters(req), 0)
	keep, built := s.keepResults(rec)
	for n := range exports {
		keep(n, &exports[n])
	}
	var more *chosen
	if req.EnableSessionExporter {
		more = &chosen{s: s, req: req}
	}
	res, err := s.opt.Engine.Build(ctx, engine.Request{
		ID: req.Ref, SessionID: req.Session, Client: sender(ctx),
		Definition: definition(req), Frontend: req.Frontend, Run: s.run(sender(ctx), req, more),
		FrontendAttrs: req.FrontendAttrs, FrontendInputs: req.FrontendInputs, Compatibility: int(req.CompatibilityVersion), ProxyNetwork: req.ProxyNetwork,
		Exports: exports, More: more.exports(len(exports), keep), Allow: req.Entitlements, Status: happens, Built: built,
		SourcePolicy: req.SourcePolicy, PolicyVerifier: s.verifier(sender(ctx), req),
		AwaitStatus: awaitStatus(rec),
		CacheFrom:   imports(req),
		CacheTo:     cacheExports(req),
		Account:     rec != nil,
	})
	account(rec, req, begun, res, err)
	if err != nil {
		return nil, err
	}
	said := response(res)
	return said, more.ended(ctx, said)
}

// project names what a client builds, as far as it says: builds of one project are compared
// with each other.
func project(attrs map[string]string) string {
	var words []string
	for _, k := range []string{"context", "filename", "vcs:source", "vcs:localdir:context", "vcs:localdir:dockerfile"} {
		words = append(words, why.Redacted(attrs[k]))
	}
	return strings.Join(words, "\n")
}

// account has the record tell what the steps of the build did.
func account(rec *history.Recording, req *controlapi.SolveRequest, begun time.Time, res *engine.Response, err error) {
	if rec == nil || res == nil {
		return
	}
	b := &why.Build{
		Ref: req.Ref, Project: project(req.FrontendAttrs), Attrs: recordedAttrs(req), Begun: begun, Ended: time.Now(),
		Revision: req.FrontendAttrs["vcs:revision"], Steps: res.Steps, Omitted: res.OmittedSteps,
	}
	if err != nil {
		b.Error = why.Redacted(err.Error())
	}
	rec.Account(b)
}

// statusWait is how long a build is there for the client to ask for its status.
var statusWait = time.Second

// awaitStatus is for how long a build waits for who asks for its status: not at all if its
// record will tell it.
func awaitStatus(rec *history.Recording) time.Duration {
	if rec != nil {
		return 0
	}
	return statusWait
}

// notice tells what went wrong and fails no request.
func (s *Server) notice(err error) {
	if err != nil && s.opt.Notice != nil {
		s.opt.Notice(err.Error())
	}
}

// definition is what is to be solved; nil for a request that has a frontend, or whose
// client is one. That of the empty tree has nothing in it.
func definition(req *controlapi.SolveRequest) *pb.Definition {
	if req.Frontend != "" && len(req.Definition.GetDef()) == 0 {
		return nil
	}
	return req.Definition
}

// run is the client as the frontend of its own build, if it asks for nothing else.
func (s *Server) run(client string, req *controlapi.SolveRequest, more *chosen) gwclient.BuildFunc {
	if req.Frontend != "" || definition(req) != nil {
		return nil
	}
	return s.forwarder.Frontend(req.Ref, client, more.returned())
}

// exporters are those that a request asks for, also in the words of old clients.
func exporters(req *controlapi.SolveRequest) []*controlapi.Exporter {
	if len(req.Exporters) == 0 && req.ExporterDeprecated != "" {
		return []*controlapi.Exporter{{Type: req.ExporterDeprecated, Attrs: req.ExporterAttrsDeprecated}}
	}
	return req.Exporters
}

// requests are outputs, each of which the client knows by its number, from first on.
func (s *Server) requests(req *controlapi.SolveRequest, list []*controlapi.Exporter, first int) []export.Request {
	epoch := req.FrontendAttrs["build-arg:SOURCE_DATE_EPOCH"]
	_, err := strconv.ParseInt(epoch, 10, 64)
	timed := err == nil // otherwise the frontend knows what is meant: "context", say
	var out []export.Request
	for n, x := range list {
		attrs := maps.Clone(x.GetAttrs())
		if _, has := attrs[string(exptypes.OptKeySourceDateEpoch)]; timed && !has {
			if attrs == nil {
				attrs = map[string]string{}
			}
			attrs[string(exptypes.OptKeySourceDateEpoch)] = epoch
		}
		to := &output{sessions: s.opt.Engine.Sessions(), session: req.Session, n: first + n}
		out = append(out, export.Request{Type: x.GetType(), Attrs: attrs, Lenient: true, Open: to.open, Remote: to})
	}
	return out
}

// response is what a build has to say: what its exporters said, and the frontend. All of it is
// UTF-8, which a frontend's need not be.
func response(res *engine.Response) map[string]string {
	out := map[string]string{}
	add := func(said map[string]string) {
		for k, v := range said {
			out[readable(k)] = readable(v)
		}
	}
	for _, said := range res.Exporters {
		add(said)
	}
	for _, said := range res.Caches {
		add(said)
	}
	for k, v := range res.Metadata {
		if strings.HasPrefix(k, "frontend.") {
			out[readable(k)] = readable(string(v))
		}
	}
	return out
}

func readable(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
