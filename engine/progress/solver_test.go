package progress_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// step is a vertex and its op: it logs, and results in its name.
type step struct {
	name   string
	inputs []solver.Edge
}

func (s *step) Digest() digest.Digest         { return digest.FromString(s.name) }
func (s *step) Name() string                  { return s.name }
func (s *step) Sys() any                      { return s }
func (s *step) Inputs() []solver.Edge         { return s.inputs }
func (s *step) Options() solver.VertexOptions { return solver.VertexOptions{} }

func (s *step) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return solver.NewCacheMap(s.Digest(), len(s.inputs)), true, nil
}

func (s *step) Exec(ctx context.Context, _ []solver.Result) ([]solver.Result, error) {
	solver.ProgressFrom(ctx).Log(1, []byte("hello from "+s.name+"\n"))
	return []solver.Result{result(s.name)}, nil
}

// result is a result that is its own name.
type result string

func (r result) ID() string                  { return string(r) }
func (result) Release(context.Context) error { return nil }
func (r result) Sys() any                    { return r }

// The display over a real stream: what ran, and then what a cache had.
func TestSolver(t *testing.T) {
	s := solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) { return v.Sys().(*step), nil },
		DefaultCache:  solver.NewInMemoryCacheManager(),
	})
	defer s.Close()
	base := &step{name: "base"}
	top := &step{name: "top", inputs: []solver.Edge{{Vertex: base}}}
	var shown []string
	for _, id := range []string{"first", "second"} {
		job, err := s.NewJob(id)
		if err != nil {
			t.Fatal(err)
		}
		ch := make(chan *client.SolveStatus)
		streamed := make(chan error, 1)
		go func() { streamed <- job.Status(t.Context(), ch) }()
		go func() {
			r, err := job.Build(t.Context(), solver.Edge{Vertex: top})
			if err == nil {
				err = r.Release(context.Background())
			}
			if err != nil {
				t.Error(err)
			}
			if err := job.Discard(); err != nil {
				t.Error(err)
			}
		}()
		var out bytes.Buffer
		if _, err := progress.Display(t.Context(), &out, progress.Plain, ch); err != nil {
			t.Fatal(err)
		}
		if err := <-streamed; err != nil {
			t.Error(err)
		}
		shown = append(shown, out.String())
	}
	for _, want := range []string{"hello from base", "hello from top", "DONE"} {
		if !strings.Contains(shown[0], want) {
			t.Errorf("the first build does not show %q:\n%s", want, shown[0])
		}
	}
	if strings.Contains(shown[0], "CACHED") {
		t.Errorf("the first build:\n%s", shown[0])
	}
	if want := "#1 top\n#1 CACHED\n"; shown[1] != want {
		t.Errorf("the second build:\n%swant:\n%s", shown[1], want)
	}
}
