package ops_test

import (
	"context"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver/pb"
	tllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// world is an engine without frontends: a store, a source and a solver on them.
type world struct {
	t      *testing.T
	ctx    context.Context
	store  *store.Store
	source *memory
	env    *ops.Env
	solver *solver.Solver
	jobs   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.Root(t)
	w := &world{t: t, ctx: context.Background()}
	var err error
	if w.store, err = store.Open(w.ctx, store.Options{Root: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	w.source = &memory{store: w.store, trees: map[string]tree{}}
	w.env = &ops.Env{
		Store: w.store, Sources: source.NewSet(w.source), Sessions: &session.Sessions{},
		NoExecutor: fmt.Errorf("no runc was found"),
	}
	w.restart()
	t.Cleanup(func() {
		w.solver.Close()
		all, err := w.store.Du(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			if u.InUse {
				t.Errorf("%s (%s) is still held", u.ID, u.Description)
			}
		}
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// restart begins with a new solver, which knows what is in the store.
func (w *world) restart() {
	if w.solver != nil {
		w.solver.Close()
	}
	w.solver = solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: w.env.Resolve,
		DefaultCache:  solver.NewCacheManager("test", w.store.CacheKeys(), w.store.Results()),
	})
}

// solve builds an edge in a job of its own and returns what is in the tree, and how
// many ops ran for it.
func (w *world) solve(e solver.Edge, values ...any) (list string, execs uint64, err error) {
	w.t.Helper()
	before := w.solver.Stats().Execs
	w.jobs++
	job, err := w.solver.NewJob(fmt.Sprint(w.jobs))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range values {
		job.SetValue(ops.LoadOptionsKey, v)
	}
	defer func() {
		if err := job.Discard(); err != nil {
			w.t.Error(err)
		}
	}()
	res, err := job.Build(w.ctx, e)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if err := res.Release(w.ctx); err != nil {
			w.t.Error(err)
		}
	}()
	ref, err := store.RefOf(res)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.list(ref), w.solver.Stats().Execs - before, nil
}

// build solves a state.
func (w *world) build(st llb.State, values ...any) (string, uint64) {
	w.t.Helper()
	list, execs, err := w.solve(w.edge(st), values...)
	if err != nil {
		w.t.Fatal(err)
	}
	return list, execs
}

func (w *world) edge(st llb.State) solver.Edge {
	w.t.Helper()
	g, err := tllb.Load(marshal(w.t, st), tllb.LoadOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return g.Edge
}

func marshal(t *testing.T, st llb.State) *pb.Definition {
	t.Helper()
	def, err := st.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}

// list says what is in a tree: paths and content.
func (w *world) list(ref *store.Ref) string {
	w.t.Helper()
	var all []string
	mounted(w.t, w.ctx, ref, true, func(root string) {
		err := filepath.WalkDir(root, func(p string, d iofs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			dt, err := os.ReadFile(p)
			rel, _ := strings.CutPrefix(p, root+"/")
			all = append(all, rel+"="+string(dt))
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	})
	return strings.Join(all, " ")
}

func mounted(t *testing.T, ctx context.Context, m executor.Mountable, readonly bool, do func(dir string)) {
	t.Helper()
	mr, err := m.Mount(ctx, readonly)
	if err != nil {
		t.Fatal(err)
	}
	lm := snapshot.LocalMounter(mr)
	dir, err := lm.Mount()
	if err != nil {
		t.Fatal(err)
	}
	do(dir)
	if err := lm.Unmount(); err != nil {
		t.Fatal(err)
	}
}

// memory is a source of trees that the test makes up: test://name.
type memory struct {
	store *store.Store
	mu    sync.Mutex // guards trees
	trees map[string]tree
}

type tree struct {
	keys  []string // by which it is known
	files map[string]string
	// theirs is what BuildKit keys it by, if it does, and whole what that tells.
	theirs string
	whole  bool
}

// set says what is behind a name.
func (m *memory) set(name, key string, files ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tr := tree{keys: strings.Split(key, ","), files: map[string]string{}}
	for i := 0; i < len(files); i += 2 {
		tr.files[files[i]] = files[i+1]
	}
	m.trees[name] = tr
}

// name says what BuildKit keys a tree by.
func (m *memory) name(tree, key string, whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tr := m.trees[tree]
	tr.theirs, tr.whole = key, whole
	m.trees[tree] = tr
}

func (m *memory) Schemes() []string { return []string{"test", "alias"} }

func (m *memory) Parse(op *pb.SourceOp, platform *pb.Platform) (source.Instance, error) {
	_, name, _ := strings.Cut(op.Identifier, "://")
	m.mu.Lock()
	defer m.mu.Unlock()
	tr, ok := m.trees[name]
	if !ok {
		return nil, fmt.Errorf("no tree is called %q", name)
	}
	if tr.theirs != "" {
		return named{&instance{store: m.store, tree: tr}}, nil
	}
	return &instance{store: m.store, tree: tr}, nil
}

// named is a source that BuildKit has, too.
type named struct{ *instance }

func (n named) BuildKitKey(context.Context) (string, bool, error) {
	return n.tree.theirs, n.tree.whole, nil
}

type instance struct {
	store *store.Store
	tree  tree
}

func (i *instance) CacheKey(ctx context.Context, index int) (string, bool, error) {
	return i.tree.keys[index], index == len(i.tree.keys)-1, nil
}

func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	m, err := i.store.New(ctx, nil, store.NewOptions{Description: "source"})
	if err != nil {
		return nil, err
	}
	mr, err := m.Mount(ctx, false)
	if err != nil {
		return nil, err
	}
	lm := snapshot.LocalMounter(mr)
	dir, err := lm.Mount()
	if err != nil {
		return nil, err
	}
	for name, data := range i.tree.files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			return nil, err
		}
	}
	if err := lm.Unmount(); err != nil {
		return nil, err
	}
	return m.Commit(ctx)
}

// from is a state that begins with a source.
func from(id string) llb.State {
	return llb.NewState(llb.NewSource(id, nil, llb.Constraints{}).Output())
}
