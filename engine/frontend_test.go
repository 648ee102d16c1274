package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// runFrontend builds with a frontend in an engine of its own, with dir as the local
// directory "context".
func runFrontend(t *testing.T, dir string, f frontend.Func) error {
	t.Helper()
	testenv.Root(t)
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir(), Frontends: map[string]frontend.Func{"test": f}})
	if err != nil {
		t.Fatal(err)
	}
	sess, err := local.New(t.Context(), local.Options{ID: "session", Dirs: map[string]string{"context": dir}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	_, err = e.Build(ctx, engine.Request{Frontend: "test", Session: sess})
	if s := e.Solver().Stats(); s.Jobs != 0 || s.Vertices != 0 {
		t.Errorf("the solver still has %d jobs, %d vertices", s.Jobs, s.Vertices)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	return err
}

// solve solves a state, when its reference is used.
func solve(ctx context.Context, c gwclient.Client, st llb.State) (gwclient.Reference, error) {
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}

// What a frontend reads of a tree may come from anybody: it does not lead out of
// the tree, and nothing in it is waited for.
func TestFrontendReads(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "large"), 257<<20); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"inside": "/file", "outside": "../../../../etc/hostname", "nowhere": "none"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	err := runFrontend(t, dir, func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		ref, err := solve(ctx, c, llb.Local("context"))
		if err != nil {
			return nil, err
		}
		for name, want := range map[string]string{
			"file": "0123456789", "inside": "0123456789", "../../file": "0123456789",
			"outside": "!", "nowhere": "!", "none": "!", "pipe": "!", ".": "!",
			"large": "!",
		} {
			dt, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: name})
			if err != nil {
				dt = []byte("!")
				if strings.Contains(err.Error(), "/snapshots/") || strings.Contains(err.Error(), "buildkit") {
					t.Errorf("%s: the error names a place of this machine: %v", name, err)
				}
			}
			if string(dt) != want {
				t.Errorf("%s: %q, want %q (%v)", name, dt, want, err)
			}
		}
		dt, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "file", Range: &gwclient.FileRange{Offset: 3, Length: 4}})
		if err != nil || string(dt) != "3456" {
			t.Errorf("a part: %q, %v", dt, err)
		}
		for offset, want := range map[int]string{257<<20 - 2: "\x00\x00", 258 << 20: ""} {
			dt, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "large", Range: &gwclient.FileRange{Offset: offset}})
			if err != nil || string(dt) != want {
				t.Errorf("from %d: %q, %v", offset, dt, err)
			}
		}
		if _, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "file", Range: &gwclient.FileRange{Offset: -1}}); err == nil {
			t.Error("a negative range was read")
		}
		list, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: "/", IncludePattern: "*side"})
		if err != nil || len(list) != 2 || list[0].Path != "inside" {
			t.Errorf("a directory: %v, %v", list, err)
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A frontend that panics, or returns what is no reference, fails its build only.
func TestBadFrontends(t *testing.T) {
	for want, f := range map[string]frontend.Func{
		"the frontend test panicked: oh": func(context.Context, gwclient.Client) (*gwclient.Result, error) { panic("oh") },
		"did not get from its client": func(context.Context, gwclient.Client) (*gwclient.Result, error) {
			res := gwclient.NewResult()
			res.SetRef((*frontend.Reference)(nil))
			return res, nil
		},
	} {
		if err := runFrontend(t, t.TempDir(), f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// A frontend that solves without end is told that it is too much, which ends its build alone.
func TestTooManyDefinitions(t *testing.T) {
	def, err := llb.Scratch().File(llb.Mkfile("f", 0o644, nil)).Marshal(t.Context())
	check.OK(t, err)
	solved := 0
	err = runFrontend(t, t.TempDir(), func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		for {
			if _, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()}); err != nil {
				return nil, err
			}
			solved++
		}
	})
	check.Says(t, err, "the definitions that one build solves are more than 50000 definitions together")
	check.Equal(t, "solved", solved, 50_000)
	err = runFrontend(t, t.TempDir(), func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		return c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	})
	check.OK(t, err)
}

// A frontend may have many references, use them at the same time, and keep them
// longer than its build.
func TestManyReferences(t *testing.T) {
	var late gwclient.Reference
	err := runFrontend(t, t.TempDir(), func(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(32)
		for i := range 1000 {
			g.Go(func() error {
				ref, err := solve(ctx, c, llb.Scratch().File(llb.Mkfile("f", 0o644, fmt.Append(nil, i%50))))
				if err != nil {
					return err
				}
				dt, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "f"})
				if err == nil && string(dt) != fmt.Sprint(i%50) {
					err = fmt.Errorf("file %d: %q", i, dt)
				}
				if i == 0 {
					late = ref
				}
				return err
			})
		}
		return nil, g.Wait()
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.ReadFile(t.Context(), gwclient.ReadRequest{Filename: "f"}); err == nil {
		t.Error("a reference was read after the end of its build")
	}
}

// A request that cannot be kept to is refused.
func TestBadRequests(t *testing.T) {
	testenv.Root(t)
	e, err := engine.Open(t.Context(), engine.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for want, req := range map[string]engine.Request{
		"has 0":   {},
		"has 2":   {Frontend: "dockerfile.v0", Definition: nothing(t)},
		"NoCache": {Edge: solver.Edge{Vertex: shout{}}, NoCache: true},
		"nobody":  {Frontend: "nobody"},
		"allow":   {Definition: nothing(t), Allow: []string{"all"}},
	} {
		if _, err := e.Build(t.Context(), req); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if e, err := engine.Open(ctx, engine.Options{Root: t.TempDir()}); err == nil {
		t.Error("opened although its context had ended", e.Close())
	}
}

// nothing is the definition of the empty tree.
func nothing(t *testing.T) *pb.Definition {
	t.Helper()
	def, err := llb.Scratch().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}
