package engine_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// withInputs is an engine whose frontends are "make", which makes a file, and "pass", which
// returns one of its inputs.
func withInputs(t *testing.T) *engine.Engine {
	t.Helper()
	testenv.Root(t)
	solve := func(ctx context.Context, c gwclient.Client, st llb.State) (*gwclient.Result, error) {
		def, err := st.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		return c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	}
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir(), Frontends: map[string]frontend.Func{
		"make": func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
			return solve(ctx, c, llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte(c.BuildOpts().Opts["text"]))))
		},
		"pass": func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
			in, err := c.Inputs(ctx)
			if err != nil {
				return nil, err
			}
			return solve(ctx, c, in["first"])
		},
	}})
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, e.Close()) })
	return e
}

// ask runs a frontend for another, and returns the definition of what it returned.
func ask(ctx context.Context, c gwclient.Client, name, text string, inputs map[string]*pb.Definition) (*gwclient.Result, *pb.Definition, error) {
	res, err := c.Solve(ctx, gwclient.SolveRequest{Frontend: name, FrontendOpt: map[string]string{"text": text}, FrontendInputs: inputs})
	if err != nil {
		return nil, nil, err
	}
	st, err := res.Ref.ToState()
	if err != nil {
		return nil, nil, err
	}
	def, err := st.Marshal(ctx)
	return res, def.ToPB(), err
}

// built builds, and returns the request that provenance tells of.
func built(t *testing.T, e *engine.Engine, client string, f frontend.Func) types.Parameters {
	t.Helper()
	var out types.ProvenancePredicateSLSA1
	_, err := e.Build(t.Context(), engine.Request{Client: client, Run: f, Built: func(b engine.Built) {
		check.OK(t, b.Err)
		if len(b.Predicate) > 1<<20 {
			t.Errorf("provenance has %d bytes", len(b.Predicate))
		}
		check.OK(t, json.Unmarshal(b.Predicate, &out))
	}})
	check.OK(t, err)
	check.Equal(t, "compatibility version", out.BuildDefinition.ExternalParameters.Request.CompatibilityVersion, 30)
	return out.BuildDefinition.ExternalParameters.Request
}

// Provenance tells by which request an input was made, also where that is of another build
// that is under way, but only of the same client.
func TestProvenanceOfInputs(t *testing.T) {
	e := withInputs(t)
	var def *pb.Definition
	pass := func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		res, _, err := ask(ctx, c, "pass", "passed", map[string]*pb.Definition{"first": def})
		return res, err
	}
	_, err := e.Build(t.Context(), engine.Request{Client: "anne", Run: func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		var err error
		if _, def, err = ask(ctx, c, "make", "made", nil); err != nil {
			return nil, err
		}
		for client, told := range map[string]bool{"anne": true, "bert": false, "": false} {
			r := built(t, e, client, pass)
			check.Equal(t, "frontend", r.Frontend, "pass")
			in := r.Inputs["first"]
			check.Equal(t, "told to "+client, in != nil, told)
			if in != nil {
				check.Equal(t, "input", in.Request.Frontend+" "+in.Request.Args["text"], "make made")
			}
		}
		_, _, err = ask(ctx, c, "make", "made", nil) // once more, which is no other request
		check.Equal(t, "told", built(t, e, "anne", pass).Inputs["first"] != nil, true)
		return nil, err
	}})
	check.OK(t, err)
	check.Equal(t, "told after that build", built(t, e, "anne", pass).Inputs["first"] != nil, false)
}

// Requests may pass on each other's inputs in more ways than can be told.
func TestProvenanceOfManyInputs(t *testing.T) {
	e := withInputs(t)
	r := built(t, e, "", func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		res, def, err := ask(ctx, c, "make", "", nil)
		for range 50 {
			if err != nil {
				return nil, err
			}
			res, def, err = ask(ctx, c, "pass", "", map[string]*pb.Definition{"first": def, "second": def})
		}
		return res, err
	})
	check.Equal(t, "frontend", r.Frontend, "pass")
}
