package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	bkclient "github.com/moby/buildkit/client"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/solver"
)

// Build builds, as engine.Build does, which says what the fields of a request mean. The
// daemon cannot be given an Edge, a Run, a SessionID or a Priority. Every element of
// Response.Exporters is the same: the protocol has one answer for all. There is no Trace.
func (c *Client) Build(ctx context.Context, req engine.Request) (_ *engine.Response, err error) {
	if req.Status != nil {
		defer close(req.Status)
	}
	if err := check(req); err != nil {
		return nil, err
	}
	if err := c.checkSigned(ctx, req); err != nil {
		return nil, err
	}
	sess := cmp.Or(req.Session, session.Empty(identity.NewID()))
	outs, err := newOutputs(req.Exports)
	if err != nil {
		return nil, err
	}
	served, err := lend(ctx, sess, outs, req)
	if err != nil {
		return nil, err
	}
	var running errgroup.Group
	running.Go(func() error { return served.Run(context.WithoutCancel(ctx), c.bk.Dialer()) })
	defer func() {
		closed, lent := served.Close(), running.Wait()
		if grpcerrors.Code(err) == codes.Unavailable {
			lent = nil // it says the same of the same daemon
		}
		err = errors.Join(err, closed, lent)
	}()

	var told errgroup.Group
	status := make(chan *bkclient.SolveStatus)
	told.Go(func() error {
		for st := range status {
			if req.Status != nil {
				req.Status <- progress.FromBuildKit(st)
			}
		}
		return nil
	})
	res := &engine.Response{}
	answer, err := c.bk.Build(ctx, bkclient.SolveOpt{
		Exports: outs.entries, Frontend: req.Frontend, FrontendAttrs: req.FrontendAttrs, AllowedEntitlements: req.Allow,
		CacheExports: cacheEntries(req.CacheTo), CacheImports: cacheEntries(req.CacheFrom),
		SharedSession: served, SessionPreInitialized: true, Ref: req.ID,
	}, "tenon", func(ctx context.Context, gw gwclient.Client) (*gwclient.Result, error) {
		r, err := gw.Solve(ctx, solveRequest(req))
		if err == nil {
			res.Metadata = r.Metadata
		}
		return r, err
	}, status) // closes it
	err = errors.Join(err, told.Wait())
	if err != nil {
		err = said(err)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return nil, err
	}
	if err := outs.finish(ctx, answer.ExporterResponse); err != nil {
		return nil, err
	}
	for range req.Exports {
		res.Exporters = append(res.Exporters, answer.ExporterResponse)
	}
	for range req.CacheTo { // whose folders' indexes the client has written
		res.Caches = append(res.Caches, nil)
	}
	return res, nil
}

// saidError is what a daemon has said of a build.
type saidError struct{ error }

func said(err error) error {
	e := saidError{err}
	var ve *errdefs.VertexError
	if errors.As(err, &ve) {
		return &vertexError{e, &solver.VertexError{Digest: digest.Digest(ve.Digest), Err: e}}
	}
	return e
}

// Error implements error, without the words of BuildKit's client.
func (e saidError) Error() string {
	if grpcerrors.Code(e.error) == codes.Unavailable {
		return "the daemon does not answer, or has ended: " + dialed(e.error.Error())
	}
	return strings.TrimPrefix(e.error.Error(), "failed to solve: ")
}

// Unwrap returns the error as it came.
func (e saidError) Unwrap() error { return e.error }

// vertexError is of a vertex.
type vertexError struct {
	saidError
	of *solver.VertexError
}

// Unwrap lets the solver's error be found.
func (e *vertexError) Unwrap() []error { return []error{e.of, e.saidError} }

// check says what a daemon cannot be asked for.
func check(req engine.Request) error {
	no := func(what string) error { return fmt.Errorf("a daemon cannot be given %s: build in this process", what) }
	switch {
	case req.Edge.Vertex != nil:
		return no("vertices of this program")
	case req.Run != nil:
		return no("a frontend that is a function of this program")
	case req.SessionID != "":
		return no("the session of another engine")
	}
	if req.Verify {
		return errors.New("--verify cannot be said to a daemon: build in this process, without --addr and TENON_HOST, and with another --root where a daemon has this one")
	}
	if req.MayRun != nil {
		return errors.New("--fail-on-run cannot be said to a daemon: build in this process, without --addr and TENON_HOST, and with another --root where a daemon has this one")
	}
	if p, ok := req.Session.(session.Puller); ok && !p.MayPull() {
		return errors.New("--pull=never cannot be said to a daemon: leave it out, or build in this process")
	}
	return nil
}

// solveRequest is what is built, in the gateway's words.
func solveRequest(req engine.Request) gwclient.SolveRequest {
	def := req.Definition
	if def != nil && req.NoCache {
		def = def.CloneVT()
		if def.Metadata == nil {
			def.Metadata = map[string]*pb.OpMetadata{}
		}
		for _, dt := range def.Def {
			id := digest.FromBytes(dt).String()
			if def.Metadata[id] == nil {
				def.Metadata[id] = &pb.OpMetadata{}
			}
			def.Metadata[id].IgnoreCache = true
		}
	}
	return gwclient.SolveRequest{
		Evaluate: true, Definition: def, CacheImports: importEntries(req.CacheFrom),
		Frontend: req.Frontend, FrontendOpt: withImports(req), FrontendInputs: req.FrontendInputs,
	}
}

// sharedKey names the directories that are sent: what a daemon has of them is not sent again,
// as far as its path, size and time are the same. So it names their paths; a session that
// lends something which is on no disk has a name of its own.
func sharedKey(ctx context.Context, s session.Session) string {
	own := "session " + s.ID()
	l, ok := s.(session.Lister)
	if !ok {
		return own
	}
	host, err := os.Hostname()
	if err != nil {
		return own
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q", host)
	for _, name := range l.Dirs() {
		d, err := s.Dir(ctx, name)
		if err != nil || d.Path == "" {
			return own
		}
		fmt.Fprintf(h, " %q %q", name, d.Path)
	}
	return fmt.Sprintf("directories %x", h.Sum(nil))
}
