package execop_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/session"
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

// Two builds want one step. When the caller who was asked for a secret leaves, the
// other one is asked.
func TestSecretOfASessionThatLeaves(t *testing.T) {
	m := newMachine(t)
	m.caller.lend("s", "of the one who stayed")
	l := &leaving{Session: session.Empty("leaving"), asked: make(chan struct{}), gone: make(chan struct{})}
	remove, err := m.sessions.Add(l)
	noError(t, err)
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
		if n := v.Sys().(*node); n.op != nil {
			return execop.New(n.op, nil, v, m.deps)
		}
		return v.Sys().(*node), nil
	}})
	defer s.Close()
	n := &node{key: "step", op: sh("cat /s > /out", secretMount(&pb.SecretOpt{ID: "s"}, "/s")), inputs: []solver.Edge{edge(&node{key: "base", ref: m.base})}}
	job := func(id string) *solver.Job {
		j, err := s.NewJob(id)
		noError(t, err)
		j.SessionID = id
		return j
	}
	first, second := job("leaving"), job(m.caller.ID())
	var g errgroup.Group
	g.Go(func() error {
		if res, err := first.Build(t.Context(), edge(n)); err == nil {
			return errors.Join(errors.New("the discarded job has a result"), res.Release(t.Context()))
		}
		return nil
	})
	<-l.asked
	var res solver.CachedResult
	built := make(chan error, 1)
	g.Go(func() (err error) {
		res, err = second.Build(t.Context(), edge(n))
		built <- err
		return nil
	})
	status := make(chan *client.SolveStatus, 64)
	g.Go(func() error { return second.Status(t.Context(), status) })
	for st := range status { // until it has joined
		if len(st.Vertexes) > 0 {
			break
		}
	}
	remove()
	noError(t, first.Discard())
	close(l.gone)
	g.Go(func() error {
		for range status { // to its end
		}
		return nil
	})
	noError(t, <-built)
	ref, err := store.RefOf(res)
	noError(t, err)
	if out := m.read(ref, "out"); out != "of the one who stayed" {
		t.Errorf("%q", out)
	}
	noError(t, res.Release(t.Context()))
	noError(t, second.Discard())
	noError(t, g.Wait())
}
