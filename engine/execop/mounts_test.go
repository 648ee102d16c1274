package execop_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
	"golang.org/x/sync/errgroup"
)

func TestBindMounts(t *testing.T) {
	m := newMachine(t)
	src := m.files(map[string]string{"f": "file", "d/g": "inner", "e/h": "other"})
	ro := with(&pb.Mount{Input: 1, Dest: "/m", Output: -1, Readonly: true})
	got, err := m.exec(sh("cat /m/f /m/d/g > /out; touch /m/new && echo written >> /out; true", ro), m.base, src)
	noError(t, err)
	if s := m.read(got[0], "out"); s != "fileinner" {
		t.Errorf("read-only: %q", s)
	}
	if slices.Contains(m.names(got[0], "/"), "m") {
		t.Error("the mount point stays in the tree")
	}

	rw := with(&pb.Mount{Input: 1, Dest: "/m", Output: -1})
	got, err = m.exec(sh("touch /m/new; ls /m > /out", rw), m.base, src)
	noError(t, err)
	if s := m.read(got[0], "out"); s != "d\ne\nf\nnew\n" {
		t.Errorf("written to and thrown away: %q", s)
	}
	if names := m.names(src, "/"); slices.Contains(names, "new") {
		t.Errorf("the input was changed: %q", names)
	}

	sel := with(&pb.Mount{Input: 1, Dest: "/m", Selector: "/d", Output: -1, Readonly: true})
	file := with(&pb.Mount{Input: 1, Dest: "/file", Selector: "e/h", Output: -1, Readonly: true})
	got, err = m.exec(sh("ls /m > /out; cat /file >> /out", sel, file), m.base, src)
	noError(t, err)
	if s := m.read(got[0], "out"); s != "g\nother" {
		t.Errorf("selected: %q", s)
	}

	missing := with(&pb.Mount{Input: 1, Dest: "/m", Selector: "/none", Output: -1, Readonly: true})
	if _, err = m.exec(sh("true", missing), m.base, src); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a selector that leads nowhere: %v", err)
	}
	out := with(&pb.Mount{Input: 1, Dest: "/m", Selector: "/../../../../etc", Output: -1, Readonly: true})
	if _, err = m.exec(sh("ls /m", out), m.base, src); err == nil {
		t.Error("a selector leads out of the tree")
	}
}

// A link in the tree does not lead a selector out of it.
func TestSelectorThroughLink(t *testing.T) {
	m := newMachine(t)
	src := m.tree(m.base, func(dir string) { noError(t, symlink("/etc", dir+"/link")) })
	defer func() { noError(t, src.Release(context.Background())) }()
	sel := with(&pb.Mount{Input: 1, Dest: "/m", Selector: "/link", Output: -1, Readonly: true})
	got, err := m.exec(sh("ls /m > /out", sel), m.base, src)
	noError(t, err)
	if s := m.read(got[0], "out"); s != "group\npasswd\n" {
		t.Errorf("%q", s)
	}
}

func TestOutputs(t *testing.T) {
	m := newMachine(t)
	src := m.files(map[string]string{"f": "file"})
	op := sh("echo a > /a/x; echo b > /b/x; test -e /c/f",
		with(&pb.Mount{Input: 1, Dest: "/a", Output: 2}),
		with(&pb.Mount{Input: -1, Dest: "/b", Output: 1}),
		with(&pb.Mount{Input: 1, Dest: "/c", Output: 3, Readonly: true}))
	out, err := m.exec(op, m.base, src)
	noError(t, err)
	if len(out) != 4 {
		t.Fatalf("%d outputs", len(out))
	}
	if got := m.names(out[2], "/"); !slices.Equal(got, []string{"f", "x"}) {
		t.Errorf("on top of an input: %q", got)
	}
	if got := m.names(out[1], "/"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("on top of nothing: %q", got)
	}
	if out[3].ID() != src.ID() {
		t.Error("what cannot be written to is not the input itself")
	}
	if !slices.Contains(m.names(out[0], "/bin"), "sh") {
		t.Error("output 0 is not the root file system")
	}

	// The empty tree is an input like others.
	out, err = m.exec(sh("ls /a > /out", with(&pb.Mount{Input: 1, Dest: "/a", Output: 1, Readonly: true})), m.base, nil)
	noError(t, err)
	if len(out) != 2 || m.read(out[0], "out") != "" || len(m.names(out[1], "/")) != 0 {
		t.Errorf("of the empty tree: %d outputs", len(out))
	}
}

// Mounts in mounts are made from the outside in, whatever their order.
func TestNestedMounts(t *testing.T) {
	m := newMachine(t)
	outer, inner := m.files(map[string]string{"o": "", "in/x": ""}), m.files(map[string]string{"i": ""})
	got, err := m.exec(sh("ls /a /a/in > /out",
		with(&pb.Mount{Input: 2, Dest: "/a/in", Output: -1, Readonly: true}),
		with(&pb.Mount{Input: 1, Dest: "/a", Output: -1, Readonly: true})), m.base, outer, inner)
	noError(t, err)
	if s := m.read(got[0], "out"); s != "/a:\nin\no\n\n/a/in:\ni\n" {
		t.Errorf("%q", s)
	}
	rel := sh("pwd > /out; ls rel >> /out", with(&pb.Mount{Input: 1, Dest: "rel", Output: -1, Readonly: true}))
	rel.Meta.Cwd = "/work"
	got, err = m.exec(rel, m.base, inner)
	noError(t, err)
	if s := m.read(got[0], "out"); s != "/work\ni\n" {
		t.Errorf("relative to the working directory: %q", s)
	}
}

func TestTmpfs(t *testing.T) {
	m := newMachine(t)
	tmp := func(dest string, size int64) func(*pb.ExecOp) {
		return with(&pb.Mount{Input: -1, Output: -1, Dest: dest, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: size}})
	}
	got := m.run("echo x > /t/x; grep ' /t ' /proc/mounts > /out; df -k /dev/shm | grep -o 4096.*0 >> /out; dd if=/dev/zero of=/t/big bs=1024 count=2048 2>/dev/null || echo full >> /out",
		tmp("/t", 1<<20), tmp("/dev/shm", 4<<20))
	for _, want := range []string{"tmpfs /t tmpfs", "size=1024k", "nosuid", "4096", "full"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func cache(id string, mode pb.CacheSharingOpt, input int64) func(*pb.ExecOp) {
	return with(&pb.Mount{Input: input, Output: -1, Dest: "/c", MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: id, Sharing: mode}})
}

func TestCacheMount(t *testing.T) {
	m := newMachine(t)
	add := "echo x >> /c/n; wc -l < /c/n > /out"
	for i := range 3 {
		if got, want := m.run(add, cache("id", pb.CacheSharingOpt_SHARED, -1)), fmt.Sprintln(i+1); got != want {
			t.Errorf("run %d: %q", i, got)
		}
	}
	if got := m.run(add, cache("other", pb.CacheSharingOpt_SHARED, -1)); got != "1\n" {
		t.Errorf("another ID: %q", got)
	}
	base := m.files(map[string]string{"n": "1\n2\n"})
	for i := range 2 {
		out, err := m.exec(sh(add, cache("based", pb.CacheSharingOpt_LOCKED, 1)), m.base, base)
		noError(t, err)
		if got, want := m.read(out[0], "out"), fmt.Sprintln(i+3); got != want {
			t.Errorf("with a base, run %d: %q", i, got)
		}
	}
	if got := m.read(base, "n"); got != "1\n2\n" {
		t.Errorf("the base was changed: %q", got)
	}
	// What a step that failed has put into it stays: that is what it is for.
	if _, err := m.exec(sh("echo x >> /c/n; exit 1", cache("id", pb.CacheSharingOpt_SHARED, -1)), m.base); err == nil {
		t.Error("no error")
	}
	if got := m.run(add, cache("id", pb.CacheSharingOpt_SHARED, -1)); got != "5\n" {
		t.Errorf("after a failure: %q", got)
	}
}

// Steps that lock a cache mount run one after the other, and one that waits for it
// can be cancelled.
func TestLockedCacheMount(t *testing.T) {
	m := newMachine(t)
	locked := cache("locked", pb.CacheSharingOpt_LOCKED, -1)
	alone := "mkdir /c/lock && sleep 0.2 && rm -r /c/lock"
	var g errgroup.Group
	for range 3 {
		g.Go(func() error {
			_, err := m.exec(sh(alone, locked), m.base)
			return err
		})
	}
	noError(t, g.Wait())

	held, err := m.store.CacheMount(m.ctx, "locked", nil, "locked")
	noError(t, err)
	ctx, cancel := context.WithCancel(m.ctx)
	defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
	if _, err := m.execContext(ctx, sh("true", locked), m.base); !errors.Is(err, context.Canceled) {
		t.Errorf("the one that waits: %v", err)
	}
	noError(t, held.Release(m.ctx))
	if _, err := m.exec(sh("true", locked), m.base); err != nil {
		t.Errorf("when it is free: %v", err)
	}
}

func TestRefusedMounts(t *testing.T) {
	m := newMachine(t)
	for want, op := range map[string]*pb.ExecOp{
		"0 root":            {Meta: &pb.Meta{Args: []string{"x"}}, Mounts: []*pb.Mount{{Input: 0, Dest: "/a"}}},
		"2 root":            sh("", with(&pb.Mount{Input: 0, Dest: "/", Output: 1})),
		"input 1":           sh("", with(&pb.Mount{Input: 1, Dest: "/a", Output: -1})),
		"input -2":          sh("", with(&pb.Mount{Input: -2, Dest: "/a", Output: -1})),
		"both output 0":     sh("", with(&pb.Mount{Input: 0, Dest: "/a"})),
		"none of them":      sh("", with(&pb.Mount{Input: 0, Dest: "/a", Output: 5})),
		"output -2":         sh("", with(&pb.Mount{Input: 0, Dest: "/a", Output: -2})),
		"hide the root":     sh("", with(&pb.Mount{Input: 0, Dest: "/a/..", Output: -1})),
		"mount type 9":      sh("", with(&pb.Mount{Input: -1, Dest: "/a", Output: -1, MountType: 9})),
		"cache mount needs": sh("", with(&pb.Mount{Input: -1, Dest: "/a", Output: -1, MountType: pb.MountType_CACHE})),
		"sharing mode 7":    sh("", cache("id", 7, -1)),
		"ID of a secret":    sh("", with(&pb.Mount{Input: -1, Dest: "/a", Output: -1, MountType: pb.MountType_SECRET})),
		"its options":       sh("", with(&pb.Mount{Input: -1, Dest: "/a", Output: -1, MountType: pb.MountType_SSH})),
		"-5 bytes":          sh("", with(&pb.Mount{Input: -1, Dest: "/a", Output: -1, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: -5}})),
		"cannot be a TMPFS": {Meta: &pb.Meta{Args: []string{"x"}}, Mounts: []*pb.Mount{{Input: -1, Dest: "/", MountType: pb.MountType_TMPFS}}},
		"part of an input":  {Meta: &pb.Meta{Args: []string{"x"}}, Mounts: []*pb.Mount{{Input: 0, Dest: "/", Selector: "/a"}}},
		"keyed by content":  sh("", with(&pb.Mount{Input: 0, Dest: "/a", Selector: "/x", Output: 1, ContentCache: pb.MountContentCache_ON})),
		"no program":        {Mounts: []*pb.Mount{{Input: 0, Dest: "/"}}},
		"is empty":          {Meta: &pb.Meta{Args: []string{"x"}}, Mounts: []*pb.Mount{nil}},
		"no IP address":     sh("", func(op *pb.ExecOp) { op.Meta.ExtraHosts = []*pb.HostIP{{Host: "h", IP: "x"}} }),
		"for an extra host": sh("", func(op *pb.ExecOp) { op.Meta.ExtraHosts = []*pb.HostIP{{Host: "h\n1.2.3.4 g", IP: "::1"}} }),
		"network mode 8":    sh("", func(op *pb.ExecOp) { op.Network = 8 }),
		"security mode":     sh("", func(op *pb.ExecOp) { op.Security = 8 }),
		"no name of an env": sh("", func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{ID: "i", Name: "A=B"}} }),
		"has no ID":         sh("", func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{Name: "A"}} }),
	} {
		if _, err := execop.New(op, nil, vertex{"v", 1}, m.deps); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := execop.New(nil, nil, vertex{"v", 1}, m.deps); err == nil {
		t.Error("no op is no error")
	}
}
