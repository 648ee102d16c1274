package execop_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// machine is a store, a runtime and a build's caller.
type machine struct {
	t        testing.TB
	root     string
	store    *store.Store
	sessions *session.Sessions
	caller   *caller
	deps     execop.Deps
	ctx      context.Context // of a job
	base     *store.Ref      // a tree with busybox
}

// newMachine makes one, which ends with the test. Then nothing may be left mounted.
func newMachine(t testing.TB) *machine {
	t.Helper()
	testenv.Root(t)
	testenv.Tool(t, "runc")
	m := &machine{t: t, root: longDir(t), sessions: &session.Sessions{}, caller: &caller{Session: session.Empty("caller")}}
	var err error
	m.store, err = store.Open(t.Context(), store.Options{Root: filepath.Join(m.root, "store")})
	noError(t, err)
	e, err := runtime.New(t.Context(), runtime.Options{Root: filepath.Join(m.root, "containers"), CgroupParent: "tenon-test"})
	noError(t, err)
	_, err = m.sessions.Add(m.caller)
	noError(t, err)
	m.deps = execop.Deps{Store: m.store, Sessions: m.sessions, Executor: e}

	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(solver.Vertex, solver.Builder) (solver.Op, error) {
		return nil, fmt.Errorf("nothing is to be solved")
	}})
	job, err := s.NewJob("job")
	noError(t, err)
	job.SessionID = m.caller.ID()
	m.ctx = job.Context(t.Context())
	m.base = m.tree(nil, busybox(t))
	t.Cleanup(func() {
		s.Close()
		noError(t, e.Close())
		noError(t, m.base.Release(context.Background()))
		noError(t, e.Close())
		noError(t, m.store.Close())
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(m.root))
		noError(t, err)
		for _, left := range mounts {
			t.Errorf("still mounted: %s", left.Mountpoint)
		}
		if left, err := os.ReadDir(m.store.Path("secrets")); err == nil && len(left) > 0 {
			t.Errorf("%d secrets left", len(left))
		}
	})
	return m
}

// longDir is a folder below which a socket's path would be too long.
func longDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	noError(t, os.Mkdir(dir, 0o755))
	return dir
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// busybox writes a root file system.
func busybox(t testing.TB) func(dir string) {
	box := testenv.Tool(t, "busybox")
	return func(dir string) {
		dt, err := os.ReadFile(box)
		noError(t, err)
		for _, d := range []string{"bin", "etc", "tmp", "home/user"} {
			noError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
		}
		noError(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), dt, 0o755))
		noError(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1234:5678:user:/home/user:/bin/sh\n"), 0o644))
		noError(t, os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\nstaff:x:5678:\nextra:x:4321:user\n"), 0o644))
		for _, name := range strings.Fields("sh true sleep cat ps id ls echo hostname touch mkdir stat grep rm cp df mount env pwd readlink head wc yes nc seq test dd") {
			noError(t, os.Symlink("busybox", filepath.Join(dir, "bin", name)))
		}
	}
}

// tree makes a tree on top of parent.
func (m *machine) tree(parent *store.Ref, fn func(dir string)) *store.Ref {
	m.t.Helper()
	mut, err := m.store.New(context.Background(), parent, store.NewOptions{})
	noError(m.t, err)
	m.mounted(mut, false, fn)
	ref, err := mut.Commit(context.Background())
	noError(m.t, err)
	return ref
}

// files makes a tree of files by name.
func (m *machine) files(files map[string]string) *store.Ref {
	m.t.Helper()
	ref := m.tree(nil, func(dir string) {
		for name, text := range files {
			noError(m.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			noError(m.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
	})
	m.t.Cleanup(func() { noError(m.t, ref.Release(context.Background())) })
	return ref
}

func (m *machine) mounted(src executor.Mountable, readonly bool, fn func(dir string)) {
	m.t.Helper()
	ref, err := src.Mount(context.Background(), readonly)
	noError(m.t, err)
	mounts, release, err := ref.Mount()
	noError(m.t, err)
	noError(m.t, mount.WithTempMount(context.Background(), mounts, func(dir string) error {
		fn(dir)
		return nil
	}))
	noError(m.t, release())
}

// read returns a file of a tree; "" if it is not there.
func (m *machine) read(ref *store.Ref, name string) (text string) {
	m.t.Helper()
	m.mounted(ref, true, func(dir string) {
		dt, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			m.t.Fatal(err)
		}
		text = string(dt)
	})
	return text
}

// names lists a directory of a tree.
func (m *machine) names(ref *store.Ref, name string) (names []string) {
	m.t.Helper()
	m.mounted(ref, true, func(dir string) {
		entries, err := os.ReadDir(filepath.Join(dir, name))
		noError(m.t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
	})
	return names
}

// vertex is what an op is made for.
type vertex struct {
	name   string
	inputs int
}

func (v vertex) Digest() digest.Digest         { return digest.FromString(v.name) }
func (v vertex) Sys() interface{}              { return nil }
func (v vertex) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (v vertex) Inputs() []solver.Edge         { return make([]solver.Edge, v.inputs) }
func (v vertex) Name() string                  { return v.name }

// exec runs an op on trees, which are borrowed. The results are released with the
// test.
func (m *machine) exec(op *pb.ExecOp, inputs ...*store.Ref) ([]*store.Ref, error) {
	m.t.Helper()
	return m.execContext(m.ctx, op, inputs...)
}

func (m *machine) execContext(ctx context.Context, op *pb.ExecOp, inputs ...*store.Ref) ([]*store.Ref, error) {
	m.t.Helper()
	o, err := execop.New(op, nil, vertex{m.t.Name(), len(inputs)}, m.deps)
	if err != nil {
		return nil, err
	}
	var in []solver.Result
	for _, r := range inputs {
		in = append(in, store.NewResult(r))
	}
	out, err := o.Exec(ctx, in)
	refs := make([]*store.Ref, len(out))
	for i, r := range out {
		m.t.Cleanup(func() { noError(m.t, r.Release(context.Background())) })
		ref, err := store.RefOf(r)
		noError(m.t, err)
		refs[i] = ref
	}
	return refs, err
}

// run runs a script on the base; its output is the file /out of the result.
func (m *machine) run(script string, change ...func(*pb.ExecOp)) string {
	m.t.Helper()
	out, err := m.exec(sh(script, change...), m.base)
	if err != nil {
		m.t.Fatal(tailOf(err), err)
	}
	return m.read(out[0], "out")
}

// sh is a shell script on input 0, with the result of it.
func sh(script string, change ...func(*pb.ExecOp)) *pb.ExecOp {
	op := &pb.ExecOp{
		Meta:   &pb.Meta{Args: []string{"/bin/sh", "-c", script}, Cwd: "/"},
		Mounts: []*pb.Mount{{Input: 0, Dest: "/", Output: 0}},
	}
	for _, fn := range change {
		fn(op)
	}
	return op
}

// with adds a mount.
func with(m *pb.Mount) func(*pb.ExecOp) {
	return func(op *pb.ExecOp) { op.Mounts = append(op.Mounts, m) }
}

// caller is a session that lends secrets and agents.
type caller struct {
	session.Session
	mu      sync.Mutex // guards secrets and agents
	secrets map[string]string
	agents  map[string]func() (net.Conn, error)
}

func (c *caller) Secret(ctx context.Context, id string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.secrets[id]; ok {
		return []byte(s), nil
	}
	return c.Session.Secret(ctx, id)
}

func (c *caller) SSH(ctx context.Context, id string) (net.Conn, error) {
	c.mu.Lock()
	dial := c.agents[id]
	c.mu.Unlock()
	if dial != nil {
		return dial()
	}
	return c.Session.SSH(ctx, id)
}

func (c *caller) lend(id, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets == nil {
		c.secrets = map[string]string{}
	}
	c.secrets[id] = secret
}

// world is the base with a /tmp that everybody can write to.
func (m *machine) world() *store.Ref {
	m.t.Helper()
	ref := m.tree(m.base, func(dir string) { noError(m.t, os.Chmod(filepath.Join(dir, "tmp"), 0o777)) })
	m.t.Cleanup(func() { noError(m.t, ref.Release(context.Background())) })
	return ref
}

func mountTmpfs(dir string) error {
	return (&mount.Mount{Type: "tmpfs", Source: "tmpfs"}).Mount(dir)
}
