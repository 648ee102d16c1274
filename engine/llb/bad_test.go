package llb_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	tllb "github.com/tenonbuild/tenon/engine/llb"
	"google.golang.org/protobuf/encoding/protowire"
)

// refused loads what must not load, and checks that the error has all the words.
func refused(t *testing.T, name string, def *pb.Definition, opt tllb.LoadOptions, words ...string) error {
	t.Helper()
	_, err := tllb.Load(def, opt)
	if err == nil {
		t.Errorf("%s: no error", name)
		return nil
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", name, err, w)
		}
	}
	return err
}

func TestBadDefinitions(t *testing.T) {
	none := tllb.LoadOptions{}
	refused(t, "nil", nil, none, "no LLB definition")

	b := build(t)
	b.raw([]byte{0xff, 0xff})
	refused(t, "not an op", b.end(&pb.Input{}), none, "op 0", "cannot be decoded")

	b = build(t)
	b.add(src("docker-image://a"))
	refused(t, "cut off", &b.def, none, "ends with op 0 (source, sha256:", "cut off?")

	b = build(t)
	b.add(src("docker-image://a"))
	b.add(&pb.Op{})
	refused(t, "no result", &b.def, none, "0 inputs", "name one result")

	b = build(t)
	in := b.add(src("docker-image://a"))
	b.add(&pb.Op{Inputs: []*pb.Input{in, in}})
	refused(t, "two results", &b.def, none, "2 inputs")

	b = build(t)
	b.add(src("docker-image://a"))
	refused(t, "ops and an empty result", b.end(&pb.Input{}), none, "names none of them")

	b = build(t)
	b.add(src("docker-image://a"))
	refused(t, "unknown result", b.end(&pb.Input{Digest: "sha256:12"}), none, "result", `no op of the definition has the digest "sha256:12"`)

	b = build(t)
	in = b.add(src("docker-image://a"))
	refused(t, "output of the result", b.end(&pb.Input{Digest: in.Digest, Index: 1}), none, "result", "output 1 of op 0 (source", "has 1")

	b = build(t)
	in = b.add(file(&pb.Input{Digest: "sha256:34"}))
	refused(t, "unknown input", b.end(in), none, "op 0 (file", "input 0", `"sha256:34"`)

	b = build(t)
	in = b.add(src("docker-image://a"))
	in.Index = -1
	refused(t, "negative output", b.end(b.add(file(in))), none, "op 1 (file", "output -1")

	b = build(t)
	in = b.add(&pb.Op{})
	refused(t, "nothing to do", b.end(in), none, "op 0 (no known kind", "nothing to do")

	b = build(t)
	in = b.raw(protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), []byte("x")))
	refused(t, "an op of tomorrow", b.end(in), none, "op 0", "a newer one may")

	b = build(t)
	in = b.add(src("docker-image://a"))
	b.def.Source = &pb.Source{Locations: map[string]*pb.Locations{"x": {Locations: []*pb.Location{{SourceIndex: 1}}}}}
	refused(t, "source map", b.end(in), none, "file 1", "has 0 files")
}

// exec is a good op with changes.
func exec(change func(*pb.ExecOp)) *pb.ExecOp {
	e := &pb.ExecOp{
		Meta:   &pb.Meta{Args: []string{"/bin/true"}, Cwd: "/"},
		Mounts: []*pb.Mount{{Dest: "/", Input: 0, Output: 0}},
	}
	change(e)
	return e
}

func mount(m *pb.Mount) func(*pb.ExecOp) {
	return func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, m) }
}

func TestBadExec(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*pb.ExecOp)
		words  string
	}{
		{"meta", func(e *pb.ExecOp) { e.Meta = nil }, "no meta"},
		{"args", func(e *pb.ExecOp) { e.Meta.Args = nil }, "no args"},
		{"zero byte", func(e *pb.ExecOp) { e.Meta.Args[0] = "a\x00" }, "zero byte"},
		{"env", func(e *pb.ExecOp) { e.Meta.Env = []string{"=x"} }, `"=x" cannot be an environment variable`},
		{"host", func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "a", IP: "b"}} }, `"b" is not an IP address`},
		{"ulimit", func(e *pb.ExecOp) { e.Meta.Ulimit = []*pb.Ulimit{{}} }, "ulimit 0 has no name"},
		{"network", func(e *pb.ExecOp) { e.Network = 7 }, "network mode 7"},
		{"security", func(e *pb.ExecOp) { e.Security = 7 }, "security mode 7"},
		{"secret", func(e *pb.ExecOp) { e.Secretenv = []*pb.SecretEnv{{ID: "x"}} }, "secret 0"},
		{"device", func(e *pb.ExecOp) { e.CdiDevices = []*pb.CDIDevice{{Name: "gpu"}} }, `device "gpu"`},
		{"root", func(e *pb.ExecOp) { e.Mounts[0].Dest = "/x" }, "no mount gives it a root"},
		{"roots", mount(&pb.Mount{Dest: "/", Output: 1}), "another mount for the root"},
		{"root's spelling", mount(&pb.Mount{Dest: "/.", Output: 1}), "written /"},
		{"root's type", func(e *pb.ExecOp) { e.Mounts[0].MountType = pb.MountType_TMPFS }, "cannot be the root"},
		{"destination", mount(&pb.Mount{Output: -1}), "no destination"},
		{"input", mount(&pb.Mount{Dest: "/a", Input: 1, Output: -1}), `mount 1 ("/a"): input 1 is wanted of an op that has 1`},
		{"negative input", mount(&pb.Mount{Dest: "/a", Input: -2, Output: -1}), "input -2"},
		{"output twice", mount(&pb.Mount{Dest: "/a", Output: 0}), "output 0 is given twice"},
		{"gap", mount(&pb.Mount{Dest: "/a", Output: 2}), "none is number 1"},
		{"negative output", mount(&pb.Mount{Dest: "/a", Output: -2}), "output -2"},
		{"type", mount(&pb.Mount{Dest: "/a", Output: -1, MountType: 9}), "mount type 9"},
		{"cache", mount(&pb.Mount{Dest: "/a", Output: -1, MountType: pb.MountType_CACHE}), "needs options"},
		{"sharing", mount(&pb.Mount{Dest: "/a", Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{Sharing: 9}}), "sharing mode 9"},
		{"tmpfs", mount(&pb.Mount{Dest: "/a", Input: -1, Output: -1, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: -1}}), "negative"},
		{"tmpfs with input", mount(&pb.Mount{Dest: "/a", Output: -1, MountType: pb.MountType_TMPFS}), "has no input"},
		{"secret mount", mount(&pb.Mount{Dest: "/a", Input: -1, MountType: pb.MountType_SECRET}), "which secret?"},
		{"ssh mount", mount(&pb.Mount{Dest: "/a", Input: -1, MountType: pb.MountType_SSH}), "which agent?"},
		{"content cache", mount(&pb.Mount{Dest: "/a", Output: -1, ContentCache: 9}), "content cache mode 9"},
	} {
		b := build(t)
		in := b.add(src("docker-image://a"))
		in = b.add(&pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_Exec{Exec: exec(c.change)}})
		refused(t, c.name, b.end(in), tllb.LoadOptions{}, "op 1 (exec", c.words)
	}
}

func TestBadFile(t *testing.T) {
	mkdir := &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/a"}}
	cp := func(c *pb.FileActionCopy) *pb.FileAction {
		return &pb.FileAction{SecondaryInput: 0, Action: &pb.FileAction_Copy{Copy: c}}
	}
	named := func(name string, input int64) *pb.FileAction {
		o := &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: name, Input: input}}}}
		return cp(&pb.FileActionCopy{Owner: o})
	}
	for _, c := range []struct {
		name    string
		actions []*pb.FileAction
		words   string
	}{
		{"none", []*pb.FileAction{}, "no actions"},
		{"unknown", []*pb.FileAction{{}}, "does not know what it is to do"},
		{"input", []*pb.FileAction{{Input: 1, Action: mkdir}}, "action 0: input 1: there are 1 inputs and 0 actions before it"},
		{"negative input", []*pb.FileAction{{Input: -2, Action: mkdir}}, "input -2"},
		{"itself", []*pb.FileAction{{Action: mkdir, Output: -1}, {Input: 2, Action: mkdir}}, "action 1: input 2"},
		{"secondary", []*pb.FileAction{{SecondaryInput: 1, Action: mkdir}}, "secondary input: input 1"},
		{"output twice", []*pb.FileAction{{Action: mkdir}, {Action: mkdir}}, "output 0 is given twice"},
		{"gap", []*pb.FileAction{{Action: mkdir, Output: 1}}, "none is number 0"},
		{"negative output", []*pb.FileAction{{Action: mkdir, Output: -2}}, "output -2"},
		{"no output", []*pb.FileAction{{Action: mkdir, Output: -1}}, "gives an output"},
		{"mkdir", []*pb.FileAction{{Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/\x00"}}}}, "zero byte"},
		{"mkfile", []*pb.FileAction{{Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{Path: "/a/.."}}}}, "root of the tree"},
		{"symlink", []*pb.FileAction{{Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{Newpath: "/a"}}}}, "points nowhere"},
		{"rm", []*pb.FileAction{{Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/"}}}}, "root of the tree"},
		{"user", []*pb.FileAction{named("", 0)}, "the name is empty"},
		{"user of scratch", []*pb.FileAction{named("bob", -1)}, `"bob" is to be looked up in the empty tree`},
		{"user's input", []*pb.FileAction{named("bob", 4)}, "owner: input 4"},
		{"mode", []*pb.FileAction{cp(&pb.FileActionCopy{Mode: 0o10000})}, "mode 010000"},
		{"modeStr", []*pb.FileAction{cp(&pb.FileActionCopy{ModeStr: "u+q"})}, `mode "u+q"`},
		{"include", []*pb.FileAction{cp(&pb.FileActionCopy{IncludePatterns: []string{"a["}})}, "include patterns"},
		{"exclude", []*pb.FileAction{cp(&pb.FileActionCopy{ExcludePatterns: []string{"a["}})}, "exclude patterns"},
	} {
		b := build(t)
		in := b.add(src("docker-image://a"))
		refused(t, c.name, b.end(b.add(file(in, c.actions...))), tllb.LoadOptions{}, "op 1 (file", c.words)
	}
}

func TestBadOthers(t *testing.T) {
	in := func(n int64) map[string]*pb.BuildInput {
		return map[string]*pb.BuildInput{pb.LLBDefinitionInput: {Input: n}}
	}
	one := []*pb.Input{nil}
	for _, c := range []struct {
		name string
		op   *pb.Op
		word string
	}{
		{"source with inputs", &pb.Op{Inputs: one, Op: src("docker-image://a").Op}, "a source has no inputs"},
		{"source without scheme", src("busybox"), `source "busybox"`},
		{"source without name", src("local://"), "should look like"},
		{"source with a line", src("docker-image://a\nb"), "control characters"},
		{"merge of nothing", &pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}, "a merge needs inputs"},
		{"merge of others", &pb.Op{Inputs: one, Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}, "merges 0 trees, and has 1 inputs"},
		{"merge out of range", &pb.Op{Inputs: one, Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 3}}}}}, "tree 0: input 3"},
		{"diff of nil", &pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{}}}, "needs a lower and an upper"},
		{"diff out of range", &pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: -1}}}}, "lower tree: input 0"},
		{"diff of less", &pb.Op{Inputs: one, Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: -1}, Upper: &pb.UpperDiffInput{Input: -1}}}}, "uses 0 of its 1 inputs"},
		{"builder", &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{}}}, "builder 0"},
		{"build of nothing", &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Builder: -1}}}, `no input called "buildkit.llb.definition"`},
		{"build's input", &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Builder: -1, Inputs: in(0)}}}, "input 0 is wanted of an op that has 0"},
		{"passthrough", &pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{}}}, "needs outputs"},
		{"passthrough's input", &pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Outputs: []int64{0}}}}, "output 0: input 0"},
		{"platform", &pb.Op{Op: src("docker-image://a").Op, Platform: &pb.Platform{OS: "lin/ux"}}, `platform: "lin/ux"`},
		{"constraint", &pb.Op{Op: src("docker-image://a").Op, Constraints: &pb.WorkerConstraints{Filter: []string{"a=="}}}, `worker constraint "a=="`},
		{"other worker", &pb.Op{Op: src("docker-image://a").Op, Constraints: &pb.WorkerConstraints{Filter: []string{"labels.os==plan9"}}}, "does not match"},
	} {
		b := build(t)
		base := b.add(src("docker-image://base"))
		for i := range c.op.Inputs {
			c.op.Inputs[i] = base
		}
		opt := tllb.LoadOptions{WorkerLabels: map[string]string{"os": "linux"}}
		refused(t, c.name, b.end(b.add(c.op)), opt, "op 1 (", c.word)
	}
}

func TestCapsOfDefinitions(t *testing.T) {
	def := func(c string, need bool) *pb.Definition {
		b := build(t)
		in := b.add(src("docker-image://a"))
		b.def.Metadata[in.Digest] = &pb.OpMetadata{Caps: map[string]bool{"source.image": true, c: need}}
		return b.end(in)
	}
	err := refused(t, "unknown", def("exec.teleport", true), tllb.LoadOptions{}, "exec.teleport", "does not know")
	if e, ok := errors.AsType[*tllb.CapError](err); !ok || e.Cap != "exec.teleport" {
		t.Errorf("%T", err)
	}
	refused(t, "not there", def(string(pb.CapRemoteCacheAzBlob), true), tllb.LoadOptions{}, "cache.azblob", "yet")
	load(t, def("exec.teleport", false), tllb.LoadOptions{})
}

func TestEntitlements(t *testing.T) {
	for need, change := range map[entitlements.Entitlement]func(*pb.ExecOp){
		entitlements.EntitlementNetworkHost:      func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST },
		entitlements.EntitlementSecurityInsecure: func(e *pb.ExecOp) { e.Security = pb.SecurityMode_INSECURE },
	} {
		b := build(t)
		in := b.add(src("docker-image://a"))
		def := b.end(b.add(&pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_Exec{Exec: exec(change)}}))
		err := refused(t, string(need), def, tllb.LoadOptions{}, `step "/bin/true"`, "--allow "+string(need))
		if e, ok := errors.AsType[*tllb.EntitlementError](err); !ok || e.Entitlement != need {
			t.Errorf("%T", err)
		}
		load(t, def, tllb.LoadOptions{Allowed: entitlements.Set{need: nil}})
	}
}

// Only ops that run something are asked about, each by its own platform, and only
// where the result needs them.
func TestPlatformsOfRunsAreChecked(t *testing.T) {
	b := build(t)
	arm := &pb.Platform{OS: "linux", Architecture: "arm64"}
	in := b.add(&pb.Op{Op: src("docker-image://a").Op, Platform: arm})
	run := b.add(&pb.Op{Inputs: []*pb.Input{in}, Platform: arm, Op: &pb.Op_Exec{Exec: exec(func(*pb.ExecOp) {})}})
	copied := b.add(file(in))
	here := &pb.Platform{OS: "linux", Architecture: "amd64"}
	native := b.add(&pb.Op{Inputs: []*pb.Input{in}, Platform: here, Op: &pb.Op_Exec{Exec: exec(func(*pb.ExecOp) {})}})
	why := errors.New("not here")
	opt := tllb.LoadOptions{CheckRun: func(p *pb.Platform) error {
		if p.Architecture == "arm64" {
			return why
		}
		return nil
	}}
	load(t, b.end(copied), opt)
	b.def.Def = b.def.Def[:len(b.def.Def)-1]
	load(t, b.end(native), opt)
	b.def.Def = b.def.Def[:len(b.def.Def)-1]
	if err := refused(t, "foreign", b.end(run), opt, `step "/bin/true"`); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestSourcesAreChecked(t *testing.T) {
	b := build(t)
	in := b.add(src("docker-image://a"))
	def := b.end(in)
	why := errors.New("nothing serves it")
	_, err := tllb.Load(def, tllb.LoadOptions{CheckSource: func(op *pb.SourceOp, p *pb.Platform) error {
		if op.Identifier != "docker-image://a" || p == nil {
			t.Errorf("asked about %v on %v", op, p)
		}
		return why
	}})
	if !errors.Is(err, why) {
		t.Error(err)
	}
}
