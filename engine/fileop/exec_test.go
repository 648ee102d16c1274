package fileop_test

import (
	"context"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/fileop"
	"golang.org/x/sys/unix"
)

// example is a run of actions on two inputs, and what should come out.
type example struct {
	name    string
	base    []string // as of files
	from    []string
	actions []*pb.FileAction
	want    string // a listing
	fails   string // or words of the error
}

func examples(t *testing.T, all []example) {
	w := newWorld(t)
	for _, x := range all {
		t.Run(x.name, func(t *testing.T) {
			defer func(outer testing.TB) { w.t = outer }(w.t)
			w.t = t
			outs, err := w.run(w.ctx, chain(2, x.actions...), w.tree(w.files(x.base...)), w.tree(w.files(x.from...)))
			if x.fails != "" {
				if err == nil || !strings.Contains(err.Error(), x.fails) {
					t.Fatalf("error %v, want %q in it", err, x.fails)
				}
				if strings.Contains(err.Error(), w.store.Path()) || strings.Contains(err.Error(), "/mounts/tree-") {
					t.Errorf("%q tells of this machine's paths", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(strings.TrimSpace(x.want), "\t", "")
			if got := w.list(outs[0]); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestMkdir(t *testing.T) {
	owned := func(u, g *pb.UserOpt) *pb.FileActionMkDir {
		return &pb.FileActionMkDir{Path: "/d", Mode: 0o755, Owner: &pb.ChownOpt{User: u, Group: g}}
	}
	passwd := []string{"etc/passwd", "root:x:0:0::/:\nbob:x:7:8::/:\n", "etc/group", "root:x:0:\nwheel:x:9:\n"}
	etc := "\ndrwxr-xr-x 0:0 etc\n-rw-r--r-- 0:0 etc/group root:x:0:\nwheel:x:9:\n\n-rw-r--r-- 0:0 etc/passwd root:x:0:0::/:\nbob:x:7:8::/:"
	examples(t, []example{
		{name: "one", actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/d", Mode: 0o2770})}, want: "drwxrwx--- 0:0 d"},
		{name: "parents", actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/a/b", Mode: 0o777, MakeParents: true})}, want: "drwxrwxrwx 0:0 a\ndrwxrwxrwx 0:0 a/b"},
		{name: "no parents", actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/a/b", Mode: 0o777})}, fails: "mkdir /a/b: "},
		{name: "there already", base: []string{"d/", "0700 1:2 "}, actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/d", Mode: 0o755})}, want: "drwx------ 1:2 d"},
		{name: "the root", actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/", Mode: 0o755, MakeParents: true})}},
		{name: "a file is there", base: []string{"d", "x"}, actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/d", Mode: 0o755})}, fails: "file exists"},
		{name: "below a file", base: []string{"d", "x"}, actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/d/e", Mode: 0o755, MakeParents: true})}, fails: "not a directory"},
		{name: "through a link", base: []string{"l", "-> /../../r", "r/", ""}, actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "/l/d", Mode: 0o755})}, want: "Lrwxrwxrwx 0:0 l -> /../../r\ndrwxr-xr-x 0:0 r\ndrwxr-xr-x 0:0 r/d"},
		{name: "climbing", actions: []*pb.FileAction{mkdir(&pb.FileActionMkDir{Path: "../../d", Mode: 0o755})}, want: "drwxr-xr-x 0:0 d"},
		{name: "by number", actions: []*pb.FileAction{mkdir(owned(byID(5), nil))}, want: "drwxr-xr-x 5:5 d"},
		{name: "by numbers", actions: []*pb.FileAction{mkdir(owned(byID(5), byID(6)))}, want: "drwxr-xr-x 5:6 d"},
		{name: "by name", base: passwd, actions: []*pb.FileAction{mkdir(owned(byName("bob", 0), nil))}, want: "drwxr-xr-x 7:8 d" + etc},
		{name: "by names", base: passwd, actions: []*pb.FileAction{mkdir(owned(byName("bob", 0), byName("wheel", 0)))}, want: "drwxr-xr-x 7:9 d" + etc},
		{name: "by a name of another input", from: passwd, actions: []*pb.FileAction{mkdir(owned(byName("bob", 1), byID(1)))}, want: "drwxr-xr-x 7:1 d"},
		{name: "no such user", base: passwd, actions: []*pb.FileAction{mkdir(owned(byName("eve", 0), nil))}, fails: `user "eve" is not in /etc/passwd`},
		{name: "no such group", base: passwd, actions: []*pb.FileAction{mkdir(owned(nil, byName("eve", 0)))}, fails: `group "eve" is not in /etc/group`},
		{name: "no users", actions: []*pb.FileAction{mkdir(owned(byName("bob", 0), nil))}, fails: "there is no /etc/passwd to look it up in"},
		{name: "users that lead out", base: []string{"etc", "-> /../../../../run"}, actions: []*pb.FileAction{mkdir(owned(byName("root", 0), nil))}, fails: "there is no /etc/passwd"},
		{name: "users that are a directory", base: []string{"etc/passwd/", ""}, actions: []*pb.FileAction{mkdir(owned(byName("root", 0), nil))}, fails: "not a file that can be read"},
	})
}

func TestMkfile(t *testing.T) {
	examples(t, []example{
		{name: "new", actions: []*pb.FileAction{mkfile("/f", "x", 0o640)}, want: "-rw-r----- 0:0 f x"},
		{name: "replaced", base: []string{"f", "0600 1:1 old"}, actions: []*pb.FileAction{mkfile("/f", "x", 0o644)}, want: "-rw-r--r-- 0:0 f x"},
		{name: "through a link", base: []string{"f", "-> ../../g"}, actions: []*pb.FileAction{mkfile("/f", "x", 0o644)}, want: "Lrwxrwxrwx 0:0 f -> ../../g\n-rw-r--r-- 0:0 g x"},
		{name: "a directory is there", base: []string{"f/", ""}, actions: []*pb.FileAction{mkfile("/f", "x", 0o644)}, fails: "mkfile /f: replace /f: is a directory"},
		{name: "no parent", actions: []*pb.FileAction{mkfile("/d/f", "x", 0o644)}, fails: "there is no directory /d"},
	})
}

// A device that is there must not be written to: it is this machine's.
func TestMkfileReplacesADevice(t *testing.T) {
	w := newWorld(t)
	base := w.tree(func(dir string) {
		if err := unix.Mknod(filepath.Join(dir, "f"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
	})
	outs, err := w.run(w.ctx, chain(1, mkfile("/f", "x", 0o644)), base)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.list(outs[0]); got != "-rw-r--r-- 0:0 f x" {
		t.Error(got)
	}
}

func TestSymlinkAndRm(t *testing.T) {
	base := []string{"a/x.go", "1", "a/y.go", "2", "a/z", "3", "l", "-> /a", "out", "-> /../../../../../tmp"}
	list := "drwxr-xr-x 0:0 a\n-rw-r--r-- 0:0 a/x.go 1\n-rw-r--r-- 0:0 a/y.go 2\n-rw-r--r-- 0:0 a/z 3\nLrwxrwxrwx 0:0 l -> /a\nLrwxrwxrwx 0:0 out -> /../../../../../tmp"
	without := func(lines ...int) string {
		var keep []string
		for i, l := range strings.Split(list, "\n") {
			drop := false
			for _, n := range lines {
				drop = drop || i == n
			}
			if !drop {
				keep = append(keep, l)
			}
		}
		return strings.Join(keep, "\n")
	}
	del := func(p string, notFound, wild bool) []*pb.FileAction {
		return []*pb.FileAction{rm(&pb.FileActionRm{Path: p, AllowNotFound: notFound, AllowWildcard: wild})}
	}
	examples(t, []example{
		{name: "link", base: []string{"a/", ""}, actions: []*pb.FileAction{symlink("/a/l", "../../outside")}, want: "drwxr-xr-x 0:0 a\nLrwxrwxrwx 0:0 a/l -> ../../outside"},
		{name: "link that is there", base: base, actions: []*pb.FileAction{symlink("/l", "/z")}, fails: "symlink /l: file exists"},
		{name: "link without parent", actions: []*pb.FileAction{symlink("/d/l", "/z")}, fails: "there is no directory /d"},
		{name: "file", base: base, actions: del("/a/z", false, false), want: without(3)},
		{name: "directory", base: base, actions: del("a", false, false), want: without(0, 1, 2, 3)},
		{name: "a link, not what it names", base: base, actions: del("/l", false, false), want: without(4)},
		{name: "through a link", base: base, actions: del("/l/z", false, false), want: without(3)},
		{name: "through a link out", base: base, actions: del("/out/*", false, true), want: list},
		{name: "missing", base: base, actions: del("/b", false, false), fails: "rm /b: "},
		{name: "missing is fine", base: base, actions: del("/b", true, false), want: list},
		{name: "wildcard", base: base, actions: del("/a/*.go", false, true), want: without(1, 2)},
		{name: "wildcard of directories", base: base, actions: del("/?/z", false, true), want: without(3)},
		{name: "wildcard taken literally", base: base, actions: del("/a/*.go", true, false), want: list},
		{name: "bad wildcard", base: base, actions: del("/a/[", false, true), fails: "syntax error in pattern"},
		{name: "the root", base: base, actions: del("/a/..", false, false), fails: "root of the tree"},
	})
}

func TestTimestamps(t *testing.T) {
	w := newWorld(t)
	const when = 1_000_000_000 * 1e9
	d := mkdir(&pb.FileActionMkDir{Path: "/d", Mode: 0o755, Timestamp: when})
	f := mkfile("/f", "x", 0o644)
	f.GetMkfile().Timestamp = when
	l := symlink("/l", "f")
	l.GetSymlink().Timestamp = when
	c := cp("/src", "/new/c", func(c *pb.FileActionCopy) { c.Timestamp = when })
	outs, err := w.run(w.ctx, chain(2, d, f, l, c), w.tree(w.files()), w.tree(w.files("src/x", "x")))
	if err != nil {
		t.Fatal(err)
	}
	w.mounted(outs[0], true, func(dir string) {
		for _, p := range []string{"d", "f", "l", "new", "new/c/x"} {
			fi, err := os.Lstat(filepath.Join(dir, p))
			if err != nil {
				t.Error(err)
			} else if fi.ModTime().UnixNano() != when {
				t.Errorf("%s is of %v", p, fi.ModTime())
			}
		}
	})
}

func TestActionError(t *testing.T) {
	w := newWorld(t)
	_, err := w.run(w.ctx, chain(1, mkfile("/a", "", 0o644), rm(&pb.FileActionRm{Path: "/b"})), w.tree(w.files()))
	e, ok := errors.AsType[*fileop.ActionError](err)
	if !ok || e.Index != 1 || e.Action != "rm /b" || !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("%T %v", err, err)
	}
}

// Actions may use each other's results, more than once, and give several outputs.
func TestGraphOfActions(t *testing.T) {
	w := newWorld(t)
	base := w.tree(w.files("base", ""))
	a := mkfile("/a", "a", 0o644) // 1: used twice
	a.Output = -1
	b := mkfile("/b", "b", 0o644) // 2: an output that is used
	b.Input, b.Output = 1, 1
	c := cp("/b", "/copied") // 3: from one action's result into another's
	c.Input, c.SecondaryInput, c.Output = 1, 2, 0
	dead := rm(&pb.FileActionRm{Path: "/nothing"}) // 4: would fail if anybody needed it
	dead.Input, dead.Output = 1, -1
	itself := cp("/b", "/b2") // 5: a tree into itself
	itself.Input, itself.SecondaryInput, itself.Output = 2, 2, 2
	scratch := mkfile("/only", "", 0o644)
	scratch.Input, scratch.Output = -1, 3
	outs, err := w.run(w.ctx, []*pb.FileAction{a, b, c, dead, itself, scratch}, base)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"-rw-r--r-- 0:0 a a\n-rw-r--r-- 0:0 base \n-rw-r--r-- 0:0 copied b",
		"-rw-r--r-- 0:0 a a\n-rw-r--r-- 0:0 b b\n-rw-r--r-- 0:0 base",
		"-rw-r--r-- 0:0 a a\n-rw-r--r-- 0:0 b b\n-rw-r--r-- 0:0 b2 b\n-rw-r--r-- 0:0 base",
		"-rw-r--r-- 0:0 only",
	} {
		if got := w.list(outs[i]); got != want {
			t.Errorf("output %d:\n%s\nwant\n%s", i, got, want)
		}
	}
	if got := w.list(base); got != "-rw-r--r-- 0:0 base" {
		t.Errorf("the input was changed:\n%s", got)
	}
}

// A chain of actions that only its end is seen of is one tree.
func TestChainsAreOneTree(t *testing.T) {
	w := newWorld(t)
	var actions []*pb.FileAction
	for _, p := range []string{"/a", "/b", "/c", "/d"} {
		actions = append(actions, mkfile(p, "", 0o644))
	}
	if _, err := w.run(w.ctx, chain(1, actions...), w.tree(w.files())); err != nil {
		t.Fatal(err)
	}
	all, err := w.store.Du(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Errorf("%d records, want the input and the output", len(all))
	}
}

// Wherever a run fails, nothing is held and nothing mounted: the world checks it.
func TestNothingIsLeaked(t *testing.T) {
	w := newWorld(t)
	base, from := w.tree(w.files("etc/passwd", "bob:x:1:1::/:\n")), w.tree(w.files("f", "x"))
	good := func() []*pb.FileAction {
		out := mkfile("/out", "", 0o644)
		out.Output = 0
		a := cp("/f", "/g", func(c *pb.FileActionCopy) { c.Owner = &pb.ChownOpt{User: byName("bob", 0)} })
		a.Input, a.Output = 2, -1
		b := mkfile("/h", "", 0o644)
		b.Input, b.Output = 3, 1
		return []*pb.FileAction{out, a, b}
	}
	if _, err := w.run(w.ctx, good(), base, from); err != nil {
		t.Fatal(err)
	}
	for i := range good() {
		actions := good()
		bad := rm(&pb.FileActionRm{Path: "/missing"})
		bad.Input, bad.Output = actions[i].Input, actions[i].Output
		actions[i] = bad
		if _, err := w.run(w.ctx, actions, base, from); err == nil {
			t.Errorf("action %d: no error", i)
		}
	}
	ctx, cancel := context.WithCancelCause(w.ctx)
	stop := errors.New("stop")
	cancel(stop)
	if _, err := w.run(ctx, good(), base, from); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
}

// A umask of the process is no part of an op.
func TestUmask(t *testing.T) {
	w := newWorld(t)
	defer syscall.Umask(syscall.Umask(0o077))
	outs, err := w.run(w.ctx, chain(2,
		mkdir(&pb.FileActionMkDir{Path: "/d", Mode: 0o777}), mkfile("/f", "", 0o666), cp("/s", "/x/y/z"),
	), w.tree(w.files()), w.tree(w.files("s/", "")))
	if err != nil {
		t.Fatal(err)
	}
	want := "drwxrwxrwx 0:0 d\n-rw-rw-rw- 0:0 f \ndrwxr-xr-x 0:0 x\ndrwxr-xr-x 0:0 x/y\ndrwxr-xr-x 0:0 x/y/z"
	if got := w.list(outs[0]); got != want {
		t.Errorf("got\n%s", got)
	}
}
