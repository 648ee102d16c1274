package engine_test

import (
	"context"
	"maps"
	"path/filepath"
	"runtime"
	"testing"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/moby/buildkit/client/llb"
	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/frontend/dockerfile"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/keycases"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// What BuildKit exports of a build, this exports too: so each finds in the other's cache
// what it finds in its own. bench/cmd/keys records what BuildKit does.
func TestCacheKeysOfBuildKit(t *testing.T) {
	testenv.Root(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("the keys are those of amd64")
	}
	for _, tool := range []string{"git", "busybox", "runc"} {
		testenv.Tool(t, tool)
	}
	w, err := keycases.NewWorld(t.TempDir())
	check.OK(t, err)
	defer w.Close()
	cases, err := keycases.Read("testdata/keys")
	check.OK(t, err)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			check.OK(t, c.Context(dir, w))
			// In a new process, all comes from the disk.
			for _, what := range []string{"built", "cached"} {
				if what == "cached" && testing.Short() {
					break
				}
				got := exportedBy(t, dir, c, w)
				for _, missing := range c.Missing(got) {
					t.Errorf("%s: BuildKit has a record that is not exported: %s", what, missing)
				}
				if t.Failed() {
					t.Logf("ours:\n%s\ntheirs:\n%s", got, c.Records)
				}
			}
		})
	}
}

// exportedBy builds a case in the root that is below dir, and returns what is exported.
func exportedBy(t *testing.T, dir string, c *keycases.Case, w *keycases.World) keycases.Records {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Root: filepath.Join(dir, "root")})
	check.OK(t, err)
	defer func() { check.OK(t, e.Close()) }()
	sess, err := local.New(t.Context(), local.Options{
		Dirs:    map[string]string{"context": filepath.Join(dir, "context"), "dockerfile": filepath.Join(dir, "dockerfile"), "layout": w.Layout},
		Layouts: map[string]string{"layout": w.Layout},
	})
	check.OK(t, err)
	var out keycases.Records
	run := func(ctx context.Context, client gwclient.Client) (*gwclient.Result, error) {
		res, err := solveCase(ctx, client, c, w)
		if err == nil {
			out, err = exported(ctx, res)
		}
		return res, err
	}
	_, err = e.Build(t.Context(), engine.Request{Run: run, FrontendAttrs: w.FrontendAttrs(c), Session: sess})
	check.OK(t, err)
	return out.Named(w.Names)
}

func solveCase(ctx context.Context, client gwclient.Client, c *keycases.Case, w *keycases.World) (*gwclient.Result, error) {
	make, ok := keycases.Definitions[c.Name]
	if !ok {
		return dockerfile.Build(ctx, client)
	}
	st, err := make(w)
	if err != nil {
		return nil, err
	}
	def, err := st.Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return nil, err
	}
	return client.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
}

// exported are the records that are exported of what was built, with mode=max.
func exported(ctx context.Context, built *gwclient.Result) (out keycases.Records, err error) {
	target := &solvertest.ExportTarget{}
	convert := func(_ context.Context, r solver.Result) (*solver.Remote, error) { return &solver.Remote{}, nil }
	refs := maps.Clone(built.Refs)
	if built.Ref != nil {
		refs = map[string]gwclient.Reference{"": built.Ref}
	}
	for _, ref := range refs {
		res, err := ref.(*frontend.Reference).Result(ctx)
		if err != nil {
			return nil, err
		}
		for _, k := range res.CacheKeys() {
			if _, err := k.Exporter.ExportTo(ctx, target, solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: convert}); err != nil {
				return nil, err
			}
		}
	}
	number := map[*solvertest.ExportedRecord]int{}
	for i, r := range target.Records() {
		number[r] = i
	}
	for _, r := range target.Records() {
		rec := keycases.Record{Digest: r.Digest, Result: len(r.Results) > 0}
		for _, l := range r.Links {
			rec.Links = append(rec.Links, keycases.Link{Input: l.Index, From: number[l.From], Selector: digest.Digest(l.Selector)})
		}
		out = append(out, rec)
	}
	return out, nil
}
