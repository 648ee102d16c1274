package contenthash

import (
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

	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"
)

// names are few, so that edits meet each other, and some of them are strange.
var names = []string{"a", "b", "c.txt", "d.txt", ".e", "f g", "h\ni", "\xff\xfe", "é", "[j]", "*", "-"}

var longAgo = time.Unix(1_000_000_000, 123456789)

// randTree makes and edits a tree of files.
type randTree struct {
	t    testing.TB
	r    *rand.Rand
	root string
	log  []string
}

func newRandTree(t testing.TB, r *rand.Rand) *randTree {
	x := &randTree{t: t, r: r, root: t.TempDir()}
	x.do(os.Chmod(x.root, 0o755))
	for range 12 {
		x.edit()
	}
	return x
}

func (x *randTree) do(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatalf("%v after\n%s", err, strings.Join(x.log, "\n"))
	}
}

// paths returns all paths of some kinds, in the order of a walk; "" means the root.
func (x *randTree) paths(kinds string) (found []string) {
	x.do(filepath.WalkDir(x.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.IndexByte(kinds, byte(KindOf(d.Type()))) >= 0 {
			found = append(found, strings.TrimPrefix(strings.TrimPrefix(p, x.root), "/"))
		}
		return nil
	}))
	return found
}

func (x *randTree) any(kinds string) (string, bool) {
	ps := x.paths(kinds)
	ps = slices.DeleteFunc(ps, func(p string) bool { return p == "" })
	if len(ps) == 0 {
		return "", false
	}
	return ps[x.r.IntN(len(ps))], true
}

// fresh returns a path that is free.
func (x *randTree) fresh() (string, bool) {
	dirs := x.paths("d")
	p := filepath.Join(dirs[x.r.IntN(len(dirs))], names[x.r.IntN(len(names))])
	_, err := os.Lstat(x.abs(p))
	return p, err != nil && strings.Count(p, "/") < 5
}

func (x *randTree) abs(p string) string { return filepath.Join(x.root, p) }

// edit changes something, or nothing, and puts the times back: of a file that is
// written over, its own; of everything else, one for all.
func (x *randTree) edit() {
	edits := []func() string{x.create, x.create, x.mkdir, x.symlink, x.fifo, x.link, x.overwrite, x.overwrite, x.remove, x.rename, x.swap, x.chmod, x.chown, x.xattr, x.node}
	what := edits[x.r.IntN(len(edits))]()
	if what == "" {
		return
	}
	x.log = append(x.log, what)
	for _, p := range x.paths("fdlpcb") {
		ts := unix.NsecToTimespec(longAgo.UnixNano())
		x.do(unix.UtimesNanoAt(unix.AT_FDCWD, x.abs(p), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func (x *randTree) bytes() []byte { return []byte([]string{"", "x", "y", "xy", "yx"}[x.r.IntN(5)]) }

func (x *randTree) create() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	b := x.bytes()
	x.do(os.WriteFile(x.abs(p), b, 0o644))
	return fmt.Sprintf("create %q with %q", p, b)
}

func (x *randTree) mkdir() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	x.do(os.Mkdir(x.abs(p), 0o755))
	return fmt.Sprintf("mkdir %q", p)
}

func (x *randTree) symlink() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	target := []string{"a", "/b", "../a", "../../..", "c.txt", "/a/b", "nowhere", p}[x.r.IntN(8)]
	x.do(os.Symlink(target, x.abs(p)))
	return fmt.Sprintf("symlink %q to %q", p, target)
}

func (x *randTree) fifo() string {
	p, ok := x.fresh()
	if !ok {
		return ""
	}
	x.do(syscall.Mkfifo(x.abs(p), 0o644))
	return fmt.Sprintf("fifo %q", p)
}

func (x *randTree) node() string {
	p, ok := x.fresh()
	if !ok || os.Geteuid() != 0 {
		return ""
	}
	minor := uint32(3 + 2*x.r.IntN(2)) // null and zero
	x.do(syscall.Mknod(x.abs(p), syscall.S_IFCHR|0o644, int(unix.Mkdev(1, minor))))
	return fmt.Sprintf("device %q, minor %d", p, minor)
}

func (x *randTree) link() string {
	from, ok := x.any("f")
	p, ok2 := x.fresh()
	if !ok || !ok2 {
		return ""
	}
	x.do(os.Link(x.abs(from), x.abs(p)))
	return fmt.Sprintf("link %q to %q", p, from)
}

func (x *randTree) overwrite() string {
	p, ok := x.any("f")
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

func (x *randTree) remove() string {
	p, ok := x.any("fdlpc")
	if !ok || x.r.IntN(2) == 0 {
		return ""
	}
	x.do(os.RemoveAll(x.abs(p)))
	return fmt.Sprintf("remove %q", p)
}

func (x *randTree) rename() string {
	from, ok := x.any("fdlpc")
	p, ok2 := x.fresh()
	if !ok || !ok2 || strings.HasPrefix(p, from+"/") {
		return ""
	}
	x.do(os.Rename(x.abs(from), x.abs(p)))
	return fmt.Sprintf("rename %q to %q", from, p)
}

func (x *randTree) swap() string {
	a, ok := x.any("f")
	b, ok2 := x.any("f")
	if !ok || !ok2 {
		return ""
	}
	x.do(unix.Renameat2(unix.AT_FDCWD, x.abs(a), unix.AT_FDCWD, x.abs(b), unix.RENAME_EXCHANGE))
	return fmt.Sprintf("swap %q and %q", a, b)
}

func (x *randTree) chmod() string {
	p, ok := x.any("fdpc")
	if !ok {
		return ""
	}
	mode := []uint32{0o644, 0o755, 0o700, 0o4755, 0o2755, 0o1777}[x.r.IntN(6)]
	x.do(syscall.Chmod(x.abs(p), mode))
	return fmt.Sprintf("chmod %q to %o", p, mode)
}

func (x *randTree) chown() string {
	p, ok := x.any("fdlpc")
	if !ok || os.Geteuid() != 0 {
		return ""
	}
	uid, gid := x.r.IntN(2), x.r.IntN(2)
	x.do(os.Lchown(x.abs(p), uid, gid))
	return fmt.Sprintf("chown %q to %d:%d", p, uid, gid)
}

func (x *randTree) xattr() string {
	p, ok := x.any("fd")
	if !ok {
		return ""
	}
	v := []string{"", "1", "2"}[x.r.IntN(3)]
	x.do(unix.Setxattr(x.abs(p), "user.tenon", []byte(v), 0))
	return fmt.Sprintf("xattr %q is %q", p, v)
}

// naive says in words what is in the tree below base, which is a path without links:
// all that should count, and nothing else. It shares no code with what it checks.
func (x *randTree) naive(base string, opt Opt) string {
	var inc, exc *patternmatcher.PatternMatcher
	var err error
	if len(opt.IncludePatterns) > 0 {
		inc, err = patternmatcher.New(opt.IncludePatterns)
		x.do(err)
	}
	if len(opt.ExcludePatterns) > 0 {
		exc, err = patternmatcher.New(opt.ExcludePatterns)
		x.do(err)
	}
	lines := map[string]string{}
	chosen := map[string]bool{".": true}
	x.do(filepath.WalkDir(x.abs(base), func(p string, d fs.DirEntry, err error) error {
		x.do(err)
		rel, err := filepath.Rel(x.abs(base), p)
		x.do(err)
		lines[rel] = x.describe(p)
		if rel == "." {
			return nil
		}
		in, out := true, false
		if inc != nil {
			in, err = inc.MatchesOrParentMatches(rel)
			x.do(err)
		}
		if exc != nil {
			out, err = exc.MatchesOrParentMatches(rel)
			x.do(err)
		}
		for in && !out && rel != "." {
			chosen[rel] = true
			rel = filepath.Dir(rel)
		}
		return nil
	}))
	var all []string
	for rel := range chosen {
		all = append(all, fmt.Sprintf("%q %s", rel, lines[rel]))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (x *randTree) describe(p string) string {
	var st syscall.Stat_t
	x.do(syscall.Lstat(p, &st))
	s := fmt.Sprintf("type %o owner %d:%d ", st.Mode&syscall.S_IFMT, st.Uid, st.Gid)
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFLNK:
		target, err := os.Readlink(p)
		x.do(err)
		return s + fmt.Sprintf("to %q", target)
	case syscall.S_IFREG:
		b, err := os.ReadFile(p)
		x.do(err)
		s += fmt.Sprintf("bytes %q ", b)
	case syscall.S_IFCHR:
		s += fmt.Sprintf("device %d ", st.Rdev)
	}
	value := make([]byte, 10)
	n, err := unix.Lgetxattr(p, "user.tenon", value)
	if err == nil {
		s += fmt.Sprintf("xattr %q ", value[:n])
	}
	return s + fmt.Sprintf("mode %o", st.Mode&0o7777)
}
