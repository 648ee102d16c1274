package export_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// An export shows its steps by the words people know, each with a beginning and an
// end, and says what it could not do.
func TestProgress(t *testing.T) {
	st := openStore(t)
	ref := grow(t, st, nil, "x", func(dir string) { write(t, dir, "f", "x") })
	sv := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(solver.Vertex, solver.Builder) (solver.Op, error) {
		t.Error("nothing is to be solved")
		return nil, nil
	}})
	job, err := sv.NewJob("test")
	must(t, err)
	ch := make(chan *client.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error { return job.Status(t.Context(), ch) })
	var ids, open, warnings []string
	eg.Go(func() error {
		for s := range ch {
			for _, v := range s.Statuses {
				if i := slices.Index(open, v.ID); v.Completed != nil && i >= 0 {
					open = slices.Delete(open, i, i+1)
				}
				if !slices.Contains(ids, v.ID) {
					ids = append(ids, v.ID)
					open = append(open, v.ID)
				}
			}
			for _, w := range s.Warnings {
				warnings = append(warnings, string(w.Short))
			}
		}
		return nil
	})
	ctx, end := job.Begin(job.Context(t.Context()), "exporting")
	src := built(ref)
	var digest, config string
	for _, req := range []export.Request{
		{Type: "image", Attrs: map[string]string{"name": "x", "rewrite-timestamp": "true"}},
		{Type: "local", Dir: t.TempDir()},
		{Type: "oci", Dir: t.TempDir()},
	} {
		ex, err := export.New(export.Builtin(export.Deps{Store: st}), req)
		must(t, err)
		resp, err := ex.Export(ctx, src, nil)
		must(t, err)
		if req.Type == "image" {
			digest, config = resp[exptypes.ExporterImageDigestKey], resp[exptypes.ExporterImageConfigDigestKey]
		}
	}
	end(nil)
	must(t, job.Discard())
	must(t, eg.Wait())
	want := []string{"exporting layers", "exporting config " + config, "exporting manifest " + digest,
		"naming to docker.io/library/x:latest", "copying files", "writing layout"}
	if !slices.Equal(ids, want) {
		t.Errorf("steps %q, want %q", ids, want)
	}
	if len(open) > 0 {
		t.Errorf("steps without an end: %q", open)
	}
	// The history of built's config is that of two layers, and there is one.
	for _, w := range []string{"no effect without SOURCE_DATE_EPOCH", "more layers than there are"} {
		if !slices.ContainsFunc(warnings, func(s string) bool { return strings.Contains(s, w) }) {
			t.Errorf("no warning says %q: %q", w, warnings)
		}
	}
}
