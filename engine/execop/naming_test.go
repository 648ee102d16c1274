package execop_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"

	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// The root is named by its content while the process runs, and not after it. A process that
// fails does not wait for that.
func TestNamedWhileRunning(t *testing.T) {
	testenv.Root(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := store.Open(ctx, store.Options{Root: t.TempDir()})
	noError(t, err)
	defer func() { noError(t, s.Close()) }()
	m := &machine{t: t, store: s}
	base := m.tree(nil, func(dir string) { noError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644)) })
	defer func() { noError(t, base.Release(context.Background())) }()
	fails := errors.New("fails")
	for _, c := range []struct {
		what  string
		fails error
		none  bool
	}{{what: "without", none: true}, {what: "a process that fails", fails: fails}, {what: "with"}} {
		run := executorFunc(func(ctx context.Context, _ executor.Mount, _ []executor.Mount, _ executor.ProcessInfo) error {
			for !c.none && c.fails == nil {
				name, err := base.Content(ctx, nil)
				if err != nil || name != "" {
					return err
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				runtime.Gosched()
			}
			return c.fails
		})
		o, err := execop.New(sh("x"), nil, vertex{"v", 1}, execop.Deps{Store: s, Executor: run, NoCutoff: c.none})
		noError(t, err)
		out, err := o.Exec(ctx, []solver.Result{store.NewResult(base)})
		if !errors.Is(err, c.fails) {
			t.Errorf("%s: %v", c.what, err)
		}
		for _, r := range out {
			noError(t, r.Release(ctx))
		}
		if name, err := base.Content(ctx, nil); c.none && (err != nil || name != "") {
			t.Errorf("%s: the tree is named %s, %v", c.what, name, err)
		}
	}
}
