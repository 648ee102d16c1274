package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

var snapshotters = []string{"overlayfs", "native"}

func eachSnapshotter(t *testing.T, test func(t *testing.T, b *bench)) {
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) { test(t, newBenchOn(t, name)) })
	}
}

// made is a snapshot, with what its key says it is.
type made struct {
	ref *store.Ref
	key string
}

// make makes a snapshot, which is released when the test ends.
func (b *bench) make(sess string, a attrs) made {
	b.t.Helper()
	ctx := context.Background()
	i := b.instance(sess, a)
	key, _, err := i.CacheKey(ctx, 0)
	b.do(err)
	ref, err := i.Snapshot(ctx)
	b.do(err)
	b.t.Cleanup(func() { b.do(ref.Release(ctx)) })
	return made{ref, key}
}

// intact sees that a snapshot still is what its key says.
func (b *bench) intact(m made) {
	b.t.Helper()
	b.compare(m.key, m.ref.Clone(), nil)
}

func (b *bench) mounted(m executor.Mountable, readonly bool, fn func(dir string)) {
	b.t.Helper()
	mountable, err := m.Mount(context.Background(), readonly)
	b.do(err)
	at := snapshot.LocalMounter(mountable)
	dir, err := at.Mount()
	b.do(err)
	defer func() { b.do(at.Unmount()) }()
	fn(dir)
}

// inodes are those of the regular files of a tree, by path.
func (b *bench) inodes(m executor.Mountable) map[string]uint64 {
	b.t.Helper()
	all := map[string]uint64{}
	b.mounted(m, true, func(dir string) {
		b.do(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			var st syscall.Stat_t
			b.do(syscall.Lstat(p, &st))
			all[strings.TrimPrefix(p, dir+"/")] = st.Ino
			return nil
		}))
	})
	return all
}

// copied are the files of one tree that are not those of another at the same path.
func (b *bench) copied(from, to made) (all []string) {
	b.t.Helper()
	was := b.inodes(from.ref)
	for p, ino := range b.inodes(to.ref) {
		if was[p] != ino {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

// What has not changed is not copied.
func TestOnlyWhatChangedIsCopied(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, b *bench) {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		count := 1000
		if b.st.Snapshotter() == "native" {
			count = 100
		}
		for n := range count {
			files(t, dir, map[string]string{fmt.Sprintf("%d/%d", n%10, n): fmt.Sprint(n)})
		}
		b.do(unix.Setxattr(at("7/7"), "user.tenon", []byte("x"), 0))
		b.lend("s", dir)
		last := b.make("s", nil)
		then := time.Unix(1_000_000_000, 5)
		for _, c := range []struct {
			name   string
			change func()
			attrs  attrs
			want   []string
		}{
			{"nothing", func() {}, nil, nil},
			{"bytes", func() { files(t, dir, map[string]string{"1/1": "x"}) }, nil, []string{"1/1"}},
			{"bytes alone", func() {
				fi, err := os.Lstat(at("2/2"))
				b.do(err)
				files(t, dir, map[string]string{"2/2": "y"})
				b.do(os.Chtimes(at("2/2"), fi.ModTime(), fi.ModTime()))
			}, nil, []string{"2/2"}},
			{"time", func() { b.do(os.Chtimes(at("3/3"), then, then)) }, nil, []string{"3/3"}},
			{"mode", func() { b.do(os.Chmod(at("4/4"), 0o4755)) }, nil, []string{"4/4"}},
			{"owner, which does not count", func() { b.do(os.Lchown(at("5/5"), 7, 7)) }, nil, nil},
			{"attribute", func() { b.do(unix.Setxattr(at("6/6"), "user.tenon", []byte("x"), 0)) }, nil, []string{"6/6"}},
			{"other attribute", func() { b.do(unix.Setxattr(at("7/7"), "user.tenon", []byte("y"), 0)) }, nil, []string{"7/7"}},
			{"removed", func() { b.do(os.Remove(at("8/8"))) }, nil, nil},
			{"added", func() { files(t, dir, map[string]string{"8/new": "x"}) }, nil, []string{"8/new"}},
			{"renamed", func() { b.do(os.Rename(at("9/9"), at("9/renamed"))) }, nil, []string{"9/renamed"}},
			{"replaced by an equal one", func() {
				fi, err := os.Lstat(at("0/10"))
				b.do(err)
				files(t, dir, map[string]string{"10": "10"})
				b.do(os.Chtimes(at("10"), fi.ModTime(), fi.ModTime()))
				b.do(os.Rename(at("10"), at("0/10")))
			}, nil, nil},
			{"a link instead", func() {
				b.do(os.Remove(at("0/20")))
				b.do(os.Symlink("10", at("0/20")))
			}, nil, nil},
			{"a directory instead", func() {
				b.do(os.Remove(at("0/20")))
				files(t, dir, map[string]string{"0/20/x": ""})
			}, nil, []string{"0/20/x"}},
			{"a second name", func() { b.do(os.Link(at("0/30"), at("0/31"))) }, nil, []string{"0/30", "0/31"}},
			{"two names stay", func() {}, nil, []string{"0/30", "0/31"}},
			{"the second is another's", func() { files(t, dir, map[string]string{"0/31": "x", "0/30": "x"}) }, nil, []string{"0/30", "0/31"}},
			{"one name again", func() { b.do(os.Remove(at("0/31"))) }, nil, []string{"0/30"}},
			{"one name stays", func() {}, nil, nil},
			{"other filters", func() {}, attrs{pb.AttrExcludePatterns: list("0")}, nil},
			{"filters as before", func() {}, nil, nil},
		} {
			c.change()
			next := b.make("s", c.attrs)
			if got := b.copied(last, next); !slices.Equal(got, c.want) && c.name != "filters as before" {
				t.Errorf("%s: copied %q, want %q", c.name, got, c.want)
			}
			b.intact(next)
			if c.attrs == nil && c.name != "filters as before" {
				last = next
			} else if got := b.copied(last, next); len(got) != 0 {
				t.Errorf("%s: copied %q", c.name, got)
			}
		}
		b.mounted(last.ref, true, func(to string) {
			fi, err := os.Lstat(filepath.Join(to, "3/3"))
			b.do(err)
			if !fi.ModTime().Equal(then) {
				t.Errorf("a time became %v", fi.ModTime())
			}
		})
	})
}

// Hard links of the directory are those of the snapshot, and no others.
func TestNamesOfOneFile(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, b *bench) {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		files(t, dir, map[string]string{"a": "1", "single": "2"})
		b.lend("s", dir)
		one := func() bool {
			t.Helper()
			m := b.make("s", nil)
			b.intact(m)
			all := b.inodes(m.ref)
			return all["a"] == all["b"]
		}
		b.do(os.Link(at("a"), at("b")))
		for range 3 {
			if !one() {
				t.Error("two names of one file became two files")
			}
		}
		fi, err := os.Lstat(at("a"))
		b.do(err)
		b.do(os.Remove(at("b")))
		files(t, dir, map[string]string{"b": "1"})
		b.do(os.Chtimes(at("b"), fi.ModTime(), fi.ModTime()))
		for range 3 {
			if one() {
				t.Error("two files became two names of one")
			}
		}
	})
}

// The new snapshot stays when the old one goes, and the old one when the new one does.
func TestPruneOne(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, b *bench) {
		ctx := context.Background()
		dir := t.TempDir()
		big := strings.Repeat("x", 1<<20)
		files(t, dir, map[string]string{"a": big, "b": "2"})
		b.lend("s", dir)
		first, err := b.instance("s", nil).Snapshot(ctx)
		b.do(err)
		files(t, dir, map[string]string{"b": "3"})
		second := b.make("s", nil)
		usage := func(id string) int64 {
			all, err := b.st.Du(ctx)
			b.do(err)
			for _, u := range all {
				if u.ID == id {
					return u.Size
				}
			}
			return -1
		}
		if one, two := usage(first.ID()), usage(second.ref.ID()); one >= 1<<20 || two < 1<<20 {
			t.Errorf("the old one takes %d bytes, the new one %d", one, two)
		}
		b.do(first.Release(ctx))
		b.do(b.st.Prune(ctx, store.PruneOptions{All: true}, nil))
		if _, err := b.st.Get(ctx, first.ID()); err == nil {
			t.Fatal("the old snapshot is still there")
		}
		b.intact(second)
		// The next is made of the one that is left, and that in turn goes.
		i := b.instance("s", nil)
		key, _, err := i.CacheKey(ctx, 0)
		b.do(err)
		third, err := i.Snapshot(ctx)
		b.do(err)
		if got := b.copied(second, made{third, key}); len(got) != 0 {
			t.Errorf("copied %q", got)
		}
		id := third.ID()
		b.do(third.Release(ctx))
		b.do(b.st.Prune(ctx, store.PruneOptions{All: true}, nil))
		if got := usage(second.ref.ID()); usage(id) != -1 || got < 1<<20 {
			t.Errorf("the one that is left takes %d bytes", got)
		}
		b.intact(second)
		// Without any, all is copied.
		b.intact(b.make("s", nil))
	})
}

// spoil writes into files in place, in all ways there are.
func spoil(t *testing.T, dir string) {
	t.Helper()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	f, err := os.OpenFile(at("d/write"), os.O_WRONLY, 0)
	do(err)
	_, err = f.WriteString("spoilt")
	do(err)
	do(f.Close())
	do(os.Truncate(at("d/truncate"), 1))
	do(os.Chmod(at("d/chmod"), 0o777))
	do(os.Lchown(at("d/chown"), 5, 5))
	do(os.Chtimes(at("d/time"), time.Unix(1, 0), time.Unix(1, 0)))
	do(unix.Setxattr(at("d/xattr"), "user.tenon", []byte("spoilt"), 0))
	do(os.Remove(at("d/remove")))
	do(os.Link(at("d/link"), at("d/linked")))
	f, err = os.OpenFile(at("d/map"), os.O_RDWR, 0)
	do(err)
	mem, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	do(err)
	copy(mem, "spoi")
	do(unix.Msync(mem, unix.MS_SYNC))
	do(unix.Munmap(mem))
	do(f.Close())
}

// What is made on top of a snapshot does not change the files that others share.
func TestNobodyWritesThrough(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, b *bench) {
		ctx := context.Background()
		dir := t.TempDir()
		all := map[string]string{}
		for _, name := range []string{"write", "truncate", "chmod", "chown", "time", "xattr", "remove", "link", "map"} {
			all["d/"+name] = "as it was"
		}
		files(t, dir, all)
		b.lend("s", dir)
		one := b.make("s", nil)
		files(t, dir, map[string]string{"new": ""})
		two := b.make("s", nil)
		if got := b.copied(one, two); !slices.Equal(got, []string{"new"}) {
			t.Fatalf("copied %q", got)
		}
		before := times(b, one.ref)
		merged, err := b.st.Merge(ctx, []*store.Ref{one.ref, two.ref}, store.NewOptions{})
		b.do(err)
		defer func() { b.do(merged.Release(ctx)) }()
		for _, base := range []*store.Ref{one.ref, two.ref, merged} {
			m, err := b.st.New(ctx, base, store.NewOptions{})
			b.do(err)
			b.mounted(m, false, func(dir string) { spoil(t, dir) })
			child, err := m.Commit(ctx)
			b.do(err)
			m, err = b.st.New(ctx, child, store.NewOptions{})
			b.do(err)
			b.mounted(m, false, func(dir string) { b.do(os.RemoveAll(filepath.Join(dir, "d"))) })
			b.do(m.Release(ctx))
			b.do(child.Release(ctx))

			c, err := b.st.CacheMount(ctx, base.ID(), base, store.SharingLocked)
			b.do(err)
			b.mounted(c, false, func(dir string) { spoil(t, dir) })
			b.do(c.Release(ctx))
		}
		b.intact(one)
		b.intact(two)
		if after := times(b, one.ref); !maps.Equal(before, after) {
			t.Errorf("times were %v and are %v", before, after)
		}
	})
}

// times are the times of modification of a tree, by path.
func times(b *bench, m executor.Mountable) map[string]time.Time {
	all := map[string]time.Time{}
	b.mounted(m, true, func(dir string) {
		b.do(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			b.do(err)
			fi, err := d.Info()
			all[strings.TrimPrefix(p, dir)] = fi.ModTime()
			return err
		}))
	})
	delete(all, "") // the root's does not count
	return all
}

// A file that has as many links as it can have is copied, and the copy shared from
// then on.
func TestTooManyLinks(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1", "b": "2"})
	b.lend("s", dir)
	one := b.make("s", nil)
	many := filepath.Join(b.st.Path(), "..", "many")
	b.do(os.Mkdir(many, 0o700))
	full := false
	b.mounted(one.ref, true, func(dir string) {
		source := filepath.Join(many, "0")
		// The mount is another one than that of the root: by its directory, then.
		b.do(os.Link(b.onDisk(one.ref, "a"), source))
		for n := 1; n < 70_000 && !full; n++ {
			err := os.Link(source, filepath.Join(many, fmt.Sprint(n)))
			if full = err != nil; full && err.(*os.LinkError).Err != unix.EMLINK {
				t.Fatal(err)
			}
		}
	})
	if !full {
		t.Skip("this file system has no limit of links, or a large one")
	}
	two := b.make("s", nil)
	if got := b.copied(one, two); !slices.Equal(got, []string{"a"}) {
		t.Errorf("copied %q", got)
	}
	b.intact(two)
	if got := b.copied(two, b.make("s", nil)); len(got) != 0 {
		t.Errorf("then copied %q", got)
	}
}

// onDisk is where a file of a snapshot without a parent is.
func (b *bench) onDisk(ref *store.Ref, path string) string {
	mountable, err := ref.Mount(context.Background(), true)
	b.do(err)
	mounts, release, err := mountable.Mount()
	b.do(err)
	b.do(release())
	return filepath.Join(mounts[0].Source, path)
}

// What is on the disk counts, too: files of the last snapshot that are not what they
// should be are not taken.
func TestDamagedSnapshot(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	all := map[string]string{}
	for _, name := range []string{"longer", "mode", "owner", "time", "gone", "link", "fine"} {
		all[name] = name
	}
	files(t, dir, all)
	files(t, dir, map[string]string{"d/below": "x", "e/below": "x"})
	b.lend("s", dir)
	one := b.make("s", nil)
	fi, err := os.Lstat(filepath.Join(dir, "longer"))
	b.do(err)
	b.do(os.WriteFile(b.onDisk(one.ref, "longer"), []byte("longer than before"), 0o644))
	b.do(os.Chtimes(b.onDisk(one.ref, "longer"), fi.ModTime(), fi.ModTime()))
	b.do(os.Chmod(b.onDisk(one.ref, "mode"), 0o600))
	b.do(os.Lchown(b.onDisk(one.ref, "owner"), 3, 0))
	b.do(os.Chtimes(b.onDisk(one.ref, "time"), time.Now(), time.Now()))
	b.do(os.Remove(b.onDisk(one.ref, "gone")))
	b.do(os.Remove(b.onDisk(one.ref, "link")))
	b.do(os.Symlink("fine", b.onDisk(one.ref, "link")))
	b.do(os.RemoveAll(b.onDisk(one.ref, "d")))
	b.do(os.Symlink("e", b.onDisk(one.ref, "d")))
	two := b.make("s", nil)
	if got, want := b.copied(one, two), []string{"d/below", "gone", "link", "longer", "mode", "owner", "time"}; !slices.Equal(got, want) {
		t.Errorf("copied %q, want %q", got, want)
	}
	b.intact(two)
}

// A file that changes after it was hashed does not matter where it is not read.
func TestChangedButShared(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1", "b": "2"})
	b.lend("s", dir)
	b.make("s", nil)
	i := b.instance("s", nil)
	_, _, err := i.CacheKey(t.Context(), 0)
	b.do(err)
	files(t, dir, map[string]string{"a": "changed"})
	b.checked(i, func(to string) {
		if dt, err := os.ReadFile(filepath.Join(to, "a")); err != nil || string(dt) != "1" {
			t.Errorf("got %q, %v", dt, err)
		}
	})
}

// What is remembered of snapshots may be lost, or nonsense.
func TestLastIsNonsense(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1"})
	b.lend("s", dir)
	last := b.make("s", nil)
	file := b.src.lastName(dir)
	good, err := os.ReadFile(file)
	b.do(err)
	other, err := b.st.New(t.Context(), last.ref, store.NewOptions{})
	b.do(err)
	child, err := other.Commit(t.Context())
	b.do(err)
	defer func() { b.do(child.Release(context.Background())) }()
	for _, dt := range []string{
		"", "{", "[]", `{"dir":"/else"}`, string(good[:len(good)/2]),
		strings.ReplaceAll(string(good), last.ref.ID(), "nowhere"),
		strings.ReplaceAll(string(good), last.ref.ID(), "empty"),
		strings.ReplaceAll(string(good), last.ref.ID(), child.ID()),
	} {
		b.do(os.WriteFile(file, []byte(dt), 0o600))
		m := b.make("s", nil)
		b.intact(m)
		if got := b.copied(last, m); len(got) != 1 {
			t.Errorf("with %q: copied %q", dt, got)
		}
		if got := b.copied(m, b.make("s", nil)); len(got) != 0 {
			t.Errorf("after %q: copied %q", dt, got)
		}
	}
}

func FuzzDecodeLast(f *testing.F) {
	f.Add([]byte(`{"dir":"L3NyYw==","last":[{"filter":"f","id":"i","several":["YQ=="]}]}`))
	f.Fuzz(func(t *testing.T, dt []byte) {
		l, err := decodeLast(dt)
		if err != nil {
			return
		}
		is, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeLast(is)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := json.Marshal(again); err != nil || !bytes.Equal(back, is) {
			t.Fatalf("%s came back as %s, %v", is, back, err)
		}
	})
}
