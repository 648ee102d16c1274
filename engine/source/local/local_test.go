package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tonistiigi/fsutil"
)

// lender is a session with one directory, "context".
type lender struct {
	session.Session
	dir session.Dir
}

func (l *lender) Dir(ctx context.Context, name string) (session.Dir, error) {
	if name == "context" {
		return l.dir, nil
	}
	return l.Session.Dir(ctx, name)
}

// bench is a source with a store and a session.
type bench struct {
	t   testing.TB
	src *Source
	st  *store.Store
	all *session.Sessions
}

func newBench(t testing.TB) *bench { return newBenchOn(t, "") }

// newBenchOn makes one whose store has a certain snapshotter.
func newBenchOn(t testing.TB, snapshotter string) *bench {
	testenv.Root(t)
	st, err := store.Open(context.Background(), store.Options{Root: filepath.Join(t.TempDir(), "root"), Snapshotter: snapshotter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	all := &session.Sessions{}
	return &bench{t: t, src: New(Options{Store: st, Sessions: all}), st: st, all: all}
}

// lend makes a session that lends a directory in place.
func (b *bench) lend(id, path string) {
	f, err := fsutil.NewFS(path)
	b.do(err)
	b.lendDir(id, session.Dir{FS: f, Path: path})
}

func (b *bench) lendDir(id string, d session.Dir) {
	remove, err := b.all.Add(&lender{session.Empty(id), d})
	b.do(err)
	b.t.Cleanup(remove)
}

func (b *bench) do(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

type attrs = map[string]string

func list(s ...string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (b *bench) instance(sess string, a attrs) *instance {
	b.t.Helper()
	all := attrs{pb.AttrLocalSessionID: sess, pb.AttrLocalUniqueID: "x", pb.AttrSharedKeyHint: "y"}
	for k, v := range a {
		all[k] = v
	}
	i, err := b.src.Parse(&pb.SourceOp{Identifier: "local://context", Attrs: all}, nil)
	b.do(err)
	return i.(*instance)
}

func (b *bench) key(sess string, a attrs) string {
	b.t.Helper()
	key, done, err := b.instance(sess, a).CacheKey(context.Background(), 0)
	b.do(err)
	if !done {
		b.t.Fatal("there is another key")
	}
	return key
}

// checked makes the snapshot, sees that it is what the key says, and passes the
// directory it is in to look.
func (b *bench) checked(i *instance, look func(dir string)) {
	b.t.Helper()
	ctx := context.Background()
	ref, err := i.Snapshot(ctx)
	b.do(err)
	key, _, err := i.CacheKey(ctx, 0)
	b.do(err)
	b.compare(key, ref, look)
}

// compare sees that a snapshot, which it releases, is what a key says.
func (b *bench) compare(key string, ref *store.Ref, look func(dir string)) {
	b.t.Helper()
	ctx := context.Background()
	defer func() { b.do(ref.Release(ctx)) }()
	kept, err := contenthash.Checksum(ctx, ref, "/", contenthash.Opt{})
	b.do(err)
	mountable, err := ref.Mount(ctx, true)
	b.do(err)
	m := snapshot.LocalMounter(mountable)
	dir, err := m.Mount()
	b.do(err)
	defer func() { b.do(m.Unmount()) }()
	is, err := contenthash.ChecksumDir(ctx, dir, "/", contenthash.Opt{})
	b.do(err)
	if key != is.String() || key != kept.String() {
		b.t.Fatalf("the key is %s, the snapshot %s, and what is kept with it %s", key, is, kept)
	}
	if look != nil {
		look(dir)
	}
}

func files(t testing.TB, dir string, all map[string]string) {
	t.Helper()
	for name, data := range all {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func paths(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if p != dir {
			all = append(all, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPatterns(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a.go": "1", "b.txt": "2", "sub/c.go": "3", "sub/deep/d.txt": "4", "node_modules/x/y": "5", "node_modules/keep/z": "6"})
	b.do(os.Symlink("sub/deep", filepath.Join(dir, "link")))
	b.do(os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	b.lend("s", dir)
	all := []string{"a.go", "b.txt", "empty", "link", "node_modules", "node_modules/keep", "node_modules/keep/z", "node_modules/x", "node_modules/x/y", "sub", "sub/c.go", "sub/deep", "sub/deep/d.txt"}
	for _, c := range []struct {
		name  string
		attrs attrs
		want  []string
	}{
		{"all", nil, all},
		{"exclude", attrs{pb.AttrExcludePatterns: list("**/*.txt", "node_modules", "!node_modules/keep")},
			[]string{"a.go", "empty", "link", "node_modules", "node_modules/keep", "node_modules/keep/z", "sub", "sub/c.go", "sub/deep"}},
		{"include", attrs{pb.AttrIncludePatterns: list("*.go", "sub/deep")}, []string{"a.go", "sub", "sub/deep", "sub/deep/d.txt"}},
		{"both", attrs{pb.AttrIncludePatterns: list("sub"), pb.AttrExcludePatterns: list("**/*.go")}, []string{"sub", "sub/deep", "sub/deep/d.txt"}},
		{"follow", attrs{pb.AttrFollowPaths: list("link")}, []string{"link", "sub", "sub/deep", "sub/deep/d.txt"}},
		{"metadata", attrs{pb.AttrMetadataTransfer: "true"}, []string{metadataFile}},
		{"metadata but", attrs{pb.AttrMetadataTransfer: "true", pb.AttrMetadataTransferExclude: list("sub/**/*.txt")},
			[]string{metadataFile, "sub", "sub/deep", "sub/deep/d.txt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.checked(b.instance("s", c.attrs), func(dir string) {
				if got := paths(t, dir); !slices.Equal(got, c.want) {
					t.Errorf("got  %q\nwant %q", got, c.want)
				}
			})
		})
	}
	t.Run("nothing", func(t *testing.T) {
		i := b.instance("s", attrs{pb.AttrIncludePatterns: list("nowhere")})
		ref, err := i.Snapshot(context.Background())
		if ref != nil || err != nil {
			t.Errorf("got %v, %v: want the empty tree", ref, err)
		}
	})
}

func TestOddFiles(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"setuid": "1", "new\nline": "2", "\xff\xfe": "3", "hard1": "4"})
	at := func(name string) string { return filepath.Join(dir, name) }
	b.do(syscall.Chmod(at("setuid"), 0o4755))
	b.do(os.Lchown(at("setuid"), 1000, 1000))
	b.do(syscall.Chmod(at("setuid"), 0o4755))
	b.do(os.Link(at("hard1"), at("hard2")))
	b.do(os.Symlink("nowhere", at("broken")))
	b.do(os.Symlink("/etc/passwd", at("outward")))
	b.do(os.Symlink("../..", at("up")))
	b.do(syscall.Mkfifo(at("fifo"), 0o600))
	b.do(syscall.Mknod(at("null"), syscall.S_IFCHR|0o666, 1<<8|3))
	b.do(syscall.Setxattr(at("hard1"), "user.tenon", []byte("x"), 0))
	l, err := net.Listen("unix", at("socket"))
	b.do(err)
	defer l.Close()
	then := time.Unix(1_000_000_000, 123456789)
	b.do(os.Chtimes(at("hard1"), then, then))
	b.lend("s", dir)
	b.checked(b.instance("s", nil), func(to string) {
		want := []string{"broken", "fifo", "hard1", "hard2", "new\nline", "null", "outward", "setuid", "up", "\xff\xfe"}
		if got := paths(t, to); !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
		var one, two, suid, null syscall.Stat_t
		b.do(syscall.Lstat(filepath.Join(to, "hard1"), &one))
		b.do(syscall.Lstat(filepath.Join(to, "hard2"), &two))
		b.do(syscall.Lstat(filepath.Join(to, "setuid"), &suid))
		b.do(syscall.Lstat(filepath.Join(to, "null"), &null))
		if one.Ino != two.Ino || one.Nlink != 2 {
			t.Errorf("hard links became inodes %d and %d with %d links", one.Ino, two.Ino, one.Nlink)
		}
		if suid.Mode != syscall.S_IFREG|0o4755 || suid.Uid != 0 || suid.Gid != 0 {
			t.Errorf("setuid has mode %o and owner %d:%d", suid.Mode, suid.Uid, suid.Gid)
		}
		if null.Rdev != 1<<8|3 {
			t.Errorf("the device became %x", null.Rdev)
		}
		if got := time.Unix(one.Mtim.Unix()); !got.Equal(then) {
			t.Errorf("the time of modification became %v", got)
		}
		if target, err := os.Readlink(filepath.Join(to, "outward")); target != "/etc/passwd" {
			t.Errorf("the outward link became %q, %v", target, err)
		}
	})
}

// A device that stands for a deleted file is named, also if it is lent by somebody else;
// left out, it is in nobody's way.
func TestWhiteoutDevice(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"d/a": "1"})
	b.do(syscall.Mknod(filepath.Join(dir, "d/gone"), syscall.S_IFCHR|0o600, 0))
	b.lend("s", dir)
	f, err := fsutil.NewFS(dir)
	b.do(err)
	b.lendDir("remote", session.Dir{FS: f})
	for _, s := range []string{"s", "remote"} {
		_, err := b.instance(s, nil).Snapshot(context.Background())
		if err == nil || !strings.Contains(err.Error(), `"d/gone" is a character device 0:0`) || !strings.Contains(err.Error(), ".dockerignore") {
			t.Errorf("%s: got %v", s, err)
		}
		b.checked(b.instance(s, attrs{pb.AttrExcludePatterns: list("d/gone")}), func(to string) {
			if got := paths(t, to); !slices.Equal(got, []string{"d", "d/a"}) {
				t.Errorf("%s: got %q", s, got)
			}
		})
	}
}

// What must not change the key does not, and what must does.
func TestKeyIsContent(t *testing.T) {
	b := newBench(t)
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		files(t, dir, map[string]string{"a": "1", "b/c": "2"})
	}
	b.do(os.Chmod(one, 0o700))
	b.do(os.Lchown(filepath.Join(two, "a"), 7, 7))
	b.do(os.Chtimes(filepath.Join(two, "a"), time.Unix(5, 0), time.Unix(6, 0)))
	b.lend("one", one)
	b.lend("two", two)
	f, err := fsutil.NewFS(two)
	b.do(err)
	b.lendDir("remote", session.Dir{FS: f})
	key := b.key("one", nil)
	for _, s := range []string{"two", "remote"} {
		if got := b.key(s, nil); got != key {
			t.Errorf("%s has key %s, not %s", s, got, key)
		}
		b.checked(b.instance(s, nil), nil)
	}
	b.do(os.Chmod(filepath.Join(two, "a"), 0o600))
	if b.key("two", nil) == key {
		t.Error("another mode has the same key")
	}
}

func TestErrors(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	b.lend("s", dir)
	for _, c := range []struct {
		id   string
		a    attrs
		want string
	}{
		{"docker-image://x", nil, "it should look like local://NAME"},
		{"local://", nil, "it should look like local://NAME"},
		{"local://context", attrs{pb.AttrIncludePatterns: "x"}, "JSON list"},
		{"local://context", attrs{pb.AttrExcludePatterns: list("[")}, "syntax error"},
		{"local://context", attrs{pb.AttrMetadataTransfer: "maybe"}, "true or false"},
		{"local://context", attrs{pb.AttrLocalDiffer: "x"}, `should be "none" or "metadata"`},
	} {
		_, err := b.src.Parse(&pb.SourceOp{Identifier: c.id, Attrs: c.a}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %v: %v: want %q", c.id, c.a, err, c.want)
		}
	}
	for id, a := range map[string]attrs{"local://other": {pb.AttrLocalSessionID: "s"}, "local://context": {pb.AttrLocalSessionID: "away"}} {
		i, err := b.src.Parse(&pb.SourceOp{Identifier: id, Attrs: a}, nil)
		b.do(err)
		if _, _, err := i.CacheKey(context.Background(), 0); !errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), "is not lent to this build") {
			t.Errorf("%s of %v: %v", id, a, err)
		}
	}
}

func seeds(t *testing.T, count int, fn func(t *testing.T, r *rand.Rand)) {
	first, n := uint64(1), *seedsFlag*count/10
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(n) && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again: go test ./engine/source/local -run '%s' -local.seed=%d", strings.Split(t.Name(), "/")[0], seed)
				}
			})
			fn(t, rand.New(rand.NewPCG(seed, 11)))
		})
	}
}
