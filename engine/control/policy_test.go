package control_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/sourcepolicy/policysession"

	"github.com/tenonbuild/tenon/internal/check"
)

// files is a server with a few files, and counts what it is asked.
func files(t *testing.T) (url string, asked *atomic.Int32) {
	asked = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("content of " + r.URL.Path))
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

// A policy denies sources before anything is asked of them, and puts others in their place:
// those of a definition, of a frontend, and those that are only asked about.
func TestSourcePolicy(t *testing.T) {
	d := start(t)
	url, asked := files(t)
	deny := &spb.Policy{Rules: []*spb.Rule{{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: url + "/bad*"}}}}
	_, _, err := d.solve(llb.HTTP(url+"/bad.txt"), bkclient.SolveOpt{SourcePolicy: deny})
	check.Says(t, err, "denied by policy")
	for _, ask := range []gwclient.BuildFunc{
		func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
			_, err := c.ResolveSourceMetadata(ctx, &pb.SourceOp{Identifier: url + "/bad.txt"}, sourceresolver.Opt{})
			return nil, err
		},
		func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
			def, err := llb.HTTP(url + "/worse.txt").Marshal(ctx)
			if err != nil {
				return nil, err
			}
			own := &spb.Policy{Rules: []*spb.Rule{{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: url + "/worse.txt"}}}}
			return c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB(), SourcePolicies: []*spb.Policy{own}})
		},
	} {
		_, err = d.Build(t.Context(), bkclient.SolveOpt{SourcePolicy: deny}, "", ask, nil)
		check.Says(t, err, "denied by policy")
	}
	check.Equal(t, "requests", asked.Load(), 0)

	// A rule about a part of a repository is one about all names of that part.
	repo := "git://127.0.0.1:1/r.git#main:"
	deny = &spb.Policy{Rules: []*spb.Rule{{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: repo + "a/b", MatchType: spb.MatchType_EXACT}}}}
	for _, name := range []string{"a/b", "/a/b", "a//b/", "a/./b", "../a/b", "c/../a/b"} {
		_, _, err := d.solve(llb.NewState(llb.NewSource(repo+name, nil, llb.Constraints{}).Output()), bkclient.SolveOpt{SourcePolicy: deny})
		check.Says(t, err, "denied by policy")
	}

	out := t.TempDir()
	convert := &spb.Policy{Rules: []*spb.Rule{{
		Action: spb.PolicyAction_CONVERT, Selector: &spb.Selector{Identifier: url + "/old.txt"},
		Updates: &spb.Update{Identifier: url + "/new.txt", Attrs: map[string]string{pb.AttrHTTPFilename: "f"}},
	}}}
	_, _, err = d.solve(llb.HTTP(url+"/old.txt"), bkclient.SolveOpt{SourcePolicy: convert, Exports: toDir(out)})
	check.OK(t, err)
	d.has(out, "f", "content of /new.txt")

	_, _, err = d.solve(llb.HTTP(url+"/x"), bkclient.SolveOpt{SourcePolicy: &spb.Policy{Rules: []*spb.Rule{{}}}})
	check.Says(t, err, "nil selector")
}

// What a definition has that a step makes is decided about by each build's policy, also where
// it was built before.
func TestPolicyOfNestedBuild(t *testing.T) {
	d := start(t)
	url, _ := files(t)
	def, err := llb.HTTP(url + "/bad").Marshal(t.Context())
	check.OK(t, err)
	dt, err := def.ToPB().Marshal()
	check.OK(t, err)
	st := llb.Scratch().File(llb.Mkfile("/buildkit.llb.definition", 0o644, dt)).With(llbbuild.Build())
	policy := func(action spb.PolicyAction) *spb.Policy {
		return &spb.Policy{Rules: []*spb.Rule{{Action: action, Selector: &spb.Selector{Identifier: url + "/bad*"}}}}
	}
	for _, p := range []*spb.Policy{nil, policy(spb.PolicyAction_ALLOW)} {
		_, _, err := d.solve(st, bkclient.SolveOpt{SourcePolicy: p})
		check.OK(t, err)
	}
	_, _, err = d.solve(st, bkclient.SolveOpt{SourcePolicy: policy(spb.PolicyAction_DENY)})
	check.Says(t, err, "denied by policy")
	denies := policysession.NewPolicyProvider(func(context.Context, *policysession.CheckPolicyRequest) (*policysession.DecisionResponse, *gwpb.ResolveSourceMetaRequest, error) {
		return &policysession.DecisionResponse{Action: spb.PolicyAction_DENY}, nil, nil
	})
	_, _, err = d.solve(st, bkclient.SolveOpt{SourcePolicyProvider: denies})
	check.Says(t, err, "not allowed by policy")
}

// The client decides about each source, several at a time. It may ask what is known of
// one, put another in its place, and say why it denies one.
func TestPolicyOfClient(t *testing.T) {
	d := start(t)
	url, _ := files(t)
	allow := &policysession.DecisionResponse{Action: spb.PolicyAction_ALLOW}
	first, second := make(chan struct{}), make(chan struct{})
	policy := policysession.NewPolicyProvider(func(_ context.Context, req *policysession.CheckPolicyRequest) (*policysession.DecisionResponse, *gwpb.ResolveSourceMetaRequest, error) {
		src := req.Source.Source
		switch src.Identifier {
		case url + "/a": // is decided about at the same time as b
			close(first)
			<-second
			return &policysession.DecisionResponse{Action: spb.PolicyAction_CONVERT, Update: &pb.SourceOp{
				Identifier: url + "/c", Attrs: map[string]string{pb.AttrHTTPFilename: "a"},
			}}, nil, nil
		case url + "/b":
			if req.Source.HTTP == nil {
				close(second)
				<-first
				return nil, &gwpb.ResolveSourceMetaRequest{Source: src, Platform: req.Platform}, nil
			}
		case url + "/denied":
			return &policysession.DecisionResponse{Action: spb.PolicyAction_DENY, DenyMessages: []*policysession.DenyMessage{{Message: "because"}}}, nil, nil
		case url + "/other":
			return nil, &gwpb.ResolveSourceMetaRequest{Source: &pb.SourceOp{Identifier: url + "/b"}}, nil
		case url + "/ever":
			return nil, &gwpb.ResolveSourceMetaRequest{Source: src}, nil
		}
		return allow, nil, nil
	})
	out := t.TempDir()
	st := llb.Scratch().File(llb.Copy(llb.HTTP(url+"/a"), "a", "/a").Copy(llb.HTTP(url+"/b", llb.Filename("b")), "b", "/b"))
	_, _, err := d.solve(st, bkclient.SolveOpt{SourcePolicyProvider: policy, Exports: toDir(out)})
	check.OK(t, err)
	d.has(out, "a", "content of /c")
	d.has(out, "b", "content of /b")
	for name, want := range map[string]string{
		"denied": "not allowed by policy", "other": "different source identifier", "ever": "too many policy requests",
	} {
		_, _, err := d.solve(llb.HTTP(url+"/"+name), bkclient.SolveOpt{SourcePolicyProvider: policy})
		check.Says(t, err, want)
		if msgs := policysession.DenyMessages(err); name == "denied" && (len(msgs) != 1 || msgs[0].Message != "because") {
			t.Errorf("why it was denied: %v", msgs)
		}
	}
}
