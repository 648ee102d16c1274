package execop_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/sessiontest"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"golang.org/x/sync/errgroup"
)

// node is a vertex: an exec op, or, where there is none, a source of a tree that is
// known as key.
type node struct {
	key    string
	ref    *store.Ref
	op     *pb.ExecOp
	inputs []solver.Edge
}

func (n *node) Digest() digest.Digest {
	text := n.key
	if n.op != nil {
		text += n.op.String()
	}
	for _, e := range n.inputs {
		text += " " + e.Vertex.Digest().String()
	}
	return digest.FromString(text)
}

func (n *node) Sys() interface{}              { return n }
func (n *node) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (n *node) Inputs() []solver.Edge         { return n.inputs }
func (n *node) Name() string                  { return n.key }

// CacheMap and Exec make a source its own op.
func (n *node) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return &solver.CacheMap{Digest: digest.FromString(n.key)}, true, nil
}

func (n *node) Exec(context.Context, []solver.Result) ([]solver.Result, error) {
	return []solver.Result{store.NewResult(n.ref.Clone())}, nil
}

func edge(n *node) solver.Edge { return solver.Edge{Vertex: n} }

// builder builds graphs of nodes with a new solver each time, as other processes do.
type builder struct{ *machine }

// build returns the file /out of the result, and how many exec ops have run.
func (b builder) build(n *node) (out string, ran int) {
	b.t.Helper()
	s := solver.NewSolver(solver.SolverOpt{
		DefaultCache: solver.NewCacheManager("local", b.store.CacheKeys(), b.store.Results()),
		ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
			n := v.Sys().(*node)
			if n.op == nil {
				return n, nil
			}
			op, err := execop.New(n.op, nil, v, b.deps)
			return counted{op, &ran}, err
		},
	})
	defer s.Close()
	job, err := s.NewJob("job")
	noError(b.t, err)
	job.SessionID = b.caller.ID()
	res, err := job.Build(b.t.Context(), edge(n))
	noError(b.t, err)
	ref, err := store.RefOf(res)
	noError(b.t, err)
	out = b.read(ref, "out")
	noError(b.t, res.Release(b.t.Context()))
	noError(b.t, job.Discard())
	return out, ran
}

// counted counts; one op runs at a time in these graphs.
type counted struct {
	solver.Op
	n *int
}

func (c counted) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	*c.n++
	return c.Op.Exec(ctx, inputs)
}

func TestThroughTheSolver(t *testing.T) {
	b := builder{newMachine(t)}
	b.caller.lend("s", "first")
	base := &node{key: "base", ref: b.base}
	graph := func(src *node, script string) *node {
		first := &node{key: "first", op: sh(script, secretMount(&pb.SecretOpt{ID: "s"}, "/s")), inputs: []solver.Edge{edge(base)}}
		return &node{key: "second", inputs: []solver.Edge{edge(first), edge(src)}, op: sh("cat /tmp/first /m/f > /out",
			with(&pb.Mount{Input: 1, Dest: "/m", Output: -1, Readonly: true, Selector: "/d"}))}
	}
	src := &node{key: "source 1", ref: b.files(map[string]string{"d/f": "file"})}
	check := func(what string, n *node, want string, wantRan int) {
		t.Helper()
		if out, ran := b.build(n); out != want || ran != wantRan {
			t.Errorf("%s: %q, and %d ran", what, out, ran)
		}
	}
	const script = "cat /s > /tmp/first"
	check("first", graph(src, script), "firstfile", 2)
	check("again", graph(src, script), "firstfile", 0)

	b.caller.lend("s", "second")
	check("another secret", graph(src, script), "firstfile", 0)

	same := &node{key: "source 2", ref: b.files(map[string]string{"d/f": "file", "not selected": "x"})}
	check("a source of the same content", graph(same, script), "firstfile", 0)
	other := &node{key: "source 3", ref: b.files(map[string]string{"d/f": "other"})}
	check("another source", graph(other, script), "firstother", 1)
	check("another command", graph(src, script+"; true"), "secondfile", 2)
}

// leaving is a session that goes away while it is asked.
type leaving struct {
	session.Session
	once  sync.Once
	asked chan struct{}
	gone  chan struct{}
}

func (l *leaving) Secret(context.Context, string) ([]byte, error) {
	l.once.Do(func() { close(l.asked) })
	<-l.gone
	return nil, errors.New("the session is closed")
}

// share has two builds want one step: the first of a session of its own, the second of the
// machine's caller, once the first was asked for something. Then it calls meanwhile, with what
// ends the first build. It returns the file /out of the results: the second build's, and the
// first's, if it has one.
func (m *machine) share(first session.Session, asked <-chan struct{}, step *pb.ExecOp, meanwhile func(end func())) (out []string) {
	m.t.Helper()
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
		if n := v.Sys().(*node); n.op != nil {
			return execop.New(n.op, nil, v, m.deps)
		}
		return v.Sys().(*node), nil
	}})
	defer s.Close()
	n := &node{key: "step", op: step, inputs: []solver.Edge{edge(&node{key: "base", ref: m.base})}}
	build := func(id string) (*solver.Job, <-chan solver.CachedResult) {
		j, err := s.NewJob(id)
		noError(m.t, err)
		j.SessionID = id
		built := make(chan solver.CachedResult, 1)
		go func() {
			defer close(built)
			if res, err := j.Build(m.t.Context(), edge(n)); err == nil {
				built <- res
			}
		}()
		return j, built
	}
	one, oneBuilt := build(first.ID())
	<-asked
	two, twoBuilt := build(m.caller.ID())
	m.joined(two)
	meanwhile(func() { noError(m.t, one.Discard()) })
	for _, built := range []<-chan solver.CachedResult{twoBuilt, oneBuilt} {
		res, ok := <-built
		if !ok {
			continue
		}
		ref, err := store.RefOf(res)
		noError(m.t, err)
		out = append(out, m.read(ref, "out"))
		noError(m.t, res.Release(m.t.Context()))
	}
	noError(m.t, one.Discard())
	noError(m.t, two.Discard())
	return out
}

// joined waits until a job has joined in its step.
func (m *machine) joined(j *solver.Job) {
	ctx, cancel := context.WithCancel(m.t.Context())
	status := make(chan *client.SolveStatus, 64)
	var g errgroup.Group
	g.Go(func() error { return j.Status(ctx, status) })
	for st := range status {
		if len(st.Vertexes) > 0 {
			break
		}
	}
	cancel()
	for range status { // to its end
	}
	_ = g.Wait() // it was cancelled
}

// Two builds want one step. When the caller who was asked for a secret leaves, the
// other one is asked.
func TestSecretOfASessionThatLeaves(t *testing.T) {
	m := newMachine(t)
	m.caller.lend("s", "of the one who stayed")
	l := &leaving{Session: session.Empty("leaving"), asked: make(chan struct{}), gone: make(chan struct{})}
	remove, err := m.sessions.Add(l)
	noError(t, err)
	out := m.share(l, l.asked, sh("cat /s > /out", secretMount(&pb.SecretOpt{ID: "s"}, "/s")), func(end func()) {
		remove()
		end()
		close(l.gone)
	})
	if len(out) != 1 || out[0] != "of the one who stayed" {
		t.Errorf("%q", out)
	}
}

// Two builds want one step, and the client of the first does not answer. The step is that of
// both once the other's has answered; the first may also end, or its client go away.
func TestStalledClient(t *testing.T) {
	for what, step := range map[string]*pb.ExecOp{
		"secret":      sh("cat /s > /out", secretMount(&pb.SecretOpt{ID: "s"}, "/s")),
		"environment": sh(`echo -n "$S" > /out`, func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{ID: "s", Name: "S"}} }),
		"agent":       sh("ask /run/agent 1 > /out", sshMount(&pb.SSHOpt{Mode: 0o600})),
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			m.caller.lend("s", "hello\n")
			m.caller.agents = map[string]func() (net.Conn, error){"default": agent(t)}
			m.sessions.Patience = time.Millisecond
			if what == "agent" {
				m.base = m.withAsk()
			}
			for how, results := range map[string]int{"both end": 2, "the build ends": 1, "the client is gone": 1} {
				x := sessiontest.New("stalled")
				remove, err := m.sessions.Add(x)
				noError(t, err)
				out := m.share(x, x.Asked, step, func(end func()) {
					switch how {
					case "the client is gone":
						remove()
						end()
					case "the build ends":
						end()
					}
				})
				if len(out) < results || slices.ContainsFunc(out, func(s string) bool { return s != "hello\n" }) {
					t.Errorf("%s: %q", how, out)
				}
				remove()
			}
		})
	}
}
