package treediff_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/engine/treediff"
)

// Random trees before and after random edits: on the disk, in memory, and by looking at
// each path of both.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		x := randtree.New(t, r)
		before := filepath.Join(t.TempDir(), "before")
		if out, err := exec.Command("cp", "-a", x.Root, before).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for range r.IntN(6) {
			x.Edit()
		}
		want := naive(t, before, x.Root)
		for name, pair := range map[string][2]treediff.Tree{
			"disk":   {treediff.Dir(before, false), treediff.Dir(x.Root, false)},
			"memory": {treediff.Nodes(read(t, before, "")), treediff.Nodes(read(t, x.Root, ""))},
		} {
			var got []string
			for _, c := range compare(t, pair[0], pair[1], treediff.Options{}).Changes {
				got = append(got, fmt.Sprintf("%q %s", c.Path, c.Kind))
				// In memory the bytes are not known where only a header is: then the
				// oracle may know more.
				if kind := fmt.Sprintf("%q content", c.Path); c.BytesUnknown && slices.Contains(want, kind) {
					got = append(got, kind)
				}
				if c.BytesUnknown && name == "disk" {
					t.Errorf("%v", c)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("seed %d, %s:\n%s\nwant\n%s\nafter\n%s", seed, name, strings.Join(got, "\n"), strings.Join(want, "\n"), strings.Join(x.Log, "\n"))
			}
			renames(t, pair[0], pair[1])
		}
	}
}

// renames checks that renamings stand for what was removed and added, and that both are
// equal.
func renames(t *testing.T, old, new treediff.Tree) {
	t.Helper()
	var plain, found []string
	for _, c := range compare(t, old, new, treediff.Options{}).Changes {
		plain = append(plain, fmt.Sprintf("%q %s", c.Path, c.Kind))
	}
	for _, c := range compare(t, old, new, treediff.Options{Renames: true}).Changes {
		if c.Kind != treediff.Renamed {
			found = append(found, fmt.Sprintf("%q %s", c.Path, c.Kind))
			continue
		}
		if d := compare(t, c.OldTree, c.NewTree, treediff.Options{}); len(d.Changes) > 0 {
			t.Errorf("%v: %v", c, d.Changes)
		}
		found = append(found, fmt.Sprintf("%q removed", c.Old), fmt.Sprintf("%q added", c.New))
	}
	slices.Sort(plain)
	slices.Sort(found)
	if !slices.Equal(plain, found) {
		t.Errorf("with renamings %q, without %q", found, plain)
	}
}

// naive looks at every path of two directories.
func naive(t *testing.T, before, after string) []string {
	t.Helper()
	paths := map[string]bool{}
	for _, root := range []string{before, after} {
		err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(root, p)
			paths[rel] = true
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all := []string{}
	for p := range paths {
		if p != "." && kindIn(before, filepath.Dir(p)) != kindIn(after, filepath.Dir(p)) {
			continue // what it is in was removed, added, or is another type
		}
		for _, kind := range naiveChanges(t, filepath.Join(before, p), filepath.Join(after, p)) {
			all = append(all, fmt.Sprintf("%q %s", p, kind))
		}
	}
	slices.Sort(all)
	return all
}

func kindIn(root, p string) fs.FileMode {
	fi, err := os.Lstat(filepath.Join(root, p))
	if err != nil {
		return fs.ModeIrregular
	}
	return fi.Mode().Type()
}

func naiveChanges(t *testing.T, a, b string) (kinds []string) {
	t.Helper()
	var x, y syscall.Stat_t
	errA, errB := syscall.Lstat(a, &x), syscall.Lstat(b, &y)
	switch {
	case errA != nil:
		return []string{"added"}
	case errB != nil:
		return []string{"removed"}
	case x.Mode&syscall.S_IFMT != y.Mode&syscall.S_IFMT:
		return []string{"type"}
	}
	differs := func(kind string, yes bool) {
		if yes {
			kinds = append(kinds, kind)
		}
	}
	content := func(p string) string {
		dt, _ := os.ReadFile(p)
		return string(dt)
	}
	target := func(p string) string {
		to, _ := os.Readlink(p)
		return to
	}
	attr := func(p string) string {
		value := make([]byte, 10)
		n, err := unix.Lgetxattr(p, "user.tenon", value)
		return fmt.Sprint(err != nil, string(value[:max(n, 0)]))
	}
	isFile := x.Mode&syscall.S_IFMT == syscall.S_IFREG
	differs("content", isFile && content(a) != content(b))
	differs("mode", x.Mode != y.Mode)
	differs("owner", x.Uid != y.Uid || x.Gid != y.Gid)
	differs("target", target(a) != target(b))
	differs("device", x.Mode&syscall.S_IFMT == syscall.S_IFCHR && x.Rdev != y.Rdev)
	differs("xattr", attr(a) != attr(b))
	return kinds
}

// read makes nodes of a directory.
func read(t *testing.T, p, name string) *contenthash.Node {
	t.Helper()
	e, err := contenthash.ReadHeader(p, false)
	if err != nil {
		t.Fatal(err)
	}
	n := &contenthash.Node{Name: name, Entry: *e}
	switch e.Kind {
	case contenthash.File:
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, n.Entry.Content, err = n.Entry.SumContent(context.Background(), f); err != nil {
			t.Fatal(err)
		}
	case contenthash.Dir:
		found, err := os.ReadDir(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			n.Children = append(n.Children, read(t, filepath.Join(p, f.Name()), f.Name()))
		}
	}
	return n
}
