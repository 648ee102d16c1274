package execop_test

import (
	"runtime"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

func cacheMap(t *testing.T, op *pb.ExecOp, platform *pb.Platform, inputs int) *solver.CacheMap {
	t.Helper()
	o, err := execop.New(op, platform, vertex{"v", inputs}, execop.Deps{})
	noError(t, err)
	cm, done, err := o.CacheMap(t.Context(), 0)
	noError(t, err)
	if !done || len(cm.Deps) != inputs {
		t.Fatalf("done: %t, %d deps", done, len(cm.Deps))
	}
	return cm
}

var amd64 = &pb.Platform{OS: "linux", Architecture: "amd64"}

// The digests are those of BuildKit, which hashes this JSON.
func TestDigestsOfBuildKit(t *testing.T) {
	for want, op := range map[string]*pb.ExecOp{
		`{"Type":"buildkit.exec.v0","Exec":{"meta":{"args":["/bin/sh","-c","x"],"cwd":"/"}},"OS":"linux","Arch":"amd64"}`: sh("x"),
		`{"Type":"buildkit.exec.v0","Exec":{"meta":{"args":["/bin/sh","-c","x"],"cwd":"/"},` +
			`"mounts":[{"dest":"/"},{"input":-1,"dest":"/c","output":-1,"mountType":3,"cacheOpt":{}}]},"OS":"linux","Arch":"amd64"}`: sh("x", cache("id", pb.CacheSharingOpt_LOCKED, -1)),
		`{"Type":"buildkit.exec.v0","Exec":{"meta":{"args":["/bin/sh","-c","x"],"cwd":"/"},` +
			`"mounts":[{"dest":"/"},{"input":-1,"dest":"/c","output":-1,"mountType":3,"cacheOpt":{"ID":"ns//c"}}]},"OS":"linux","Arch":"amd64"}`: sh("x", cache("ns//c", pb.CacheSharingOpt_SHARED, -1)),
	} {
		if got := cacheMap(t, op, amd64, 1).Digest; got != digest.FromString(want) {
			t.Errorf("not the digest of %s", want)
		}
	}
}

func TestWhatTheKeyCovers(t *testing.T) {
	meta := func(fn func(*pb.Meta)) func(*pb.ExecOp) { return func(op *pb.ExecOp) { fn(op.Meta) } }
	hosts := func(name, ip string) func(*pb.ExecOp) {
		return meta(func(m *pb.Meta) { m.ExtraHosts = []*pb.HostIP{{Host: name, IP: ip}} })
	}
	sel := func(s string) func(*pb.ExecOp) {
		return with(&pb.Mount{Input: 0, Dest: "/m", Output: -1, Selector: s})
	}
	for name, c := range map[string]struct {
		a, b *pb.ExecOp
		same bool
	}{
		"args":          {sh("x"), sh("y"), false},
		"env":           {sh("x"), sh("x", meta(func(m *pb.Meta) { m.Env = []string{"A=1"} })), false},
		"user":          {sh("x"), sh("x", meta(func(m *pb.Meta) { m.User = "1" })), false},
		"network":       {sh("x"), sh("x", func(op *pb.ExecOp) { op.Network = pb.NetMode_NONE }), false},
		"security":      {sh("x"), sh("x", func(op *pb.ExecOp) { op.Security = pb.SecurityMode_INSECURE }), false},
		"proxy":         {sh("x"), sh("x", meta(func(m *pb.Meta) { m.ProxyEnv = &pb.ProxyEnv{HttpProxy: "p"} })), true},
		"host address":  {sh("x", hosts("h", "1.1.1.1")), sh("x", hosts("h", "2.2.2.2")), true},
		"host name":     {sh("x", hosts("h", "1.1.1.1")), sh("x", hosts("g", "1.1.1.1")), false},
		"secret's ID":   {sh("x", secretMount(&pb.SecretOpt{ID: "a"}, "/s")), sh("x", secretMount(&pb.SecretOpt{ID: "b"}, "/s")), false},
		"cache ID":      {sh("x", cache("a", 0, -1)), sh("x", cache("b", 0, -1)), true},
		"cache sharing": {sh("x", cache("a", 0, -1)), sh("x", cache("a", pb.CacheSharingOpt_LOCKED, -1)), true},
		"cache place":   {sh("x", cache("a", 0, -1)), sh("x", cache("/c", 0, -1)), false},
		"selector":      {sh("x", sel("/a")), sh("x", sel("/b")), true}, // it is in the selector of the input
		"readonly root": {sh("x"), sh("x", func(op *pb.ExecOp) { op.Mounts[0].Readonly = true }), false},
	} {
		a, b := cacheMap(t, c.a, amd64, 1), cacheMap(t, c.b, amd64, 1)
		if same := a.Digest == b.Digest; same != c.same {
			t.Errorf("%s: same digest: %t", name, same)
		}
		if name == "selector" && a.Deps[0].Selector == b.Deps[0].Selector {
			t.Error("the selectors of the input are equal")
		}
	}
	arm := cacheMap(t, sh("x"), &pb.Platform{OS: "linux", Architecture: "arm64"}, 1)
	if arm.Digest == cacheMap(t, sh("x"), amd64, 1).Digest {
		t.Error("two platforms have one digest")
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" && cacheMap(t, sh("x"), nil, 1).Digest != cacheMap(t, sh("x"), amd64, 1).Digest {
		t.Error("no platform is not this machine's")
	}
	// The op itself is not changed by making its key.
	op := sh("x", hosts("h", "1.1.1.1"), cache("a", 0, -1), sel("/a"))
	cacheMap(t, op, nil, 1)
	if op.Meta.ExtraHosts[0].IP != "1.1.1.1" || op.Mounts[1].CacheOpt.ID != "a" || op.Mounts[2].Selector != "/a" {
		t.Error("the op was changed")
	}
}

func TestContentKeyedInputs(t *testing.T) {
	mount := func(m *pb.Mount) func(*pb.ExecOp) {
		m.Input, m.Dest = 1, "/m"
		return with(m)
	}
	for name, c := range map[string]struct {
		op   *pb.ExecOp
		want bool
	}{
		"read-only":                    {sh("x", mount(&pb.Mount{Output: -1, Readonly: true, Selector: "/a"})), true},
		"thrown away":                  {sh("x", mount(&pb.Mount{Output: -1, Selector: "/a"})), true},
		"whole, kept":                  {sh("x", mount(&pb.Mount{Output: 1})), true},
		"a part, kept":                 {sh("x", mount(&pb.Mount{Output: 1, Selector: "/a"})), false},
		"a part, read-only, kept":      {sh("x", mount(&pb.Mount{Output: 1, Selector: "/a", Readonly: true})), true},
		"off":                          {sh("x", mount(&pb.Mount{Output: -1, Readonly: true, ContentCache: pb.MountContentCache_OFF})), false},
		"base of a cache mount":        {sh("x", mount(&pb.Mount{Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "i"}})), true},
		"one mount of it is not":       {sh("x", mount(&pb.Mount{Output: 1, Selector: "/a"}), with(&pb.Mount{Input: 1, Dest: "/n", Output: -1, Readonly: true})), false},
		"one mount of it is not (2)":   {sh("x", with(&pb.Mount{Input: 1, Dest: "/n", Output: -1, Readonly: true}), mount(&pb.Mount{Output: 1, Selector: "/a"})), false},
		"not mounted at all":           {sh("x"), false},
		"of another input, not of any": {sh("x", with(&pb.Mount{Input: -1, Dest: "/n", Output: -1})), false},
	} {
		cm := cacheMap(t, c.op, amd64, 2)
		if got := cm.Deps[1].ComputeDigestFunc != nil; got != c.want {
			t.Errorf("%s: by content: %t", name, got)
		}
		if cm.Deps[0].ComputeDigestFunc == nil {
			t.Errorf("%s: the root file system is not keyed by content", name)
		}
	}
	off := sh("x", func(op *pb.ExecOp) { op.Mounts[0].ContentCache = pb.MountContentCache_OFF })
	if cacheMap(t, off, amd64, 1).Deps[0].ComputeDigestFunc != nil {
		t.Error("the root file system is keyed by content where that is switched off")
	}
	on := sh("x", func(op *pb.ExecOp) { op.Mounts[0].ContentCache = pb.MountContentCache_ON })
	if cacheMap(t, on, amd64, 1).Deps[0].ComputeDigestFunc == nil {
		t.Error("the root file system is not keyed by content where that is asked for")
	}
}

// Two ops whose mounts select different parts of one input are told apart, although
// neither their digests nor the set of the paths does.
func TestWhichMountSelectsWhat(t *testing.T) {
	m := newMachine(t)
	src := m.files(map[string]string{"a/f": "a", "b/f": "b", "a/c/f": "c"})
	key := func(sel ...string) digest.Digest {
		op := sh("x")
		for i, s := range sel {
			op.Mounts = append(op.Mounts, &pb.Mount{Input: 1, Dest: string("/mn"[:i+2]), Output: -1, Readonly: true, Selector: s})
		}
		cm := cacheMap(t, op, amd64, 2)
		d, err := cm.Deps[1].ComputeDigestFunc(t.Context(), store.NewResult(src))
		noError(t, err)
		return d
	}
	if key("/a", "/b") == key("/b", "/a") {
		t.Error("mounts that changed places have one key")
	}
	if key("/", "/a") == key("/", "/b") {
		t.Error("mounts of other parts have one key")
	}
	if key("/a") == key("/b") || key("/a/f") == key("/b/f") {
		t.Error("other content has the same key")
	}
	if key("/a") != key("a/../a") {
		t.Error("spelled in another way, a path has another key")
	}
}
