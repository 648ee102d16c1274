package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/llbsolver/compat"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// Request is one build. It has a Definition, a Frontend, a Run or an Edge.
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
	// Run is a frontend that belongs to this request, as those by name do to the Engine.
	// FrontendAttrs and FrontendInputs are for it, too.
	Run frontend.Func
	// Session is what the build may use of the caller's: package session/local makes
	// one of this process's directories, secrets and agents. It is lent until Build
	// returns, and may be lent to other builds, too. Nil lends nothing.
	Session session.Session
	// SessionID names, instead, a session that was or will be added to
	// Engine.Sessions: Build waits for it, but not long.
	SessionID string
	// Client is who asks, as far as that is known. Provenance tells of a request by which
	// an input was made in another build that is under way only where that is of the same
	// client, and sessions that the build names are to be of that client where it is known
	// whose they are (session.Owned). "" is nobody.
	Client string
	// SourcePolicy, if not nil, says which sources the build may have, and which others
	// are put in their place.
	SourcePolicy *spb.Policy
	// PolicyVerifier, if not nil, decides about each source, after SourcePolicy.
	PolicyVerifier policysession.PolicyVerifierClient
	// ProxyNetwork has steps reach others only by a proxy for HTTP and HTTPS, which asks
	// SourcePolicy and PolicyVerifier about each request.
	ProxyNetwork bool
	// Compatibility is the version of BuildKit's ways to make images that is followed
	// (docs/tenond.md); 0 is the newest.
	Compatibility int
	// Exports are what is made of the result. They are checked before anything is
	// built, and run one after the other. With none, the result is only built.
	Exports []export.Request
	// More, if not nil, says what else is made of the result, when it is known. It gets the
	// frontend's metadata.
	More func(ctx context.Context, metadata map[string][]byte) ([]export.Request, error)
	// Built, if not nil, is told how each result was built before it is exported.
	Built func(Built)
	// PassedOver is what was asked for that the build goes on without, and why, for
	// progress.
	PassedOver map[string]error
	// CacheFrom are caches of others, which are asked beside the store's. One that cannot be
	// had is told of, and the build goes on without.
	CacheFrom []remotecache.Option
	// CacheTo are where the cache of what is built is written, also if the build fails. They
	// are checked before anything is built.
	CacheTo []remotecache.Option
	// Allow grants entitlements: "network.host", "security.insecure".
	Allow []string
	// NoCache runs every step, whatever the cache holds. The vertices of an Edge say
	// so themselves (VertexOptions.IgnoreCache).
	NoCache bool
	// Verify runs each step that runs a process twice, and says in Response.Verified what
	// came out differently. The result is that of the first runs.
	Verify bool
	// MayRun, if not nil, is asked before a step runs that no cache has. Its error is that of
	// the step, which then does not run. Sources are no steps. It is called from several
	// goroutines. A step that another build of the engine runs at the same time is that build's.
	MayRun func(step digest.Digest, name string) error
	// Priority is the build's share of the slots relative to others'; 0 stands for 1.
	Priority int
	// Account has the Response tell what the steps were told and how they ended.
	Account bool
	// AwaitStatus is how long after its beginning a build that has ended is still there for
	// who asks for its status (Engine.Status), if nobody has: callers in other processes
	// ask for both at the same time.
	AwaitStatus time.Duration
	// Status, if not nil, gets what happens, and is closed before Build returns. It
	// must be read until then; reading slowly delays nothing but the return.
	Status chan<- *client.SolveStatus
}

// Response is what a build has resulted in.
type Response struct {
	// Exporters holds what each of Request.Exports had to say (exptypes keys).
	Exporters []map[string]string
	// Caches holds what each of Request.CacheTo had to say (remotecache.ResponseManifest).
	Caches []map[string]string
	// Metadata is what the frontend said about the result; the answer to a
	// subrequest is in it.
	Metadata map[string][]byte
	// Verified are the steps that ran twice for Request.Verify, in the order in which they
	// ended. What came from a cache is not among them, nor what ran for another build that
	// did not ask for it.
	Verified []verify.Step
	// Trace is what was decided about each edge, and why.
	Trace solver.Trace
	// Steps are what a later build is compared with, to say why its steps ran, if
	// Request.Account asks for that. Of OmittedSteps more there is nothing.
	Steps        []why.Step
	OmittedSteps int
}

// name gives a request the IDs that it has not brought.
func (r *Request) name() {
	if r.ID == "" {
		r.ID = identity.NewID()
	}
	if r.Session == nil && r.SessionID == "" {
		r.Session = session.Empty(identity.NewID())
	}
	if r.Session != nil {
		r.SessionID = r.Session.ID()
	}
}

// check says whether a request says what to build, by one of the frontends if by any.
func (r *Request) check(frontends map[string]frontend.Func) error {
	n := 0
	for _, has := range []bool{r.Definition != nil, r.Frontend != "", r.Run != nil, r.Edge.Vertex != nil} {
		if has {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("a build has one of Definition, Frontend, Run and Edge: this one has %d", n)
	}
	if r.Frontend != "" {
		if err := frontend.Known(frontends, r.Frontend); err != nil {
			return err
		}
	}
	if r.Session != nil && r.SessionID != "" {
		return errors.New("a build has a Session or a SessionID: this one has both")
	}
	if v := r.Compatibility; v != 0 {
		if err := compat.ValidateCompatibilityVersion(v); err != nil {
			return err
		}
	}
	if r.Edge.Vertex != nil && r.NoCache {
		return errors.New("a build of an Edge has no NoCache: its vertices say so themselves (solver.VertexOptions.IgnoreCache)")
	}
	return nil
}
