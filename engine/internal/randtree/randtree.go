// Package randtree makes random trees of files, edits them in ways that are easy to
// overlook, and says in words what is in them. Tests compare digests with that.
package randtree

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Names are few, so that edits meet each other, and some of them are strange.
var Names = []string{"a", "b", "c.txt", "d.txt", ".e", "f g", "h\ni", "\xff\xfe", "é", "[j]", "*", "-"}

// LongAgo is when everything was last changed.
var LongAgo = time.Unix(1_000_000_000, 123456789)

// Tree is a tree of files in a temporary directory.
type Tree struct {
	// Root is where it is.
	Root string
	// Log says what was done to it.
	Log []string

	t testing.TB
	r *rand.Rand
}

// New makes a tree. All that is random about it comes from r.
func New(t testing.TB, r *rand.Rand) *Tree {
	x := &Tree{t: t, r: r, Root: t.TempDir()}
	x.do(os.Chmod(x.Root, 0o755))
	for range 12 {
		x.Edit()
	}
	return x
}

func (x *Tree) do(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatalf("%v after\n%s", err, strings.Join(x.Log, "\n"))
	}
}

// At is the tree of a directory that was filled elsewhere.
func At(t testing.TB, r *rand.Rand, root string) *Tree { return &Tree{t: t, r: r, Root: root} }

// Paths returns all paths of some kinds, in the order of a walk; the root is "". Kinds
// are letters as find(1) has them: f, d, l, p, c.
func (x *Tree) Paths(kinds string) (found []string) {
	x.do(filepath.WalkDir(x.Root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.IndexByte(kinds, kindOf(d.Type())) >= 0 {
			found = append(found, strings.TrimPrefix(strings.TrimPrefix(p, x.Root), "/"))
		}
		return nil
	}))
	return found
}

// Any returns some path of some kinds that is not the root, if there is one.
func (x *Tree) Any(kinds string) (string, bool) {
	ps := x.Paths(kinds)
	ps = slices.DeleteFunc(ps, func(p string) bool { return p == "" })
	if len(ps) == 0 {
		return "", false
	}
	return ps[x.r.IntN(len(ps))], true
}

func kindOf(m fs.FileMode) byte {
	switch m.Type() {
	case 0:
		return 'f'
	case fs.ModeDir:
		return 'd'
	case fs.ModeSymlink:
		return 'l'
	case fs.ModeNamedPipe:
		return 'p'
	}
	return 'c'
}

// fresh returns a path that is free.
func (x *Tree) fresh() (string, bool) {
	dirs := x.Paths("d")
	p := filepath.Join(dirs[x.r.IntN(len(dirs))], Names[x.r.IntN(len(Names))])
	_, err := os.Lstat(x.abs(p))
	return p, err != nil && strings.Count(p, "/") < 5
}

func (x *Tree) abs(p string) string { return filepath.Join(x.Root, p) }

// Edit changes something, or nothing, and hides it from those who go by times of
// modification: files that are written over keep theirs, all else has one that never
// changes.
func (x *Tree) Edit() {
	edits := []func() string{x.create, x.create, x.mkdir, x.symlink, x.fifo, x.link, x.overwrite, x.overwrite, x.remove, x.rename, x.swap, x.chmod, x.chown, x.xattr, x.node}
	what := edits[x.r.IntN(len(edits))]()
	if what == "" {
		return
	}
	x.Log = append(x.Log, what)
	for _, p := range x.Paths("fdlpcb") {
		fi, err := os.Lstat(x.abs(p))
		x.do(err)
		if fi.ModTime().Equal(LongAgo) {
			continue
		}
		ts := unix.NsecToTimespec(LongAgo.UnixNano())
		x.do(unix.UtimesNanoAt(unix.AT_FDCWD, x.abs(p), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func (x *Tree) bytes() []byte { return []byte([]string{"", "x", "y", "xy", "yx"}[x.r.IntN(5)]) }

func (x *Tree) create() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	b := x.bytes()
	x.do(os.WriteFile(x.abs(p), b, 0o644))
	return fmt.Sprintf("create %q with %q", p, b)
}

func (x *Tree) mkdir() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	x.do(os.Mkdir(x.abs(p), 0o755))
	return fmt.Sprintf("mkdir %q", p)
}

func (x *Tree) symlink() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	target := []string{"a", "/b", "../a", "../../..", "c.txt", "/a/b", "nowhere", p}[x.r.IntN(8)]
	x.do(os.Symlink(target, x.abs(p)))
	return fmt.Sprintf("symlink %q to %q", p, target)
}

func (x *Tree) fifo() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	x.do(syscall.Mkfifo(x.abs(p), 0o644))
	return fmt.Sprintf("fifo %q", p)
}

func (x *Tree) node() string {
	p, ok := x.fresh()
	if !ok || os.Geteuid() != 0 {
		return ""
	}
	minor := uint32(3 + 2*x.r.IntN(2)) // null and zero
	x.do(syscall.Mknod(x.abs(p), syscall.S_IFCHR|0o644, int(unix.Mkdev(1, minor))))
	return fmt.Sprintf("device %q, minor %d", p, minor)
}

func (x *Tree) link() string {
	from, ok := x.Any("f")
	p, ok2 := x.fresh()
	if !ok || !ok2 {
		return ""
	}
	x.do(os.Link(x.abs(from), x.abs(p)))
	return fmt.Sprintf("link %q to %q", p, from)
}

func (x *Tree) overwrite() string {
	p, ok := x.Any("f")
	if !ok {
		return ""
	}
	fi, err := os.Lstat(x.abs(p))
	x.do(err)
	b := x.bytes()
	if fi.Size() > 0 && x.r.IntN(3) > 0 {
		b = []byte(strings.Repeat("xyz", 3)[x.r.IntN(3):][:fi.Size()])
	}
	x.do(os.WriteFile(x.abs(p), b, 0o644))
	return fmt.Sprintf("overwrite %q with %q", p, b)
}

func (x *Tree) remove() string {
	p, ok := x.Any("fdlpc")
	if !ok || x.r.IntN(2) == 0 {
		return ""
	}
	x.do(os.RemoveAll(x.abs(p)))
	return fmt.Sprintf("remove %q", p)
}

func (x *Tree) rename() string {
	from, ok := x.Any("fdlpc")
	p, ok2 := x.fresh()
	if !ok || !ok2 || strings.HasPrefix(p, from+"/") {
		return ""
	}
	err := os.Rename(x.abs(from), x.abs(p))
	if errors.Is(err, unix.EXDEV) { // a directory of a lower folder of an overlay
		return ""
	}
	x.do(err)
	return fmt.Sprintf("rename %q to %q", from, p)
}

func (x *Tree) swap() string {
	a, ok := x.Any("f")
	b, ok2 := x.Any("f")
	if !ok || !ok2 {
		return ""
	}
	x.do(unix.Renameat2(unix.AT_FDCWD, x.abs(a), unix.AT_FDCWD, x.abs(b), unix.RENAME_EXCHANGE))
	return fmt.Sprintf("swap %q and %q", a, b)
}

func (x *Tree) chmod() string {
	p, ok := x.Any("fdpc")
	if !ok {
		return ""
	}
	mode := []uint32{0o644, 0o755, 0o700, 0o4755, 0o2755, 0o1777}[x.r.IntN(6)]
	x.do(syscall.Chmod(x.abs(p), mode))
	return fmt.Sprintf("chmod %q to %o", p, mode)
}

func (x *Tree) chown() string {
	p, ok := x.Any("fdlpc")
	if !ok || os.Geteuid() != 0 {
		return ""
	}
	uid, gid := x.r.IntN(2), x.r.IntN(2)
	x.do(os.Lchown(x.abs(p), uid, gid))
	return fmt.Sprintf("chown %q to %d:%d", p, uid, gid)
}

func (x *Tree) xattr() string {
	p, ok := x.Any("fd")
	if !ok {
		return ""
	}
	v := []string{"", "1", "2"}[x.r.IntN(3)]
	x.do(unix.Setxattr(x.abs(p), "user.tenon", []byte(v), 0))
	return fmt.Sprintf("xattr %q is %q", p, v)
}
