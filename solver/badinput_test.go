package solver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// odd is a vertex whose answers can be anything, and its op.
type odd struct {
	*solvertest.Node
	digest   func() digest.Digest
	inputs   func() []solver.Edge
	options  func() solver.VertexOptions
	cacheMap func() *solver.CacheMap
	more     bool
	exec     func(ctx context.Context, b solver.Builder, in []solver.Result) []solver.Result
	resolved func() (solver.Op, error)
	b        solver.Builder
}

func (o *odd) Sys() interface{} { return o }

func (o *odd) Digest() digest.Digest {
	if o.digest != nil {
		return o.digest()
	}
	return o.Node.Digest()
}

func (o *odd) Inputs() []solver.Edge {
	if o.inputs != nil {
		return o.inputs()
	}
	return o.Node.Inputs()
}

func (o *odd) Options() solver.VertexOptions {
	if o.options != nil {
		return o.options()
	}
	return o.Node.Options()
}

func (o *odd) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	if o.cacheMap != nil {
		return o.cacheMap(), !o.more, nil
	}
	return solver.NewCacheMap(digest.FromString(o.ID), len(o.Inputs())), !o.more, nil
}

func (o *odd) Exec(ctx context.Context, in []solver.Result) ([]solver.Result, error) {
	if o.exec != nil {
		return o.exec(ctx, o.b, in), nil
	}
	return []solver.Result{solvertest.NewResult("odd", o.Stats)}, nil
}

// resolveOdd resolves nodes and odd vertices.
func resolveOdd(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	o, ok := v.Sys().(*odd)
	if !ok {
		return solvertest.Resolve(v, b)
	}
	if o.resolved != nil {
		return o.resolved()
	}
	o.b = b
	return o, nil
}

// nilResult is a result that is nil behind the interface.
type nilResult struct{}

func (*nilResult) ID() string                    { panic("called on nil") }
func (*nilResult) Sys() interface{}              { panic("called on nil") }
func (*nilResult) Release(context.Context) error { panic("called on nil") }

// oneEdge is a list of one edge.
func oneEdge(v solver.Vertex) []solver.Edge { return []solver.Edge{{Vertex: v}} }

// contract 19: bad input of any kind gives an error that says what and where, for
// that build alone; what was handed over is released, and the solver goes on.
func TestBadInput(t *testing.T) {
	mk := func(w *world) *odd { return &odd{Node: w.node("odd", w.node("in"))} }
	// below makes it the input of another vertex.
	type maker func(w *world) solver.Edge
	with := func(change func(w *world, o *odd)) maker {
		return func(w *world) solver.Edge {
			o := mk(w)
			change(w, o)
			return solver.Edge{Vertex: o}
		}
	}
	atDigest := func(d digest.Digest) maker {
		return with(func(_ *world, o *odd) { o.digest = func() digest.Digest { return d } })
	}
	atMap := func(cm func() *solver.CacheMap) maker {
		return with(func(_ *world, o *odd) { o.cacheMap = cm })
	}
	returning := func(out func(w *world) []solver.Result) maker {
		return with(func(w *world, o *odd) {
			o.exec = func(context.Context, solver.Builder, []solver.Result) []solver.Result { return out(w) }
		})
	}
	for _, c := range []struct {
		name string
		edge maker
		want []string
	}{
		{"nil vertex", func(*world) solver.Edge { return solver.Edge{} }, []string{"edge without a vertex"}},
		{"typed nil vertex", func(*world) solver.Edge { return solver.Edge{Vertex: (*odd)(nil)} }, []string{"edge without a vertex"}},
		{"nil input", with(func(_ *world, o *odd) { o.inputs = func() []solver.Edge { return oneEdge(nil) } }), []string{"input 0 of odd", "without a vertex"}},
		{"typed nil input", with(func(w *world, o *odd) {
			o.inputs = func() []solver.Edge { return append(o.Node.Inputs(), oneEdge((*odd)(nil))...) }
		}), []string{"input 1 of odd", "without a vertex"}},
		{"negative output", func(w *world) solver.Edge { return w.node("odd").Edge(-1) }, []string{"output -1"}},
		{"negative output of an input", with(func(w *world, o *odd) {
			o.inputs = func() []solver.Edge { return []solver.Edge{w.node("in").Edge(-7)} }
		}), []string{"input 0 of odd", "output -7"}},
		{"empty digest", atDigest(""), []string{"odd", "digest", `""`}},
		{"malformed digest", atDigest("sha256"), []string{"odd", "digest", `"sha256"`}},
		{"digest without an algorithm", atDigest(":abc"), []string{"odd", "digest", `":abc"`}},
		{"digest without a value", atDigest("sha256:"), []string{"odd", "digest", `"sha256:"`}},
		{"digest with odd letters", atDigest("sha256:a b\n"), []string{"odd", "digest"}},
		{"empty digest of an input", with(func(w *world, o *odd) {
			bad := &odd{Node: w.node("bad"), digest: func() digest.Digest { return "" }}
			o.inputs = func() []solver.Edge { return oneEdge(bad) }
		}), []string{"input 0 of odd", "bad", "digest"}},
		{"digest that changes", with(func(_ *world, o *odd) {
			n := 0
			o.digest = func() digest.Digest { n++; return digest.FromString(fmt.Sprint(n)) }
		}), []string{"odd", "must not change"}},
		{"digest that panics", with(func(_ *world, o *odd) { o.digest = func() digest.Digest { panic("whoops") } }), []string{"a method of a vertex panicked: whoops"}},
		{"inputs that panic", with(func(_ *world, o *odd) { o.inputs = func() []solver.Edge { panic("whoops") } }), []string{"a method of a vertex panicked: whoops"}},
		{"options that panic", with(func(_ *world, o *odd) { o.options = func() solver.VertexOptions { panic("whoops") } }), []string{"a method of a vertex panicked: whoops"}},
		{"itself as input", with(func(_ *world, o *odd) { o.inputs = func() []solver.Edge { return oneEdge(o) } }), []string{"contains itself", "odd"}},
		{"itself at last", with(func(w *world, o *odd) {
			var n solver.Vertex = o
			for i := range 1000 {
				next := &odd{Node: w.node(fmt.Sprint("step", i))}
				in := oneEdge(n)
				next.inputs = func() []solver.Edge { return in }
				n = next
			}
			o.inputs = func() []solver.Edge { return oneEdge(n) }
		}), []string{"contains itself", "odd", "step0", "step500", "step999"}},
		{"nil op", with(func(_ *world, o *odd) { o.resolved = func() (solver.Op, error) { return nil, nil } }), []string{"odd", "no op"}},
		{"typed nil op", with(func(_ *world, o *odd) { o.resolved = func() (solver.Op, error) { return (*odd)(nil), nil } }), []string{"odd", "no op"}},
		{"foreign value", with(func(w *world, o *odd) {
			o.resolved = func() (solver.Op, error) { return solvertest.Resolve(foreignSys{w.node("x")}, nil) }
		}), []string{"odd", "not a node"}},
		{"nil cache map", atMap(func() *solver.CacheMap { return nil }), []string{"odd", "no cache map"}},
		{"cache map without a digest", atMap(func() *solver.CacheMap { return solver.NewCacheMap("", 1) }), []string{"odd", "CacheMap(0)", "digest"}},
		{"cache map with a malformed digest", atMap(func() *solver.CacheMap { return solver.NewCacheMap("no digest", 1) }), []string{"odd", "CacheMap(0)", `"no digest"`}},
		{"too few deps", atMap(func() *solver.CacheMap { return solver.NewCacheMap("sha256:ab", 0) }), []string{"odd", "0 deps for 1 inputs"}},
		{"too many deps", atMap(func() *solver.CacheMap { return solver.NewCacheMap("sha256:ab", 2) }), []string{"odd", "2 deps for 1 inputs"}},
		{"malformed selector", atMap(func() *solver.CacheMap {
			cm := solver.NewCacheMap("sha256:ab", 1)
			cm.Deps[0].Selector = "/path"
			return cm
		}), []string{"odd", "selector of input 0", `"/path"`}},
		{"several cache maps with inputs", with(func(_ *world, o *odd) { o.more = true }), []string{"odd", "only an operation without inputs"}},
		{"no outputs", returning(func(*world) []solver.Result { return nil }), []string{"odd", "0 outputs", "output 0"}},
		{"too few outputs", func(w *world) solver.Edge {
			n := w.node("odd")
			n.Outputs = 3
			return n.Edge(5)
		}, []string{"odd", "3 outputs", "output 5"}},
		{"nil output", returning(func(w *world) []solver.Result { return []solver.Result{nil, solvertest.NewResult("x", w.stats)} }), []string{"odd", "nothing for output 0"}},
		{"typed nil output", returning(func(w *world) []solver.Result {
			return []solver.Result{(*nilResult)(nil), solvertest.NewResult("x", w.stats)}
		}), []string{"odd", "nothing for output 0"}},
	} {
		for _, below := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, "/below ", below), func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver(func(o *solver.SolverOpt) { o.ResolveOpFunc = resolveOdd })
					g := newGate()
					other := w.node("other", w.node("in"))
					other.OnExec = g.exec
					beside := w.start(w.job(s), other.Edge(0))
					e := c.edge(w)
					if below {
						in := []solver.Edge{w.node("in").Edge(0), e}
						top := &odd{Node: w.node("top"), inputs: func() []solver.Edge { return in }}
						e = solver.Edge{Vertex: top}
					}
					err := w.fails(s, e)
					for _, want := range c.want {
						if !strings.Contains(err.Error(), want) {
							t.Errorf("it does not say %q: %v", want, err)
						}
					}
					g.open()
					beside.wait("other(in())")
					beside.job.Discard()
					w.idle(s)
				})
			})
		}
	}
}

// foreignSys is a vertex that is not for the resolver.
type foreignSys struct{ *solvertest.Node }

func (foreignSys) Sys() interface{} { return "something else" }

// contract 19: a vertex of one digest that has other inputs than before.
func TestVertexChanged(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		j, other := w.job(s), w.job(s)
		w.buildIn(j, w.node("top", w.node("n", w.node("a"))).Edge(0))
		for name, n := range map[string]*solvertest.Node{
			"another input": w.node("n", w.node("b")),
			"more inputs":   w.node("n", w.node("a"), w.node("b")),
			"no inputs":     w.node("n"),
		} {
			_, err := other.Build(context.Background(), w.node("above "+name, n).Edge(0))
			var v *solver.VertexError
			if !errors.As(err, &v) || v.Name != "n" || !strings.Contains(err.Error(), "other inputs") {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.costs("the first is as it was", counts{}, func() { w.buildIn(j, w.node("n", w.node("a")).Edge(0)) })
		j.Discard()
		other.Discard()
		if got := w.build(s, w.node("n", w.node("b")).Edge(0)); got != "n(b())" {
			t.Errorf("once it is forgotten: %q", got)
		}
		w.idle(s)
	})
}

// A content key that is no digest is an error of the op.
func TestMalformedContentKey(t *testing.T) {
	for _, bad := range []digest.Digest{"", "nonsense", "sha256:"} {
		bubble(t, func(w *world) {
			s := w.solver(func(o *solver.SolverOpt) { o.ResolveOpFunc = resolveOdd })
			o := &odd{Node: w.node("odd", w.node("in"))}
			o.cacheMap = func() *solver.CacheMap {
				cm := solver.NewCacheMap("sha256:ab", 1)
				cm.Deps[0].ComputeDigestFunc = func(context.Context, solver.Result) (digest.Digest, error) { return bad, nil }
				return cm
			}
			if err := w.fails(s, solver.Edge{Vertex: o}); !strings.Contains(err.Error(), "content key of input 0") {
				t.Errorf("%q: %v", bad, err)
			}
		})
	}
}

// contract 19: a graph that contains itself through what ops build.
func TestCycleThroughSubBuilds(t *testing.T) {
	for name, graph := range map[string]func(w *world, builds func(n, what *solvertest.Node)) *solvertest.Node{
		"itself": func(w *world, builds func(n, what *solvertest.Node)) *solvertest.Node {
			n := w.node("n")
			builds(n, n)
			return n
		},
		"its parent": func(w *world, builds func(n, what *solvertest.Node)) *solvertest.Node {
			n := w.node("n")
			top := w.node("top", w.node("mid", n))
			builds(n, top)
			return top
		},
		"each other": func(w *world, builds func(n, what *solvertest.Node)) *solvertest.Node {
			a, b := w.node("a"), w.node("b")
			builds(a, w.node("above b", b))
			builds(b, w.node("above a", a))
			return a
		},
		"each other, at once": func(w *world, builds func(n, what *solvertest.Node)) *solvertest.Node {
			a, b := w.node("a"), w.node("b")
			builds(a, b)
			builds(b, a)
			return w.node("top", a, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				top := graph(w, func(n, what *solvertest.Node) {
					n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
						return w.pass(b.Build(ctx, what.Edge(0)))
					}
				})
				if err := w.fails(s, top.Edge(0)); !strings.Contains(err.Error(), "contains itself") {
					t.Errorf("%v", err)
				}
				w.idle(s)
			})
		})
	}
}

// contract 19: what a sub-build is given may be bad as well.
func TestBadSubBuild(t *testing.T) {
	for name, c := range map[string]struct {
		edge func(w *world) solver.Edge
		want string
	}{
		"nothing":        {func(*world) solver.Edge { return solver.Edge{} }, "edge without a vertex"},
		"typed nil":      {func(*world) solver.Edge { return solver.Edge{Vertex: (*odd)(nil)} }, "edge without a vertex"},
		"no such output": {func(w *world) solver.Edge { return w.node("inner").Edge(3) }, "1 outputs"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				n := w.node("outer")
				n.Exec = func(ctx context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
					return w.pass(b.Build(ctx, c.edge(w)))
				}
				if err := w.fails(s, n.Edge(0)); !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "outer") {
					t.Errorf("%v", err)
				}
				w.idle(s)
			})
		})
	}
}

// contract 19: storages that lie: they name keys and results that are not there,
// or that belong to something else.
func TestLyingStorages(t *testing.T) {
	for name, lie := range map[string]func(s *storage) solver.CacheKeyStorage{
		"every key exists":         func(s *storage) solver.CacheKeyStorage { return &lyingStorage{storage: s, exists: true} },
		"links to nowhere":         func(s *storage) solver.CacheKeyStorage { return &lyingStorage{storage: s, target: "nowhere"} },
		"links to an empty name":   func(s *storage) solver.CacheKeyStorage { return &lyingStorage{storage: s, target: "", links: true} },
		"results that do not load": func(s *storage) solver.CacheKeyStorage { return &lyingStorage{storage: s, result: "no such result"} },
		"results without a name":   func(s *storage) solver.CacheKeyStorage { return &lyingStorage{storage: s, result: "", results: true} },
	} {
		for _, memory := range []bool{true, false} {
			t.Run(fmt.Sprint(name, "/in memory ", memory), func(t *testing.T) {
				bubble(t, func(w *world) {
					w.cache = solver.NewCacheManager("local", lie(&storage{CacheKeyStorage: w.storage, memory: memory}), w.results)
					s := w.solver()
					for _, tag := range []string{"1", "2", "1"} {
						if got := w.build(s, failureGraph(w, tag).Edge(0)); got != "top(mid(same,side())#1,mid(same,side()))" {
							t.Error(got)
						}
					}
					w.idle(s)
				})
			})
		}
	}
}

// lyingStorage says that there is what is not.
type lyingStorage struct {
	*storage
	exists         bool
	target, result string
	links, results bool
}

func (l *lyingStorage) Exists(id string) bool { return l.exists || l.storage.Exists(id) }

func (l *lyingStorage) WalkLinks(id string, link solver.CacheInfoLink, fn func(string) error) error {
	if l.links || l.target != "" {
		if err := fn(l.target); err != nil {
			return err
		}
	}
	return l.storage.WalkLinks(id, link, fn)
}

func (l *lyingStorage) HasLink(id string, link solver.CacheInfoLink, target string) bool {
	return l.links || l.target != "" || l.storage.HasLink(id, link, target)
}

func (l *lyingStorage) WalkResults(id string, fn func(solver.CacheResult) error) error {
	if l.results || l.result != "" {
		if err := fn(solver.CacheResult{ID: l.result, CreatedAt: time.Unix(1<<40, 0)}); err != nil {
			return err
		}
	}
	return l.storage.WalkResults(id, fn)
}

// contract 19: managers that return what they must not.
func TestOddManagers(t *testing.T) {
	for name, m := range map[string]*oddManager{
		"nil keys":          {query: func() []*solver.CacheKey { return []*solver.CacheKey{nil, {}} }},
		"a key of nothing":  {query: func() []*solver.CacheKey { return []*solver.CacheKey{{ID: "nothing"}} }},
		"nil records":       {query: anyKey, records: []*solver.CacheRecord{nil}},
		"no result":         {query: anyKey, records: []*solver.CacheRecord{{ID: "x"}}},
		"typed nil result":  {query: anyKey, records: []*solver.CacheRecord{{ID: "x"}}, result: func(*world) solver.Result { return (*nilResult)(nil) }},
		"result with error": {query: anyKey, records: []*solver.CacheRecord{{ID: "x"}}, result: func(w *world) solver.Result { return solvertest.NewResult("x", w.stats) }, err: errBroken},
	} {
		for _, as := range []string{"default", "source"} {
			t.Run(name+"/"+as, func(t *testing.T) {
				w := newWorld(t)
				m := *m
				m.w = w
				n := w.node("top", w.node("a"), w.node("b"))
				s := w.solver(func(o *solver.SolverOpt) {
					if as == "default" {
						o.DefaultCache = &m
					}
				})
				if as == "source" {
					for _, v := range []*solvertest.Node{n, n.In[0].Node, n.In[1].Node} {
						v.Opts.CacheSources = []solver.CacheManager{&m}
					}
				}
				if got := w.build(s, n.Edge(0)); got != "top(a(),b())" {
					t.Error(got)
				}
			})
		}
	}
}

func anyKey() []*solver.CacheKey { return []*solver.CacheKey{{ID: "any"}} }

// oddManager is a manager that finds something for everything, and saves nothing.
type oddManager struct {
	w       *world
	query   func() []*solver.CacheKey
	records []*solver.CacheRecord
	result  func(w *world) solver.Result
	err     error
}

func (m *oddManager) ID() string { return "odd" }

func (m *oddManager) Query([]solver.CacheKeyWithSelector, solver.Index, digest.Digest, solver.Index) ([]*solver.CacheKey, error) {
	return m.query(), nil
}

func (m *oddManager) Records(*solver.CacheKey) ([]*solver.CacheRecord, error) { return m.records, nil }

func (m *oddManager) Load(context.Context, *solver.CacheRecord) (solver.Result, error) {
	if m.result == nil {
		return nil, m.err
	}
	return m.result(m.w), m.err
}

func (m *oddManager) Save(*solver.CacheKey, solver.Result) (*solver.ExportableCacheKey, error) {
	return nil, nil
}

// contract 3: results whose Release fails or panics; Discard says so.
func TestReleaseFails(t *testing.T) {
	for _, panics := range []bool{false, true} {
		bubble(t, func(w *world) {
			s := w.solver()
			var released atomic.Int64
			n := w.node("n")
			n.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
				return []solver.Result{&clingy{Result: solvertest.NewResult("v", w.stats), panics: panics, released: &released}}, nil
			}
			j := w.job(s)
			w.buildIn(j, n.Edge(0))
			if err := j.Discard(); err == nil || !strings.Contains(err.Error(), errBroken.Error()) {
				t.Errorf("Discard: %v", err)
			}
			if released.Load() != 1 {
				t.Errorf("released %d times", released.Load())
			}
			w.idle(s)
		})
	}
}

// clingy is a result that fails when it is released.
type clingy struct {
	solver.Result
	panics   bool
	released *atomic.Int64
}

func (c *clingy) Release(ctx context.Context) error {
	c.released.Add(1)
	c.Result.Release(ctx)
	if c.panics {
		panic(errBroken)
	}
	return errBroken
}

// contract 3, 19: jobs that are not there, twice there, or over.
func TestOddJobs(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		begin := time.Now()
		if _, err := s.Get("unknown"); err == nil || !strings.Contains(err.Error(), `"unknown"`) {
			t.Errorf("Get of an unknown job: %v", err)
		}
		if waited := time.Since(begin); waited != 3*time.Second {
			t.Errorf("Get waited %v", waited)
		}
		j, err := s.NewJob("one")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.NewJob("one"); err == nil || !strings.Contains(err.Error(), `"one"`) {
			t.Errorf("NewJob of an id that is taken: %v", err)
		}
		if got, err := s.Get("one"); err != nil || got != j {
			t.Errorf("Get: %v", err)
		}
		// One that appears while it is waited for.
		time.AfterFunc(2*time.Second, func() { s.NewJob("late") })
		begin = time.Now()
		if _, err := s.Get("late"); err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("Get of a job that appears: %v after %v", err, time.Since(begin))
		}
		j.Discard()
		if _, err := j.Build(context.Background(), w.node("n").Edge(0)); err == nil || !strings.Contains(err.Error(), "discarded") {
			t.Errorf("Build on a discarded job: %v", err)
		}
		w.executed(map[string]int{"n": 0})
		if err := j.Status(context.Background(), nil); err == nil {
			t.Error("Status without a channel")
		}
		if j, err = s.NewJob("one"); err != nil {
			t.Errorf("NewJob of an id that is free again: %v", err)
		}
		s.Close()
		if _, err := s.NewJob("after"); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("NewJob after Close: %v", err)
		}
		if _, err := j.Build(context.Background(), w.node("n").Edge(0)); err == nil {
			t.Error("Build after Close")
		}
		if _, err := s.Get("one"); err == nil {
			t.Error("Get after Close")
		}
		if err := j.Discard(); err != nil {
			t.Error(err)
		}
	})
}

// contract 19: a solver without options builds nothing, and says why.
func TestNoResolver(t *testing.T) {
	w := newWorld(t)
	s := w.solver(func(o *solver.SolverOpt) { *o = solver.SolverOpt{} })
	if err := w.fails(s, w.node("n").Edge(0)); !strings.Contains(err.Error(), "ResolveOpFunc") {
		t.Errorf("%v", err)
	}
}
