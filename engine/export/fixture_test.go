package export_test

import (
	"bytes"
	"context"
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

	"github.com/moby/buildkit/snapshot"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// openStore opens a store in a root of its own.
func openStore(t testing.TB) *store.Store {
	t.Helper()
	return openStoreOn(t, "")
}

// openStoreOn opens one on a snapshotter.
func openStoreOn(t testing.TB, snapshotter string) *store.Store {
	t.Helper()
	testenv.Root(t)
	st, err := store.Open(t.Context(), store.Options{Root: t.TempDir(), Snapshotter: snapshotter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// made is when the trees of tests are made; a store would say now.
var made = time.Unix(1_700_000_000, 0).UTC()

// grow makes a tree on top of parent by what fill does to a directory. The test's end
// releases it.
func grow(t testing.TB, st *store.Store, parent *store.Ref, about string, fill func(dir string)) *store.Ref {
	t.Helper()
	ref := plant(t, st, parent, about, fill)
	t.Cleanup(func() {
		if err := ref.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return ref
}

// plant is grow for whoever releases the tree.
func plant(t testing.TB, st *store.Store, parent *store.Ref, about string, fill func(dir string)) *store.Ref {
	t.Helper()
	ctx := t.Context()
	m, err := st.New(ctx, parent, store.NewOptions{Description: about, CreatedAt: made})
	if err != nil {
		t.Fatal(err)
	}
	mountable, err := m.Mount(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	mounter := snapshot.LocalMounter(mountable)
	dir, err := mounter.Mount()
	if err != nil {
		t.Fatal(err)
	}
	fill(dir)
	if err := mounter.Unmount(); err != nil {
		t.Fatal(err)
	}
	ref, err := m.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// must is for calls in fills that cannot fail.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes files of a list of path and content, directories by the way.
func write(t testing.TB, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		p := filepath.Join(dir, files[i])
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(files[i+1]), 0o644))
		must(t, os.Chtimes(p, made, made))
	}
}

// everything makes one of each kind of file, with modes, owners, times, attributes
// and names that are easily lost.
func everything(t testing.TB, dir string) {
	t.Helper()
	in := func(p string) string { return filepath.Join(dir, p) }
	write(t, dir, "a/file", "hello", "a/secret", "x", "a/setuid", "#!", "caps", "x", "large", strings.Repeat("0123456789abcdef", 1<<16),
		"empty", "", "näme", "ü", "bytes\xff\xfe", "?", "new\nline", "n")
	must(t, os.Chmod(in("a/secret"), 0))
	must(t, os.Chown(in("a/setuid"), 1000, 2000))
	must(t, os.Chmod(in("a/setuid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	must(t, os.Mkdir(in("emptydir"), 0o700))
	must(t, os.Chown(in("emptydir"), 12, 34))
	must(t, os.Mkdir(in("tmp"), 0o777))
	must(t, os.Chmod(in("tmp"), 0o777|os.ModeSticky))
	must(t, os.Link(in("a/file"), in("a/hard")))
	must(t, os.Link(in("a/file"), in("hard")))
	must(t, os.Symlink("/etc/../passwd", in("a/abs")))
	must(t, os.Symlink("nowhere", in("dangling")))
	must(t, os.Symlink("a", in("dirlink")))
	must(t, os.Lchown(in("dangling"), 7, 8))
	must(t, unix.Mkfifo(in("fifo"), 0o640))
	must(t, unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(in("loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 300))))
	must(t, unix.Setxattr(in("a"), "user.dir", []byte("on a directory"), 0))
	must(t, unix.Setxattr(in("a/file"), "user.nul", []byte("a\x00b"), 0))
	// cap_net_raw=ep
	must(t, unix.Setxattr(in("caps"), "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	must(t, os.Mkdir(in("closed"), 0o755))
	write(t, dir, "closed/in", "inside")
	must(t, os.Chmod(in("closed"), 0o555))
	age(t, dir)
}

// age gives every file below dir a time of its own, in whole seconds.
func age(t testing.TB, dir string) {
	t.Helper()
	n := int64(0)
	var dirs []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		n++
		if d.IsDir() {
			dirs = append(dirs, p)
			return nil
		}
		return setMtime(p, made.Unix()+n)
	}))
	for i, p := range slices.Backward(dirs) {
		must(t, setMtime(p, made.Unix()-int64(i)-1))
	}
}

func setMtime(p string, sec int64) error {
	ts := unix.Timespec{Sec: sec}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// describe tells of every file below dir all there is to know of it.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	first := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		must(t, err)
		fi, err := os.Lstat(p)
		must(t, err)
		sys := fi.Sys().(*syscall.Stat_t)
		var b strings.Builder
		fmt.Fprintf(&b, "%v %d:%d @%d", fi.Mode(), sys.Uid, sys.Gid, fi.ModTime().Unix())
		switch {
		case fi.Mode().IsRegular():
			dt, err := os.ReadFile(p)
			must(t, err)
			if len(dt) > 40 {
				dt = fmt.Appendf(nil, "%d bytes, %x", len(dt), dt[len(dt)-20:])
			}
			fmt.Fprintf(&b, " %q", dt)
			if was, ok := first[sys.Ino]; ok {
				fmt.Fprintf(&b, " = %s", was)
			} else {
				first[sys.Ino] = rel
			}
		case fi.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			must(t, err)
			fmt.Fprintf(&b, " -> %s", to)
		case fi.Mode()&os.ModeDevice != 0:
			fmt.Fprintf(&b, " %d,%d", unix.Major(sys.Rdev), unix.Minor(sys.Rdev))
		}
		if fi.Mode().IsRegular() || fi.IsDir() {
			for _, k := range []string{"user.dir", "user.nul", "security.capability"} {
				buf := make([]byte, 100)
				if n, err := unix.Lgetxattr(p, k, buf); err == nil {
					fmt.Fprintf(&b, " %s=%x", k, buf[:n])
				}
			}
		}
		out[rel] = b.String()
		return nil
	}))
	return out
}

// differ reports in what two descriptions differ.
func differ(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	paths := maps.Clone(got)
	maps.Copy(paths, want)
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		if got[p] != want[p] {
			t.Errorf("%s: %q:\n got %s\nwant %s", what, p, got[p], want[p])
		}
	}
}

// single is a source of one result.
func single(ref *store.Ref) *export.Source {
	return &export.Source{Platforms: []export.Platform{{Ref: ref}}}
}

// multi is a source of a result for each of these platforms.
func multi(refs map[string]*store.Ref) *export.Source {
	src := &export.Source{}
	for _, id := range slices.Sorted(maps.Keys(refs)) {
		os, arch, _ := strings.Cut(id, "/")
		src.Platforms = append(src.Platforms, export.Platform{
			ID: id, Platform: &ocispec.Platform{OS: os, Architecture: arch}, Ref: refs[id]})
	}
	return src
}

// output exports src as a value of --output says. What would go to standard output
// is returned.
func output(t testing.TB, deps export.Deps, src *export.Source, o string) (resp map[string]string, stdout []byte, err error) {
	t.Helper()
	out, err := export.ParseOutput(o)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	req, err := out.Request(&buf)
	if err != nil {
		t.Fatal(err)
	}
	ex, err := export.New(export.Builtin(deps), req)
	if err != nil {
		t.Fatal(err)
	}
	resp, err = ex.Export(t.Context(), src, nil)
	return resp, buf.Bytes(), err
}

// mustOutput is output of what cannot fail.
func mustOutput(t testing.TB, deps export.Deps, src *export.Source, o string) (map[string]string, []byte) {
	t.Helper()
	resp, stdout, err := output(t, deps, src, o)
	if err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	return resp, stdout
}
