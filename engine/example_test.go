package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// A program of its own: a source that makes trees of texts ("greeting://"), an op
// that works on them, and an exporter that prints what was built.
func Example() {
	root, err := os.MkdirTemp("", "tenon-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Options{
		Root: root,
		Sources: func(s *store.Store, _ *session.Sessions) []source.Source {
			return []source.Source{greetings{s}}
		},
		Exporters: map[string]export.Factory{"print": newPrinter},
	})
	if err != nil {
		panic(err)
	}
	defer e.Close()

	// LLB below: the source of our own, and a file op of LLB's.
	st := llb.NewState(llb.NewSource("greeting://world", nil, llb.Constraints{}).Output()).
		File(llb.Mkfile("/second", 0o644, []byte("And hello, LLB!\n")))
	def, err := st.Marshal(ctx)
	if err != nil {
		panic(err)
	}
	below, err := e.Load(def.ToPB(), "")
	if err != nil {
		panic(err)
	}
	// A vertex of our own on top of it.
	top := solver.Edge{Vertex: shout{below}}
	for range 2 { // the second time it is loaded from the cache
		if _, err := e.Build(ctx, engine.Request{Edge: top, Exports: []export.Request{{Type: "print"}}}); err != nil {
			panic(err)
		}
	}
	// Output:
	// shouting
	// HELLO, WORLD!
	// AND HELLO, LLB!
	// HELLO, WORLD!
	// AND HELLO, LLB!
}

// greetings is a source: greeting://NAME is a tree with one file.
type greetings struct{ store *store.Store }

func (greetings) Schemes() []string { return []string{"greeting"} }

func (g greetings) Parse(op *pb.SourceOp, _ *pb.Platform) (source.Instance, error) {
	name := strings.TrimPrefix(op.Identifier, "greeting://")
	if name == "" {
		return nil, fmt.Errorf("%s names nobody", op.Identifier)
	}
	return greeting{g.store, name}, nil
}

type greeting struct {
	store *store.Store
	name  string
}

// CacheKey says what the tree depends on.
func (g greeting) CacheKey(context.Context, int) (string, bool, error) { return g.name, true, nil }

func (g greeting) Snapshot(ctx context.Context) (*store.Ref, error) {
	return write(ctx, g.store, "first", []byte("Hello, "+g.name+"!\n"))
}

// write makes a tree of one file.
func write(ctx context.Context, st *store.Store, name string, data []byte) (*store.Ref, error) {
	m, err := st.New(ctx, nil, store.NewOptions{Description: "a greeting"})
	if err != nil {
		return nil, err
	}
	defer m.Release(ctx) // nothing, once it is committed
	err = in(ctx, m, false, func(dir string) error { return os.WriteFile(filepath.Join(dir, name), data, 0o644) })
	if err != nil {
		return nil, err
	}
	return m.Commit(ctx)
}

// in mounts a tree for as long as use runs.
func in(ctx context.Context, tree store.Tree, readonly bool, use func(dir string) error) (err error) {
	dir, unmount, err := store.MountLocal(ctx, tree, readonly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return use(dir)
}

// shout is a vertex: it writes its input's files in capitals into one.
type shout struct{ in solver.Edge }

func (s shout) Digest() digest.Digest {
	return digest.FromString("shout " + s.in.Vertex.Digest().String())
}
func (s shout) Sys() interface{}              { return s }
func (s shout) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (s shout) Inputs() []solver.Edge         { return []solver.Edge{s.in} }
func (s shout) Name() string                  { return "shout" }

// MakeOp makes it an ops.Maker.
func (s shout) MakeOp(env *ops.Env, _ solver.Vertex, _ solver.Builder) (solver.Op, error) {
	return shoutOp{env.Store}, nil
}

type shoutOp struct{ store *store.Store }

func (shoutOp) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return solver.NewCacheMap(digest.FromString("shout, version 1"), 1), true, nil
}

func (o shoutOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	fmt.Println("shouting")
	text, err := readAll(ctx, inputs[0])
	if err != nil {
		return nil, err
	}
	ref, err := write(ctx, o.store, "all", []byte(strings.ToUpper(text)))
	if err != nil {
		return nil, err
	}
	return []solver.Result{store.NewResult(ref)}, nil
}

func readAll(ctx context.Context, res solver.Result) (string, error) {
	ref, err := store.RefOf(res) // borrowed
	if err != nil {
		return "", err
	}
	return textOf(ctx, ref)
}

func textOf(ctx context.Context, ref *store.Ref) (string, error) {
	var text strings.Builder
	err := in(ctx, ref, true, func(dir string) error {
		files, err := os.ReadDir(dir)
		for _, f := range files {
			dt, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			text.Write(dt)
		}
		return err
	})
	return text.String(), err
}

// printer is an exporter.
type printer struct{}

func newPrinter(export.Request) (export.Exporter, error) { return printer{}, nil }

func (printer) Name() string { return "printing" }

func (printer) Export(ctx context.Context, src *export.Source, _ session.Session) (map[string]string, error) {
	for _, p := range src.Platforms {
		text, err := textOf(ctx, p.Ref)
		if err != nil {
			return nil, err
		}
		fmt.Print(text)
	}
	return nil, nil
}
