// Package sourcetest is what tests of sources have in common: a store, builds with
// sessions, and a look at the trees that come out.
package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// Env is what a source works with.
type Env struct {
	Store    *store.Store
	Sessions *session.Sessions
	solver   *solver.Solver
	serial   atomic.Int64
}

// New opens a store for the time of a test, at whose end nothing may be held.
func New(t *testing.T) *Env {
	t.Helper()
	testenv.Root(t)
	st, err := store.Open(t.Context(), store.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	e := &Env{Store: st, Sessions: &session.Sessions{}, solver: solver.NewSolver(solver.SolverOpt{})}
	t.Cleanup(func() {
		e.solver.Close()
		left, err := st.Du(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, u := range left {
			if u.InUse {
				t.Errorf("tree %s is still held: %s", u.ID, u.Description)
			}
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Build returns the context of a new build, which is lent what opt says. Its ID is
// filled in.
func (e *Env) Build(t *testing.T, opt local.Options) context.Context {
	t.Helper()
	opt.ID = fmt.Sprintf("build %d", e.serial.Add(1))
	sess, err := local.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	remove, err := e.Sessions.Add(sess)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	job, err := e.solver.NewJob(opt.ID)
	if err != nil {
		t.Fatal(err)
	}
	job.SessionID = opt.ID
	t.Cleanup(func() {
		if err := job.Discard(); err != nil {
			t.Error(err)
		}
	})
	return job.Context(t.Context())
}

// Solve does with an instance what the solver does if no cache has its key. The
// tree is released when the test ends.
func Solve(ctx context.Context, t *testing.T, src source.Source, op *pb.SourceOp) (key string, ref *store.Ref, err error) {
	t.Helper()
	in, err := src.Parse(op, nil)
	if err != nil {
		return "", nil, err
	}
	key, done, err := in.CacheKey(ctx, 0)
	if err != nil {
		return "", nil, err
	}
	if !done || key == "" {
		t.Errorf("the key is %q, done: %v", key, done)
	}
	ref, err = in.Snapshot(ctx)
	if err != nil {
		return key, nil, err
	}
	t.Cleanup(func() {
		if err := ref.Release(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return key, ref, nil
}

// File is what a test looks at in a tree.
type File struct {
	Mode fs.FileMode
	Text string // of a file; where a link leads
}

// Files returns what is in a tree, by path. The folders in skip are left out.
func Files(t *testing.T, ref *store.Ref, skip ...string) map[string]File {
	t.Helper()
	out := map[string]File{}
	err := trees.Read(t.Context(), ref, func(dir string) error {
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			for _, s := range skip {
				if rel == s {
					return fs.SkipDir
				}
			}
			f, err := look(path)
			out[rel] = f
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func look(path string) (File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return File{}, err
	}
	f := File{Mode: fi.Mode()}
	switch {
	case fi.Mode().IsRegular():
		dt, rerr := os.ReadFile(path)
		f.Text, err = string(dt), errors.Join(err, rerr)
	case fi.Mode()&fs.ModeSymlink != 0:
		f.Text, err = os.Readlink(path)
	}
	return f, err
}
