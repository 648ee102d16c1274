package fileop_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"
)

type copyOpt = func(*pb.FileActionCopy)

func noFollow(c *pb.FileActionCopy)  { c.FollowSymlink = false }
func wholeDir(c *pb.FileActionCopy)  { c.DirCopyContents = false }
func noCreate(c *pb.FileActionCopy)  { c.CreateDestPath = false }
func emptyWild(c *pb.FileActionCopy) { c.AllowEmptyWildcard = true }
func literal(c *pb.FileActionCopy)   { c.AllowWildcard = false }
func replace(c *pb.FileActionCopy)   { c.AlwaysReplaceExistingDestPaths = true }

func mode(m int32) copyOpt        { return func(c *pb.FileActionCopy) { c.Mode = m } }
func modeStr(m string) copyOpt    { return func(c *pb.FileActionCopy) { c.ModeStr = m } }
func include(p ...string) copyOpt { return func(c *pb.FileActionCopy) { c.IncludePatterns = p } }
func exclude(p ...string) copyOpt { return func(c *pb.FileActionCopy) { c.ExcludePatterns = p } }
func needs(p ...string) copyOpt   { return func(c *pb.FileActionCopy) { c.RequiredPaths = p } }
func chown(u, g *pb.UserOpt) copyOpt {
	return func(c *pb.FileActionCopy) { c.Owner = &pb.ChownOpt{User: u, Group: g} }
}

func TestCopy(t *testing.T) {
	one := func(src, dest string, change ...copyOpt) []*pb.FileAction {
		return []*pb.FileAction{cp(src, dest, change...)}
	}
	from := []string{"a/x.go", "0640 1:2 x", "a/y.txt", "y", "a/sub/z.go", "z", "b/x.go", "bx", "l", "-> /a", "file", "-> a/x.go", "gone", "-> /nowhere"}
	x := "-rw-r----- 1:2 "
	examples(t, []example{
		{name: "file", from: from, actions: one("/a/x.go", "/f"), want: x + "f x"},
		{name: "file into directory", from: from, base: []string{"d/", ""}, actions: one("a/x.go", "d"), want: "drwxr-xr-x 0:0 d\n" + x + "d/x.go x"},
		{name: "file into new directory", from: from, actions: one("a/x.go", "d/"), want: "drwxr-xr-x 0:0 d\n" + x + "d/x.go x"},
		{name: "directory's content", from: from, actions: one("/a/sub", "/d"), want: "drwxr-xr-x 0:0 d\n-rw-r--r-- 0:0 d/z.go z"},
		{name: "directory", from: from, base: []string{"d/", ""}, actions: one("/a/sub", "/d", wholeDir), want: "drwxr-xr-x 0:0 d\ndrwxr-xr-x 0:0 d/sub\n-rw-r--r-- 0:0 d/sub/z.go z"},
		{name: "dot", from: from, base: []string{"d/", ""}, actions: one("/a/sub/.", "/d", wholeDir), want: "drwxr-xr-x 0:0 d\n-rw-r--r-- 0:0 d/z.go z"},
		{name: "no parents", from: from, actions: one("/a/x.go", "/p/f", noCreate), fails: "there is no directory /p"},
		{name: "missing", from: from, actions: one("/c", "/d", literal), fails: `copy /c /d: "/c": not found in the result of the test's file op`},
		{name: "missing, wildcards allowed", from: from, actions: one("/c", "/d", emptyWild), fails: `"/c": not found`},
		{name: "dangling link", from: from, actions: one("/gone", "/d"), fails: `"/gone": not found`},
		{name: "dangling link as it is", from: from, actions: one("/gone", "/d", noFollow), want: "Lrwxrwxrwx 0:0 d -> /nowhere"},
		{name: "link", from: from, actions: one("/file", "/f"), want: x + "f x"},
		{name: "link to directory", from: from, actions: one("/l/sub", "/f"), want: "drwxr-xr-x 0:0 f\n-rw-r--r-- 0:0 f/z.go z"},
		{name: "link as it is", from: from, actions: one("/file", "/f", noFollow), want: "Lrwxrwxrwx 0:0 f -> a/x.go"},
		{name: "wildcard", from: from, actions: one("/*/x.go", "/d/"), want: "drwxr-xr-x 0:0 d\n-rw-r--r-- 0:0 d/x.go bx"},
		{name: "wildcard of one", from: from, actions: one("/a/*.go", "/d/"), want: "drwxr-xr-x 0:0 d\n" + x + "d/x.go x"},
		{name: "wildcard of none", from: from, actions: one("/a/*.c", "/d/"), fails: `"/a/*.c": not found`},
		{name: "wildcard of none is fine", from: from, actions: one("/a/*.c", "/d/", emptyWild)},
		{name: "wildcard through a link", from: from, actions: one("/l/?.txt", "/d/"), want: "drwxr-xr-x 0:0 d\n-rw-r--r-- 0:0 d/y.txt y"},
		{name: "no wildcards", from: from, actions: one("/a/*.go", "/d/", literal), fails: `"/a/*.go": not found`},
		{name: "bad wildcard", from: from, actions: one("/a/[x", "/d/"), fails: "syntax error in pattern"},
		{name: "include", from: from, actions: one("/a", "/d", include("**/*.go")), want: "drwxr-xr-x 0:0 d\ndrwxr-xr-x 0:0 d/sub\n-rw-r--r-- 0:0 d/sub/z.go z\n" + x + "d/x.go x"},
		{name: "exclude", from: from, actions: one("/a", "/d", exclude("**/*.go", "sub")), want: "drwxr-xr-x 0:0 d\n-rw-r--r-- 0:0 d/y.txt y"},
		{name: "required", from: from, actions: one("/", "/d", include("a/sub"), needs("/a/sub")), want: "drwxr-xr-x 0:0 d\ndrwxr-xr-x 0:0 d/a\ndrwxr-xr-x 0:0 d/a/sub\n-rw-r--r-- 0:0 d/a/sub/z.go z"},
		{name: "required and missing", from: from, actions: one("/", "/d", include("a/none"), needs("/a/none")), fails: `"/a/none": not found`},
		{name: "required through a link", from: from, actions: one("/", "/d", include("l/sub"), needs("/l/sub")), fails: `"/l/sub": not found`},
		{name: "required and excluded", from: from, actions: one("/", "/d", include("a/sub"), exclude("a"), needs("/a/sub")), fails: `"/a/sub" is excluded`},
		{name: "mode", from: from, actions: one("/a/x.go", "/f", mode(0o4751)), want: "urwxr-x--x 1:2 f x"},
		{name: "mode in words", from: from, actions: one("/a/x.go", "/f", modeStr("u=rwX,go=r")), want: "-rw-r--r-- 1:2 f x"},
		{name: "owner", from: from, actions: one("/a/sub", "/n/d", chown(byID(3), byID(4))), want: "drwxr-xr-x 3:4 n\ndrwxr-xr-x 3:4 n/d\n-rw-r--r-- 3:4 n/d/z.go z"},
		{name: "file over file", from: from, base: []string{"f", "old"}, actions: one("/a/x.go", "/f"), want: x + "f x"},
		{name: "file over directory", from: from, base: []string{"f/x.go/", ""}, actions: one("/a/x.go", "/f"), fails: "/f/x.go"},
		{name: "file over directory, replacing", from: from, base: []string{"f/x.go/", ""}, actions: one("/a/x.go", "/f", replace), want: "drwxr-xr-x 0:0 f\n" + x + "f/x.go x"},
		{name: "directory over file", from: from, base: []string{"d/sub", "f"}, actions: one("/a", "/d"), fails: "/d/sub"},
		{name: "directory over file, replacing", from: from, base: []string{"d/sub", "f"}, actions: one("/a/", "/d", replace, include("sub")), want: "drwxr-xr-x 0:0 d\ndrwxr-xr-x 0:0 d/sub\n-rw-r--r-- 0:0 d/sub/z.go z"},
		{name: "file over link", from: from, base: []string{"d/x.go", "-> /elsewhere"}, actions: one("/a/x.go", "/d/"), want: "drwxr-xr-x 0:0 d\n" + x + "d/x.go x"},
		{name: "twice", from: from, actions: []*pb.FileAction{cp("/a/sub", "/d"), cp("/a/sub", "/d")}, want: "drwxr-xr-x 0:0 d\n-rw-r--r-- 0:0 d/z.go z"},
	})
}

// Links of either tree end at its root, whatever they say.
func TestCopyDoesNotClimb(t *testing.T) {
	one := func(src, dest string, change ...copyOpt) []*pb.FileAction {
		return []*pb.FileAction{cp(src, dest, change...)}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := "../../../../../../../../../.."
	out := []string{"dir", "-> " + up + filepath.Dir(secret), "file", "-> " + up + secret, "abs", "-> " + secret, "in/up", "-> " + up + secret}
	examples(t, []example{
		{name: "a path", actions: one(up+secret, "/f"), fails: "not found"},
		{name: "through a directory", from: out, actions: one("/dir/secret", "/f"), fails: "not found"},
		{name: "through a link", from: out, actions: one("/file", "/f"), fails: "not found"},
		{name: "through an absolute link", from: out, actions: one("/abs", "/f"), fails: "not found"},
		{name: "with a wildcard", from: out, actions: one("/dir/*", "/f", emptyWild)},
		{name: "with a wildcard of links", from: out, actions: one("/f*", "/f"), fails: "not found"},
		{name: "links are copied as they are", from: out, actions: one("/in", "/f"), want: "drwxr-xr-x 0:0 f\nLrwxrwxrwx 0:0 f/up -> " + up + secret},
	})

	w := newWorld(t)
	for _, dest := range []string{"/file", "/dir/", "/dir/secret", "/abs", up + secret, "/dir/a/b/"} {
		if _, err := w.run(w.ctx, chain(2, cp("/x", dest)), w.tree(w.files(out...)), w.tree(w.files("x", "new"))); err != nil {
			t.Errorf("%s: %v", dest, err)
		}
	}
	// A directory of the source meets a link of the destination.
	if _, err := w.run(w.ctx, chain(2, cp("/", "/")), w.tree(w.files(out...)), w.tree(w.files("dir/secret", "new"))); err == nil {
		t.Error("a directory took the place of a link")
	}
	if dt, err := os.ReadFile(secret); err != nil || string(dt) != "s" {
		t.Errorf("the file outside is now %q, %v", dt, err)
	}
	if files, err := os.ReadDir(filepath.Dir(secret)); err != nil || len(files) != 1 {
		t.Errorf("outside: %v, %v", files, err)
	}
}

// What a plain listing does not show: hard links, times, devices, sockets, attributes.
func TestCopyKeepsWhatFilesAre(t *testing.T) {
	w := newWorld(t)
	from := w.tree(func(dir string) {
		w.files("a", "x", "d/", "")(dir)
		p := func(name string) string { return filepath.Join(dir, name) }
		for _, err := range []error{
			os.Link(p("a"), p("d/b")),
			unix.Mknod(p("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
			unix.Mknod(p("d/disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(4095, 1048575))),
			os.Lchown(p("d/disk"), 6, 7),
			os.Chmod(p("d/disk"), 0o640),
			os.Chtimes(p("d/disk"), timeOf(5), timeOf(8)),
			os.Chtimes(p("d"), timeOf(5), timeOf(9)),
			unix.Mkfifo(p("fifo"), 0o600),
			unix.Setxattr(p("a"), "user.k", []byte("v"), 0),
			unix.Setxattr(p("d"), "trusted.t", []byte("w"), 0),
			os.Chtimes(p("a"), timeOf(5), timeOf(7)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	outs, err := w.run(w.ctx, chain(2, cp("/", "/c")), w.tree(w.files()), from)
	if err != nil {
		t.Fatal(err)
	}
	w.mounted(outs[0], true, func(dir string) {
		stat := func(name string) *syscall.Stat_t {
			fi, err := os.Lstat(filepath.Join(dir, "c", name))
			if err != nil {
				t.Fatal(err)
			}
			return fi.Sys().(*syscall.Stat_t)
		}
		if a := stat("a"); a.Ino != stat("d/b").Ino || a.Nlink != 2 || a.Mtim.Sec != 7 {
			t.Errorf("a: %+v", a)
		}
		if n := stat("null"); n.Mode&syscall.S_IFMT != syscall.S_IFCHR || n.Rdev != unix.Mkdev(1, 3) {
			t.Errorf("null: %+v", n)
		}
		if n := stat("d/disk"); n.Mode != syscall.S_IFBLK|0o640 || n.Rdev != unix.Mkdev(4095, 1048575) || n.Uid != 6 || n.Mtim.Sec != 8 {
			t.Errorf("disk: %+v", n)
		}
		if n := stat("d"); n.Mtim.Sec != 9 {
			t.Errorf("the folder of the disk: %+v", n)
		}
		if stat("fifo").Mode&syscall.S_IFMT != syscall.S_IFIFO {
			t.Error("the fifo is none")
		}
		for name, key := range map[string]string{"a": "user.k", "d": "trusted.t"} {
			buf := make([]byte, 8)
			if n, err := unix.Getxattr(filepath.Join(dir, "c", name), key, buf); err != nil || n != 1 {
				t.Errorf("%s of %s: %q, %v", key, name, buf[:max(n, 0)], err)
			}
		}
	})
}
