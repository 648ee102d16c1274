package llb_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	tllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver"
	"google.golang.org/protobuf/proto"
)

// marshal makes a definition as clients do.
func marshal(t testing.TB, st llb.State, opts ...llb.ConstraintsOpt) *pb.Definition {
	t.Helper()
	def, err := st.Marshal(context.Background(), append([]llb.ConstraintsOpt{llb.LinuxAmd64}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}

// builder makes definitions op by op, which may be wrong.
type builder struct {
	t   testing.TB
	def pb.Definition
}

func build(t testing.TB) *builder {
	return &builder{t: t, def: pb.Definition{Metadata: map[string]*pb.OpMetadata{}}}
}

func (b *builder) add(o *pb.Op) *pb.Input {
	b.t.Helper()
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(o)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.raw(dt)
}

func (b *builder) raw(dt []byte) *pb.Input {
	b.def.Def = append(b.def.Def, dt)
	return &pb.Input{Digest: digest.FromBytes(dt).String()}
}

func (b *builder) end(in *pb.Input) *pb.Definition {
	b.add(&pb.Op{Inputs: []*pb.Input{in}})
	return &b.def
}

func src(id string) *pb.Op {
	return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: id}}}
}

// load loads what must load.
func load(t testing.TB, def *pb.Definition, opt tllb.LoadOptions) *tllb.Graph {
	t.Helper()
	g, err := tllb.Load(def, opt)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestVerticesOfADefinition(t *testing.T) {
	base := llb.Image("docker.io/library/busybox:latest")
	run := base.Run(llb.Args([]string{"/bin/sh", "-c", "echo\nhi"}), llb.IgnoreCache).Root()
	top := run.File(llb.Mkdir("/a", 0o755).Mkfile("/a/b", 0o600, []byte("x")).Rm("/c").Copy(base, "/etc", "/d"), llb.WithCustomName("last"))
	mid := run.File(llb.Symlink("/to", "/from"))
	g := load(t, marshal(t, llb.Merge([]llb.State{llb.Diff(base, top), mid})), tllb.LoadOptions{})

	merge := g.Edge.Vertex
	if got, want := merge.Name(), "merge (diff (docker-image://docker.io/library/busybox:latest) -> (last), symlink /from -> /to)"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if len(merge.Inputs()) != 2 {
		t.Fatalf("%d inputs", len(merge.Inputs()))
	}
	exec := merge.Inputs()[1].Vertex.Inputs()[0].Vertex
	if got, want := exec.Name(), "/bin/sh -c echo hi"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if !exec.Options().IgnoreCache || merge.Options().IgnoreCache {
		t.Error("ignoring the cache is the exec's alone")
	}
	if _, ok := exec.Sys().(*pb.Op).Op.(*pb.Op_Exec); !ok {
		t.Errorf("Sys of the exec is %T", exec.Sys())
	}
	if len(g.Digests) != 6 {
		t.Errorf("%d digests, want one an op", len(g.Digests))
	}
}

func TestGeneratedNames(t *testing.T) {
	base := llb.Image("docker.io/library/busybox:latest")
	file := base.File(llb.Mkdir("/a", 0o755).Mkfile("/b", 0o600, nil).Rm("/c").Copy(base, "/etc", "/d"))
	if got, want := load(t, marshal(t, file), tllb.LoadOptions{}).Edge.Vertex.Name(), "mkdir /a, mkfile /b, rm /c, copy /etc /d"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	// Each merge names both inputs: without a bound the name would have 2^60 parts.
	st := file
	for i := range 60 {
		st = llb.Merge([]llb.State{st, st.File(llb.Mkdir(fmt.Sprint("/", i), 0o755))})
	}
	if n := len(load(t, marshal(t, st), tllb.LoadOptions{}).Edge.Vertex.Name()); n > 400 {
		t.Errorf("a name of %d bytes", n)
	}
}

func TestOptionsOfVertices(t *testing.T) {
	def := marshal(t, llb.Image("busybox").File(llb.Mkdir("/a", 0o755), llb.WithDescription(map[string]string{"k": "v"}), llb.WithExportCache(), llb.ProgressGroup("id", "name", false)))
	cache := solver.NewCacheManager("other", solver.NewInMemoryCacheStorage(), solver.NewInMemoryResultStorage())
	g := load(t, def, tllb.LoadOptions{NoCache: true, CacheSources: []solver.CacheManager{cache}})
	o := g.Edge.Vertex.Options()
	if !o.IgnoreCache || len(o.CacheSources) != 1 || o.Description["k"] != "v" || o.ExportCache == nil || !*o.ExportCache {
		t.Errorf("options %+v", o)
	}
	if got := tllb.MetadataOf(g.Edge.Vertex).GetProgressGroup().GetName(); got != "name" {
		t.Errorf("progress group %q", got)
	}
	if load(t, def, tllb.LoadOptions{}).Edge.Vertex.Digest() != g.Edge.Vertex.Digest() {
		t.Error("options are part of a vertex's identity")
	}
}

func TestEmptyTree(t *testing.T) {
	for name, def := range map[string]*pb.Definition{
		"no ops":            {},
		"as clients say it": marshal(t, llb.Scratch()),
		"a result of none":  build(t).end(&pb.Input{}),
	} {
		if g := load(t, def, tllb.LoadOptions{}); g.Edge.Vertex != nil {
			t.Errorf("%s: %v", name, g.Edge.Vertex.Name())
		}
	}
}

func TestDuplicateAndUnusedOps(t *testing.T) {
	b := build(t)
	in := b.add(src("docker-image://a"))
	b.add(src("docker-image://a"))
	b.add(src("docker-image://unused"))
	if g := load(t, b.end(in), tllb.LoadOptions{}); len(g.Digests) != 1 {
		t.Errorf("%d vertices, want 1", len(g.Digests))
	}
}

func TestInputsMayComeAfterwards(t *testing.T) {
	dt, err := proto.Marshal(src("docker-image://a"))
	if err != nil {
		t.Fatal(err)
	}
	b := build(t)
	top := b.add(file(&pb.Input{Digest: digest.FromBytes(dt).String()}))
	b.raw(dt)
	if g := load(t, b.end(top), tllb.LoadOptions{}); len(g.Digests) != 2 {
		t.Errorf("%d vertices, want 2", len(g.Digests))
	}
}

func file(in *pb.Input, actions ...*pb.FileAction) *pb.Op {
	if actions == nil {
		actions = []*pb.FileAction{{Input: 0, SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/a"}}}}
	}
	return &pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_File{File: &pb.FileOp{Actions: actions}}}
}

func TestIdentity(t *testing.T) {
	digestOf := func(o *pb.Op, opt tllb.LoadOptions) digest.Digest {
		b := build(t)
		return load(t, b.end(b.add(o)), opt).Edge.Vertex.Digest()
	}
	local := func(attrs map[string]string) *pb.Op {
		return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "local://context", Attrs: attrs}}}
	}
	image := func(p *pb.Platform, c *pb.WorkerConstraints) *pb.Op {
		o := src("docker-image://a")
		o.Platform, o.Constraints = p, c
		return o
	}
	arm := &pb.Platform{OS: "linux", Architecture: "arm64"}
	session := func(id string) tllb.LoadOptions { return tllb.LoadOptions{SessionID: id} }
	none := tllb.LoadOptions{}
	for _, c := range []struct {
		name string
		a, b *pb.Op
		oa   tllb.LoadOptions
		ob   tllb.LoadOptions
		same bool
	}{
		{"directories of two sessions", local(nil), local(nil), session("a"), session("b"), false},
		{"a directory of one session", local(nil), local(nil), session("a"), session("a"), true},
		{"a session that is named", local(map[string]string{"local.session": "c"}), local(map[string]string{"local.session": "c"}), session("a"), session("b"), true},
		{"unique IDs", local(map[string]string{"local.unique": "1"}), local(map[string]string{"local.unique": "2"}), none, none, false},
		{"images of two sessions", src("docker-image://a"), src("docker-image://a"), session("a"), session("b"), true},
		{"a platform and the default", image(nil, nil), image(arm, nil), tllb.LoadOptions{DefaultPlatform: arm}, none, true},
		{"spellings of a platform", image(&pb.Platform{OS: "linux", Architecture: "aarch64", Variant: "v8"}, nil), image(arm, nil), none, none, true},
		{"platforms", image(&pb.Platform{OS: "linux", Architecture: "amd64"}, nil), image(arm, nil), none, none, false},
		{"empty constraints", image(arm, &pb.WorkerConstraints{}), image(arm, nil), none, none, true},
	} {
		if same := digestOf(c.a, c.oa) == digestOf(c.b, c.ob); same != c.same {
			t.Errorf("%s: one vertex: %v, want %v", c.name, same, c.same)
		}
	}
}

func TestSourceMap(t *testing.T) {
	sm := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte("FROM a\nCOPY b c\n"))
	at := sm.Location([]*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}})
	// The session of the local source changes the digests of all that is above.
	def := marshal(t, llb.Image("busybox").File(llb.Copy(llb.Local("context"), "b", "c"), at))
	g := load(t, def, tllb.LoadOptions{SessionID: "s"})
	locs := g.Source.Locations[g.Edge.Vertex.Digest().String()]
	if len(locs.GetLocations()) != 1 || locs.Locations[0].Ranges[0].Start.Line != 2 || g.Source.Infos[0].Filename != "Dockerfile" {
		t.Errorf("locations %v", locs)
	}
	if _, ok := def.Source.Locations[g.Edge.Vertex.Digest().String()]; ok {
		t.Error("the test shows nothing: the digest did not change")
	}
}

// Load neither recurses nor looks at an op more than a few times.
func TestLongChain(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	b := build(t)
	in := b.add(src("docker-image://a"))
	for i := range n {
		in = b.add(file(in, &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: fmt.Sprint("/", i)}}}))
	}
	if g := load(t, b.end(in), tllb.LoadOptions{}); len(g.Digests) != n+1 {
		t.Errorf("%d vertices", len(g.Digests))
	}
}

func TestDiamondLadder(t *testing.T) {
	b := build(t)
	in := b.add(src("docker-image://a"))
	for range 2000 {
		in = b.add(&pb.Op{Inputs: []*pb.Input{in, in}, Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}}}}})
	}
	if g := load(t, b.end(in), tllb.LoadOptions{}); len(g.Digests) != 2001 {
		t.Errorf("%d vertices", len(g.Digests))
	}
}

func TestReadDefinition(t *testing.T) {
	dt, err := proto.Marshal(marshal(t, llb.Image("busybox")))
	if err != nil {
		t.Fatal(err)
	}
	def, err := tllb.ReadDefinition(strings.NewReader(string(dt)))
	if err != nil {
		t.Fatal(err)
	}
	load(t, def, tllb.LoadOptions{})
	if _, err := tllb.ReadDefinition(strings.NewReader("FROM scratch\n")); err == nil || !strings.Contains(err.Error(), "not a marshalled LLB definition") {
		t.Errorf("a Dockerfile: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	base := llb.Image("busybox")
	run := base.Run(llb.Shlex("true"), llb.AddSecret("/s"), llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("c", llb.CacheMountShared)))
	for _, st := range []llb.State{
		llb.Scratch(), base, run.Root(), run.AddMount("/o", llb.Local("x")),
		llb.Merge([]llb.State{llb.Diff(base, run.Root()), base.File(llb.Copy(base, "/a*", "/b", &llb.CopyInfo{AllowWildcard: true, IncludePatterns: []string{"x"}}, llb.WithUser("bob:1")))}),
	} {
		dt, err := proto.Marshal(marshal(f, st))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dt)
	}
	f.Fuzz(func(t *testing.T, dt []byte) {
		def, err := tllb.ReadDefinition(strings.NewReader(string(dt)))
		if err != nil {
			return
		}
		// Neither may panic, whatever the other says.
		_ = tllb.Dump(&strings.Builder{}, def)
		_ = tllb.DumpDot(&strings.Builder{}, def)
		g, err := tllb.Load(def, tllb.LoadOptions{SessionID: "s"})
		if err != nil {
			return
		}
		if v := g.Edge.Vertex; v != nil {
			again := load(t, def, tllb.LoadOptions{SessionID: "s"})
			if again.Edge.Vertex.Digest() != v.Digest() {
				t.Error("two loads of one definition differ")
			}
		}
	})
}
