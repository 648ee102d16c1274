package ops_test

import (
	"context"
	"errors"
	iofs "io/fs"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/llbbuild"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/opencontainers/go-digest"
	tllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"google.golang.org/protobuf/proto"
)

func TestCopyIsBuiltAgainOnlyIfItsContentChanges(t *testing.T) {
	w := newWorld(t)
	w.source.set("base", "b1", "etc/os", "linux")
	w.source.set("ctx", "c1", "src/main.go", "main", "README", "one")
	st := from("test://base").
		File(llb.Mkdir("/app", 0o755)).
		File(llb.Copy(from("test://ctx"), "/src", "/app", &llb.CopyInfo{CopyDirContentsOnly: true})).
		File(llb.Mkfile("/app/done", 0o644, []byte("yes")))
	const want = "app/done=yes app/main.go=main etc/os=linux"
	check := func(name string, execs uint64, want string) {
		t.Helper()
		list, n := w.build(st)
		if list != want || n != execs {
			t.Errorf("%s: %d ops ran, want %d; %s", name, n, execs, list)
		}
	}
	check("first", 5, want)
	check("again", 0, want)
	w.restart()
	check("again in another process", 0, want)
	w.source.set("ctx", "c2", "src/main.go", "main", "README", "two")
	check("other files of the context", 1, want)
	check("and again", 0, want)
	w.source.set("ctx", "c3", "src/main.go", "new", "README", "two")
	check("the file that is copied", 3, strings.Replace(want, "=main", "=new", 1))
	w.source.set("ctx", "c4", "src/main.go", "main", "README", "two")
	check("back", 1, want)
	w.source.set("base", "b2", "etc/os", "linux")
	check("another base of the same files", 1, want)
	w.source.set("base", "b3", "etc/os", "other")
	check("the base", 4, strings.Replace(want, "=linux", "=other", 1))
}

func TestSourcesOfOneKeyAreOne(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "k1,k2", "f", "x")
	w.source.set("b", "other,k2", "f", "x")
	w.source.set("c", "k1", "f", "x")
	w.source.set("d", "k3", "f", "x")
	for _, c := range []struct {
		id    string
		execs uint64
	}{{"test://a", 1}, {"alias://a", 0}, {"test://b", 0}, {"alias://c", 0}, {"test://d", 1}} {
		if list, n := w.build(from(c.id)); n != c.execs || list != "f=x" {
			t.Errorf("%s: %d ops ran, want %d; %s", c.id, n, c.execs, list)
		}
	}
}

// A source is found by BuildKit's key only where that tells all.
func TestBuildKitsKeyOfASource(t *testing.T) {
	w := newWorld(t)
	for name, whole := range map[string]bool{"a": true, "b": true, "c": false, "d": false} {
		w.source.set(name, "own "+name, "f", name)
		w.source.name(name, map[bool]string{true: "of a and b", false: "of c and d"}[whole], whole)
	}
	for _, c := range []struct {
		id, list string
		execs    uint64
	}{{"test://a", "f=a", 1}, {"test://b", "f=a", 0}, {"test://c", "f=c", 1}, {"test://d", "f=d", 1}} {
		if list, n := w.build(from(c.id)); n != c.execs || list != c.list {
			t.Errorf("%s: %d ops ran, want %d; %s, want %s", c.id, n, c.execs, list, c.list)
		}
	}
}

func TestMergeAndDiff(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "a", "a", "1", "both", "a")
	w.source.set("b", "b", "b", "2", "both", "b")
	a, b := from("test://a"), from("test://b")
	changed := a.File(llb.Mkfile("/new", 0o644, []byte("n")).Rm("/a"))
	for _, c := range []struct {
		name string
		st   llb.State
		want string
	}{
		{"merge", llb.Merge([]llb.State{a, b}), "a=1 b=2 both=b"},
		{"merge the other way", llb.Merge([]llb.State{b, a}), "a=1 b=2 both=a"},
		{"diff", llb.Diff(a, changed), "new=n"},
		{"diff of equal", llb.Merge([]llb.State{b, llb.Diff(a, from("alias://a"))}), "b=2 both=b"},
		{"diff on another", llb.Merge([]llb.State{a, b, llb.Diff(a, changed)}), "b=2 both=b new=n"},
		{"diff from scratch", llb.Diff(llb.Scratch(), a), "a=1 both=a"},
	} {
		if got, _ := w.build(c.st); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got, n := w.build(c.st); got != c.want || n != 0 {
			t.Errorf("%s again: %d ops ran; %s", c.name, n, got)
		}
	}
}

func TestPassthrough(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "a", "f", "a")
	w.source.set("b", "b", "f", "b")
	def := &pb.Definition{}
	add := func(o *pb.Op) *pb.Input {
		dt, err := proto.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		def.Def = append(def.Def, dt)
		return &pb.Input{Digest: digest.FromBytes(dt).String()}
	}
	a := add(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "test://a"}}})
	b := add(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "test://b"}}})
	in := add(&pb.Op{Inputs: []*pb.Input{a, b}, Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "p", Outputs: []int64{1, 0}}}})
	add(&pb.Op{Inputs: []*pb.Input{{Digest: in.Digest, Index: 1}}})
	g, err := tllb.Load(def, tllb.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := w.solve(g.Edge); err != nil || got != "f=a" {
		t.Errorf("%s, %v", got, err)
	}
}

// defFile is a tree that holds a definition.
func defFile(t *testing.T, def *pb.Definition) llb.State {
	t.Helper()
	dt, err := proto.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	return llb.Scratch().File(llb.Mkfile("/"+pb.LLBDefaultDefinitionFile, 0o644, dt))
}

func TestBuildOp(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "a", "f", "x")
	inner := from("test://a").File(llb.Mkfile("/g", 0o644, []byte("y")))
	st := defFile(t, marshal(t, inner)).With(llbbuild.Build())
	if got, _ := w.build(st); got != "f=x g=y" {
		t.Error(got)
	}
	if got, n := w.build(st); got != "f=x g=y" || n != 0 {
		t.Errorf("%d ops ran; %s", n, got)
	}
	// What was built by itself is found by what is built in another definition.
	w.restart()
	if _, n := w.build(inner); n != 0 {
		t.Errorf("%d ops ran", n)
	}
	if got, _ := w.build(defFile(t, &pb.Definition{}).With(llbbuild.Build())); got != "" {
		t.Errorf("of scratch: %s", got)
	}
}

func TestBuildOpErrors(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "a", "f", "x", "dir/x", "")
	host := marshal(t, from("test://a").Run(llb.Shlex("true"), llb.Network(pb.NetMode_HOST)).Root())
	granted := tllb.LoadOptions{Allowed: entitlements.Set{entitlements.EntitlementNetworkHost: nil}}
	build := func(name string) llb.State {
		return from("test://a").With(llbbuild.Build(llbbuild.WithFilename(name)))
	}
	for _, c := range []struct {
		name   string
		st     llb.State
		values []any
		words  string
	}{
		{"no file", build("none"), nil, `LLB definition "none": the tree has no such file`},
		{"a directory", build("dir"), nil, `"dir": it is not a regular file`},
		{"outside", build("../../../etc/hostname"), nil, "no such file"},
		{"no definition", build("f"), nil, "not a marshalled LLB definition"},
		{"a bad definition", defFile(t, &pb.Definition{Def: [][]byte{{0xff}}}).With(llbbuild.Build()), nil, "buildkit.llb.definition: op 0"},
		{"nobody grants", defFile(t, host).With(llbbuild.Build()), nil, "--allow network.host"},
		{"one of two grants", defFile(t, host).With(llbbuild.Build()), []any{granted, tllb.LoadOptions{}}, "--allow network.host"},
		{"granted", defFile(t, host).With(llbbuild.Build()), []any{granted}, "no runc was found"},
	} {
		_, _, err := w.solve(w.edge(c.st), c.values...)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "/mounts/tree-") {
			t.Errorf("%s: %v tells of this machine's paths", c.name, err)
		}
	}
}

// own is what a program puts into a vertex to bring its own op.
type own struct {
	digest digest.Digest
	inputs []solver.Edge
	maker  bool
}

func (o *own) Digest() digest.Digest         { return o.digest }
func (o *own) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (o *own) Inputs() []solver.Edge         { return o.inputs }
func (o *own) Name() string                  { return "own" }
func (o *own) Sys() interface{} {
	if !o.maker {
		return 7
	}
	return maker{}
}

type maker struct{}

func (maker) MakeOp(env *ops.Env, v solver.Vertex, b solver.Builder) (solver.Op, error) {
	return ownOp{env.Store}, nil
}

type ownOp struct{ store *store.Store }

func (ownOp) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	return solver.NewCacheMap(digest.FromString("own"), 1), true, nil
}

func (o ownOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	ref, err := store.RefOf(inputs[0])
	if err != nil {
		return nil, err
	}
	return []solver.Result{store.NewResult(ref.Clone())}, nil
}

func TestVerticesOfOthers(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "a", "f", "x")
	in := w.edge(from("test://a"))
	v := &own{digest: digest.FromString("v"), inputs: []solver.Edge{in}, maker: true}
	if got, _, err := w.solve(solver.Edge{Vertex: v}); err != nil || got != "f=x" {
		t.Errorf("%s, %v", got, err)
	}
	v = &own{digest: digest.FromString("w"), inputs: []solver.Edge{in}}
	if _, _, err := w.solve(solver.Edge{Vertex: v}); err == nil || !strings.Contains(err.Error(), `vertex "own": nothing runs a int`) {
		t.Error(err)
	}
}

func TestErrorsOfOps(t *testing.T) {
	w := newWorld(t)
	w.source.set("a", "a", "f", "x")
	if _, _, err := w.solve(w.edge(from("nothing://a"))); err == nil || !strings.Contains(err.Error(), `nothing serves the scheme "nothing"`) {
		t.Error(err)
	}
	if _, _, err := w.solve(w.edge(from("test://z"))); err == nil || !strings.Contains(err.Error(), `no tree is called "z"`) {
		t.Error(err)
	}
	_, _, err := w.solve(w.edge(llb.Scratch().File(llb.Copy(from("test://a"), "/none", "/"))))
	if !errors.Is(err, iofs.ErrNotExist) || !strings.Contains(err.Error(), `copy /none /: "/none": not found`) {
		t.Error(err)
	}
	if _, _, err := w.solve(w.edge(from("test://a").Run(llb.Shlex("true")).Root())); err == nil || !strings.Contains(err.Error(), "no runc was found") {
		t.Error(err)
	}
}
