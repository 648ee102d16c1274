package contenthash

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/continuity/sysx"
	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"golang.org/x/sys/unix"
)

// asSeen says in words what a step sees of a tree, but for times. Linked says that files
// have several names.
func asSeen(t testing.TB, root string) (words string, linked bool) {
	t.Helper()
	names := map[uint64]string{}
	var lines []string
	check.OK(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		check.OK(t, err)
		var st unix.Stat_t
		check.OK(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("%q %o %d:%d %d", strings.TrimPrefix(path, root), st.Mode, st.Uid, st.Gid, st.Rdev)
		switch d.Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			check.OK(t, err)
			line += fmt.Sprintf(" to %q", target)
		case 0:
			b, err := os.ReadFile(path)
			check.OK(t, err)
			line += fmt.Sprintf(" %q", b)
			if first := names[st.Ino]; first != "" {
				line, linked = line+" is "+first, true
			}
			names[st.Ino] = path
		}
		attrs, err := sysx.LListxattr(path)
		check.OK(t, err)
		slices.Sort(attrs)
		for _, a := range attrs {
			if !strings.HasPrefix(a, "trusted.overlay.") && a != "security.selinux" {
				v, err := sysx.LGetxattr(path, a)
				check.OK(t, err)
				line += fmt.Sprintf(" %s=%q", a, v)
			}
		}
		lines = append(lines, strings.ReplaceAll(line, root, ""))
		return nil
	}))
	return strings.Join(lines, "\n"), linked
}

// stepEdit does what a step may do and an edit of a tree does not: it writes the same again,
// or what is seen by some programs alone.
func stepEdit(t testing.TB, r *rand.Rand, x *randtree.Tree) {
	any := func(kinds string) string {
		p, _ := x.Any(kinds)
		return filepath.Join(x.Root, p)
	}
	switch r.IntN(6) {
	case 0: // the same bytes
		p := any("f")
		if b, err := os.ReadFile(p); err == nil {
			check.OK(t, os.WriteFile(p, b, 0o644))
		}
	case 1: // the same directory, made anew
		if p := any("d"); p != x.Root {
			out, err := exec.Command("sh", "-c", `cp -a -- "$1" "$1.anew" && rm -rf -- "$1" && mv -T -- "$1.anew" "$1"`, "sh", p).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	case 2:
		acl := binary.LittleEndian.AppendUint32(nil, 2)
		for _, e := range [][3]int{{1, 6, -1}, {2, r.IntN(3), 5}, {4, 4, -1}, {16, 6, -1}, {32, 4, -1}} {
			acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
			acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
			acl = binary.LittleEndian.AppendUint32(acl, uint32(e[2]))
		}
		_ = unix.Setxattr(any("fd"), "system.posix_acl_access", acl, 0) // where there are any
	case 3:
		check.OK(t, unix.Setxattr(any("fd"), "trusted.tenon", []byte{byte(r.IntN(3))}, 0))
	case 4:
		check.OK(t, os.WriteFile(filepath.Join(x.Root, "gone"), nil, 0o644))
		check.OK(t, os.Remove(filepath.Join(x.Root, "gone")))
	case 5:
		check.OK(t, os.Chtimes(any("fd"), randtree.LongAgo, randtree.LongAgo.Add(1)))
	}
}

// Trees of one name are equal in all that a step sees, whatever they were made of. Trees
// that are made of one and are equal have one name, however they were written, unless files
// of theirs have several names.
func TestRandomSteps(t *testing.T) {
	testenv.Root(t)
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			st, err := store.Open(t.Context(), store.Options{Root: t.TempDir(), Snapshotter: snapshotter})
			if err != nil {
				t.Skipf("%s: %v", snapshotter, err)
			}
			defer func() { check.OK(t, st.Close()) }()
			named, hits, seeds := map[string]string{}, 0, max(1, *seedsFlag/4) // each takes long
			someSeeds(t, seeds, func(t *testing.T, r *rand.Rand) {
				names := map[string]map[string]string{} // by the tree below, what is seen: the name
				var log []string
				// step writes a tree and checks its name.
				step := func(below *store.Ref, edits int, more bool) *store.Ref {
					m, err := st.New(t.Context(), below, store.NewOptions{})
					check.OK(t, err)
					dir, unmount, err := store.MountLocal(t.Context(), m, false)
					check.OK(t, err)
					x := randtree.At(t, r, dir)
					for range edits {
						x.Edit()
						if more {
							stepEdit(t, r, x)
						}
					}
					check.OK(t, unmount())
					log = append(log, x.Log...)
					ref, err := m.Commit(t.Context())
					check.OK(t, err)
					name, err := Tree(t.Context(), ref)
					check.OK(t, err)
					dir, unmount, err = store.MountLocal(t.Context(), ref, true)
					check.OK(t, err)
					seen, linked := asSeen(t, dir)
					check.OK(t, unmount())
					if was, ok := named[name.String()]; ok && was != seen {
						t.Fatalf("two trees have the name %s:\n%s\n\nand\n\n%s\n\nafter\n%s", name, was, seen, strings.Join(log, "\n"))
					}
					named[name.String()] = seen
					of := names[below.ID()]
					if of == nil {
						of = map[string]string{}
						names[below.ID()] = of
					}
					if was, ok := of[seen]; ok && !linked {
						if hits++; was != name.String() {
							t.Fatalf("one tree has two names, %s and %s:\n%s\n\nafter\n%s", was, name, seen, strings.Join(log, "\n"))
						}
					}
					of[seen] = name.String()
					return ref
				}
				base := step(nil, 10, false)
				trees := []*store.Ref{base}
				for range 10 {
					trees = append(trees, step(trees[r.IntN(min(3, len(trees)))], r.IntN(4), r.IntN(3) > 0))
				}
				for _, ref := range trees {
					release(t, ref)
				}
			})
			if hits < seeds/2 && *seedFlag == 0 {
				t.Errorf("%d trees were written again, of %d seeds", hits, seeds)
			}
		})
	}
}

func nameIs(t testing.TB, ref *store.Ref) string {
	t.Helper()
	name, err := Tree(t.Context(), ref)
	check.OK(t, err)
	return name.String()
}

// What was merged has a name if it is of whole trees, and a difference has that of its files.
func TestNamesOfMerges(t *testing.T) {
	testenv.Root(t)
	st := openStore(t, t.TempDir())
	defer func() { check.OK(t, st.Close()) }()
	base := commit(t, st, nil, map[string]string{"etc/os": "linux", "b": "1"})
	again := commit(t, st, nil, map[string]string{"etc/os": "linux", "b": "1"})
	app := commit(t, st, nil, map[string]string{"app": "x"})
	other := commit(t, st, nil, map[string]string{"app": "y"})
	upon := commit(t, st, base, map[string]string{"new": "n"})
	uponAgain := commit(t, st, again, map[string]string{"new": "n"})
	merge := func(refs ...*store.Ref) *store.Ref {
		ref, err := st.Merge(t.Context(), refs, store.NewOptions{})
		check.OK(t, err)
		t.Cleanup(func() { release(t, ref) })
		return ref
	}
	diff := func(lower, upper *store.Ref) *store.Ref {
		ref, err := st.Diff(t.Context(), lower, upper, store.NewOptions{})
		check.OK(t, err)
		t.Cleanup(func() { release(t, ref) })
		return ref
	}
	for _, c := range []struct {
		what string
		a, b *store.Ref
		same bool
	}{
		{"trees that were written alike", base, again, true},
		{"trees upon those", upon, uponAgain, true},
		{"merges of those", merge(base, app), merge(again, app), true},
		{"merges of merges", merge(merge(base, app), other), merge(merge(again, app), other), true},
		{"merges in another order", merge(base, app, other), merge(base, other, app), false},
		{"merges with another", merge(base, app), merge(base, other), false},
		{"merges with what was written upon others", merge(app, upon), merge(app, uponAgain), false},
		{"differences", diff(base, upon), diff(again, uponAgain), true},
		{"differences, and the tree", diff(base, upon), upon, false},
		{"nothing", nil, base, false},
	} {
		if same := nameIs(t, c.a) == nameIs(t, c.b); same != c.same {
			t.Errorf("%s: one name: %v", c.what, same)
		}
	}
	for _, ref := range []*store.Ref{base, again, app, other, upon, uponAgain} {
		release(t, ref)
	}
}

// Where times count, they are part of the name.
func TestNamesWithTimes(t *testing.T) {
	testenv.Root(t)
	st := openStore(t, t.TempDir())
	defer func() { check.OK(t, st.Close()) }()
	base := commit(t, st, nil, map[string]string{"f": "x"})
	defer release(t, base)
	names := map[bool]map[string]bool{true: {}, false: {}}
	for _, times := range []bool{true, false} {
		for i := range 2 {
			m, err := st.New(t.Context(), base, store.NewOptions{TimesCount: times})
			check.OK(t, err)
			dir, unmount, err := store.MountLocal(t.Context(), m, false)
			check.OK(t, err)
			check.OK(t, os.Chtimes(filepath.Join(dir, "f"), randtree.LongAgo, randtree.LongAgo.Add(-1<<uint(i))))
			check.OK(t, unmount())
			ref, err := m.Commit(t.Context())
			check.OK(t, err)
			names[times][nameIs(t, ref)] = true
			release(t, ref)
		}
	}
	if len(names[true]) != 2 || len(names[false]) != 1 || names[false][nameIs(t, base)] {
		t.Errorf("names of two times where they count, and where they do not: %v; of the tree below: %s", names, nameIs(t, base))
	}
}

// A name is computed once: it is there after the store was opened again, and who asks while
// it is computed waits for that.
func TestNamesAreKept(t *testing.T) {
	testenv.Root(t)
	root := t.TempDir()
	st := openStore(t, root)
	ref := commit(t, st, nil, map[string]string{"f": "x"})
	want, id := nameIs(t, ref), ref.ID()
	release(t, ref)
	check.OK(t, st.Close())
	st = openStore(t, root)
	defer func() { check.OK(t, st.Close()) }()
	ref, err := st.Get(t.Context(), id)
	check.OK(t, err)
	defer release(t, ref)
	got, err := ref.Content(t.Context(), nil)
	check.OK(t, err)
	if got.String() != want {
		t.Errorf("kept is %q, not %q", got, want)
	}
	key, err := TreeKey("/a")(context.Background(), store.NewResult(ref.Clone()))
	check.OK(t, err)
	if !strings.HasPrefix(key.String(), solver.LocalPrefix) {
		t.Errorf("the key %s is not local", key)
	}
}

// What a name costs: reading what was written, and no more.
func BenchmarkTree(b *testing.B) {
	testenv.Root(b)
	st := openStore(b, b.TempDir())
	defer func() { check.OK(b, st.Close()) }()
	base := commit(b, st, nil, map[string]string{"etc/os": "linux"})
	defer release(b, base)
	for _, c := range []struct {
		what        string
		files, size int
	}{{"nothing", 0, 0}, {"files=4000", 4000, 2000}, {"file=64MB", 1, 64 << 20}} {
		b.Run(c.what, func(b *testing.B) {
			all := map[string]string{}
			for i := range c.files {
				all[fmt.Sprintf("d%d/f%d", i%50, i)] = strings.Repeat("x", c.size)
			}
			for b.Loop() {
				b.StopTimer()
				ref := commit(b, st, base, all)
				b.StartTimer()
				nameIs(b, ref)
				b.StopTimer()
				release(b, ref)
				b.StartTimer()
			}
		})
	}
}
