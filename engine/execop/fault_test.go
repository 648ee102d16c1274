package execop_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// executorFunc is an executor that runs nothing.
type executorFunc func(ctx context.Context, root executor.Mount, mounts []executor.Mount, p executor.ProcessInfo) error

func (f executorFunc) Run(ctx context.Context, _ string, root executor.Mount, mounts []executor.Mount, p executor.ProcessInfo, _ chan<- struct{}) (resourcestypes.Recorder, error) {
	return nil, f(ctx, root, mounts, p)
}

func (executorFunc) Exec(context.Context, string, executor.ProcessInfo) error {
	return errors.New("not to be called")
}

// However an op ends, nothing that it has made or borrowed stays held.
func TestNothingIsHeldAfterwards(t *testing.T) {
	broken := errors.New("broken")
	ok := func(context.Context, executor.Mount, []executor.Mount, executor.ProcessInfo) error { return nil }
	many := func(last func(*pb.ExecOp)) *pb.ExecOp {
		return sh("x",
			with(&pb.Mount{Input: 1, Dest: "/a", Output: 1}),
			with(&pb.Mount{Input: 1, Dest: "/b", Output: -1}),
			with(&pb.Mount{Input: -1, Dest: "/c", Output: 3}),
			with(&pb.Mount{Input: 1, Dest: "/d", Output: 2, Readonly: true}),
			cache("id", pb.CacheSharingOpt_LOCKED, 1),
			secretMount(&pb.SecretOpt{ID: "s"}, "/s"), last)
	}
	none := func(*pb.ExecOp) {}
	for name, c := range map[string]struct {
		op      *pb.ExecOp
		run     executorFunc
		want    error
		records int // that stay, for nobody: the two inputs, the cache mount, and outputs
	}{
		"well":                    {many(none), ok, nil, 6},
		"the executor fails":      {many(none), func(context.Context, executor.Mount, []executor.Mount, executor.ProcessInfo) error { return broken }, broken, 3},
		"the last mount is wrong": {many(secretMount(&pb.SecretOpt{ID: "none"}, "/t")), ok, session.ErrNotFound, 3},
		"a variable is wrong":     {many(func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{ID: "none", Name: "N"}} }), ok, session.ErrNotFound, 3},
		"an output is taken away": {many(none), func(_ context.Context, _ executor.Mount, mounts []executor.Mount, _ executor.ProcessInfo) error {
			i := slices.IndexFunc(mounts, func(m executor.Mount) bool { return m.Dest == "/c" })
			return mounts[i].Src.(*store.Mutable).Release(context.Background())
		}, store.ErrReleased, 5}, // those committed before are kept for nobody
	} {
		t.Run(name, func(t *testing.T) { testHeld(t, c.op, c.run, c.want, c.records) })
	}
}

func testHeld(t *testing.T, op *pb.ExecOp, run executorFunc, want error, records int) {
	testenv.Root(t)
	ctx := t.Context()
	root := t.TempDir()
	s, err := store.Open(ctx, store.Options{Root: root})
	noError(t, err)
	sessions := &session.Sessions{}
	lender := &caller{Session: session.Empty("caller"), secrets: map[string]string{"s": "v"}}
	_, err = sessions.Add(lender)
	noError(t, err)
	sol := solver.NewSolver(solver.SolverOpt{})
	defer sol.Close()
	job, err := sol.NewJob("job")
	noError(t, err)
	job.SessionID = lender.ID()

	m := &machine{t: t, store: s}
	base := m.tree(nil, func(dir string) { noError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)) })
	other := m.tree(nil, func(dir string) { noError(t, os.WriteFile(filepath.Join(dir, "g"), nil, 0o644)) })
	o, err := execop.New(op, nil, vertex{"v", 2}, execop.Deps{Store: s, Sessions: sessions, Executor: run})
	noError(t, err)
	out, err := o.Exec(job.Context(ctx), []solver.Result{store.NewResult(base), store.NewResult(other)})
	if !errors.Is(err, want) {
		t.Errorf("the error is %v", err)
	}
	if want != nil && len(out) != 0 {
		t.Errorf("%d results with an error", len(out))
	}
	for _, r := range append(out, store.NewResult(base), store.NewResult(other)) {
		noError(t, r.Release(ctx))
	}
	all, err := s.Du(ctx)
	noError(t, err)
	for _, u := range all {
		if u.InUse {
			t.Errorf("held: %s %s", u.Type, u.Description)
		}
	}
	if len(all) != records {
		t.Errorf("%d records", len(all))
	}
	noError(t, s.Close())
	snapshots, err := filepath.Glob(filepath.Join(root, "*", "snapshots", "*"))
	noError(t, err)
	if len(snapshots) != records {
		t.Errorf("%d snapshots of %d records", len(snapshots), records)
	}
}

func TestNoExecutor(t *testing.T) {
	why := errors.New("apt-get install runc")
	o, err := execop.New(sh("x"), nil, vertex{"v", 1}, execop.Deps{NoExecutor: why})
	noError(t, err)
	if _, err := o.Exec(t.Context(), []solver.Result{store.NewResult(nil)}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	o, err = execop.New(sh("x"), nil, vertex{"v", 1}, execop.Deps{})
	noError(t, err)
	if _, err := o.Exec(t.Context(), []solver.Result{store.NewResult(nil)}); err == nil {
		t.Error("no error")
	}
}

func TestForeignSystem(t *testing.T) {
	o, err := execop.New(sh("x"), &pb.Platform{OS: "windows", Architecture: "amd64"}, vertex{"v", 1}, execop.Deps{Executor: executorFunc(nil)})
	noError(t, err)
	if _, err := o.Exec(t.Context(), []solver.Result{store.NewResult(nil)}); err == nil || !strings.Contains(err.Error(), "windows") {
		t.Errorf("%v", err)
	}
}

// shown runs a process that writes, and returns what a job shows of its output.
func shown(t *testing.T, limits execop.LogLimits, write func(p executor.ProcessInfo) error) (string, error) {
	t.Helper()
	testenv.Root(t)
	s, err := store.Open(t.Context(), store.Options{Root: t.TempDir()})
	noError(t, err)
	defer func() { noError(t, s.Close()) }()
	sol := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
		run := executorFunc(func(_ context.Context, _ executor.Mount, _ []executor.Mount, p executor.ProcessInfo) error {
			return write(p)
		})
		return execop.New(sh("x", func(op *pb.ExecOp) { op.Mounts[0].Input = -1 }), nil, v, execop.Deps{Store: s, Executor: run, Log: limits})
	}})
	defer sol.Close()
	job, err := sol.NewJob("job")
	noError(t, err)
	ch := make(chan *client.SolveStatus, 64)
	go job.Status(t.Context(), ch) //nolint:errcheck // it ends with the job
	res, buildErr := job.Build(t.Context(), solver.Edge{Vertex: vertex{"v", 0}})
	if buildErr == nil {
		noError(t, res.Release(t.Context()))
	}
	var b strings.Builder
	show := func(st *client.SolveStatus) {
		for _, l := range st.Logs {
			fmt.Fprintf(&b, "%d:%s", l.Stream, l.Data)
		}
	}
	show(<-ch) // it follows the job, whose logs are gone once that is discarded
	noError(t, job.Discard())
	for st := range ch {
		show(st)
	}
	return b.String(), buildErr
}

func TestLogs(t *testing.T) {
	got, err := shown(t, execop.LogLimits{}, func(p executor.ProcessInfo) error {
		fmt.Fprint(p.Stdout, "out\n")
		fmt.Fprint(p.Stderr, "err\n")
		return nil
	})
	if err != nil || got != "1:out\n2:err\n" {
		t.Errorf("%q, %v", got, err)
	}

	got, err = shown(t, execop.LogLimits{Size: 2048, Rate: -1}, func(p executor.ProcessInfo) error {
		for range 1000 {
			fmt.Fprint(p.Stdout, strings.Repeat("a", 100))
		}
		fmt.Fprint(p.Stderr, "the other stream has a limit of its own")
		return nil
	})
	if n := strings.Count(got, "a"); err != nil || n < 2048 || n > 2100 || strings.Count(got, "output clipped, log limit 2KiB reached") != 1 || !strings.Contains(got, "its own") {
		t.Errorf("%d shown, %v: %q", n, err, got)
	}

	got, err = shown(t, execop.LogLimits{Size: 2048}, func(p executor.ProcessInfo) error {
		fmt.Fprint(p.Stdout, strings.Repeat("a", 1<<20))
		fmt.Fprint(p.Stdout, "why it failed")
		return errors.New("failed")
	})
	if err == nil || !strings.HasSuffix(got, "why it failed") {
		t.Errorf("the end of what failed is not shown: %v", err)
	}

	begun := time.Now()
	got, err = shown(t, execop.LogLimits{Rate: 1024}, func(p executor.ProcessInfo) error {
		for range 10000 {
			fmt.Fprint(p.Stdout, strings.Repeat("b", 512))
		}
		return nil
	})
	allowed := 1024 * (2 + int(time.Since(begun)/time.Second))
	if n := strings.Count(got, "b"); err != nil || n < 1024 || n > allowed || !strings.Contains(got, "1KiB/s") {
		t.Errorf("%d shown, %v", n, err)
	}
}
