package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

// A file is remembered only if its time of change was long past when it was read.
func TestWhatIsRemembered(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1"})
	b.lend("s", dir)
	fi, err := os.Lstat(filepath.Join(dir, "a"))
	b.do(err)
	changed := time.Unix(0, identOf(fi).ctime)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{-time.Hour, 0}, {0, 0}, {coarse, 0}, {coarse + 1, 1}} {
		b.src.now = func() time.Time { return changed.Add(c.after) }
		b.key("s", nil)
		if m := b.src.remember(dir); len(m.byPath) != c.want {
			t.Errorf("%v after the change: %d files are remembered, want %d", c.after, len(m.byPath), c.want)
		}
	}
	// It is also forgotten again, and a directory of the same name is another's.
	b.src.now = func() time.Time { return changed.Add((keepDays + 2) * 24 * time.Hour) }
	if m := b.src.remember(dir); len(m.byPath) != 0 {
		t.Errorf("after a long time %d files are remembered", len(m.byPath))
	}
}

// A directory may change between the key and the snapshot.
func TestChangedAfterKey(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name   string
		change func(at func(string) string)
		ok     bool
	}{
		{"nothing", func(func(string) string) {}, true},
		{"times", func(at func(string) string) { b.do(os.Chtimes(at("a"), time.Unix(1, 0), time.Unix(2, 0))) }, true},
		{"mode", func(at func(string) string) { b.do(os.Chmod(at("a"), 0o600)) }, true},
		{"a new file", func(at func(string) string) { b.do(os.WriteFile(at("new"), nil, 0o644)) }, true},
		{"equal bytes", func(at func(string) string) {
			b.do(os.WriteFile(at("x"), []byte("1"), 0o600))
			b.do(os.Rename(at("x"), at("a")))
		}, true},
		{"other bytes", func(at func(string) string) { b.do(os.WriteFile(at("a"), []byte("2"), 0o644)) }, false},
		{"longer", func(at func(string) string) { b.do(os.WriteFile(at("a"), []byte("11"), 0o644)) }, false},
		{"gone", func(at func(string) string) { b.do(os.Remove(at("a"))) }, false},
		{"a link elsewhere", func(at func(string) string) {
			b.do(os.Remove(at("a")))
			b.do(os.Symlink("/etc/hostname", at("a")))
		}, false},
	} {
		for _, way := range []string{"settled", "fresh", "remote"} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				b.src.now = time.Now
				if way == "settled" {
					b.src.now = func() time.Time { return time.Now().Add(time.Hour) }
				}
				dir := t.TempDir()
				files(t, dir, map[string]string{"a": "1", "b/c": "3"})
				f, err := fsutil.NewFS(dir)
				b.do(err)
				d := session.Dir{FS: f, Path: dir}
				if way == "remote" {
					d.Path = ""
				}
				b.lendDir(t.Name(), d)
				i := b.instance(t.Name(), nil)
				key, _, err := i.CacheKey(t.Context(), 0)
				b.do(err)
				tick(t, t.TempDir())
				c.change(func(name string) string { return filepath.Join(dir, name) })
				if c.ok {
					b.checked(i, nil)
					if again, _, err := i.CacheKey(t.Context(), 0); err != nil || again != key {
						t.Errorf("the key became %s, %v", again, err)
					}
					return
				}
				ref, err := i.Snapshot(t.Context())
				var changed *ChangedError
				if !errors.As(err, &changed) || changed.Path != "a" || ref != nil {
					t.Fatalf("got %v, %v", ref, err)
				}
				// It says what, and what to do.
				for _, say := range []string{`"context"`, `"a"`, "build again", ".dockerignore"} {
					if !strings.Contains(err.Error(), say) {
						t.Errorf("%v: it does not say %s", err, say)
					}
				}
			})
		}
	}
}

// While a directory is being written, a build gets what its key says or an error.
func TestChangingAllTheTime(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	b.lend("s", dir)
	files(t, dir, map[string]string{"a": "0", "b": "0", "still": "0"})
	ctx, stop := context.WithCancel(t.Context())
	var eg errgroup.Group
	eg.Go(func() error {
		for n := 0; ctx.Err() == nil; n++ {
			big := []byte(strings.Repeat(fmt.Sprint(n%10), 1<<19))
			if err := os.WriteFile(filepath.Join(dir, "a"), big, 0o644); err != nil {
				return err
			}
			if err := os.Remove(filepath.Join(dir, "b")); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "b"), big[:n%100], 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	good := 0
	for range 60 {
		i := b.instance("s", nil)
		var changed *ChangedError
		key, _, err := i.CacheKey(t.Context(), 0)
		if errors.As(err, &changed) {
			continue
		}
		b.do(err)
		ref, err := i.Snapshot(t.Context())
		if errors.As(err, &changed) {
			continue
		}
		b.do(err)
		b.compare(key, ref, nil)
		good++
	}
	stop()
	b.do(eg.Wait())
	t.Logf("%d of 60 found it quiet", good)
	b.checked(b.instance("s", nil), nil)
}

func TestConcurrentBuilds(t *testing.T) {
	b := newBench(t)
	b.src.now = func() time.Time { return time.Now().Add(time.Hour) }
	dir := t.TempDir()
	for n := range 200 {
		files(t, dir, map[string]string{fmt.Sprintf("%d/%d", n%7, n): fmt.Sprint(n)})
	}
	b.lend("s", dir)
	want := b.key("s", nil)
	var eg errgroup.Group
	for n := range 8 {
		eg.Go(func() error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if n%4 == 3 {
				cancel()
			}
			i := b.instance("s", nil)
			key, _, err := i.CacheKey(ctx, 0)
			if n%4 == 3 {
				if !errors.Is(err, context.Canceled) {
					return fmt.Errorf("cancelled: %v", err)
				}
				return nil
			}
			if err != nil || key != want {
				return fmt.Errorf("%s, %v: want %s", key, err, want)
			}
			ref, err := i.Snapshot(ctx)
			return errors.Join(err, ref.Release(context.Background()))
		})
	}
	b.do(eg.Wait())
	if len(b.src.turns) != 0 {
		t.Errorf("%d turns are left", len(b.src.turns))
	}
}

// hooked is a file system that something is done to while it is read.
type hooked struct {
	fsutil.FS
	visit func(path string)
	open  func(path string) error
}

func (h hooked) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	return h.FS.Walk(ctx, target, func(p string, d fs.DirEntry, err error) error {
		if h.visit != nil {
			h.visit(p)
		}
		return fn(p, d, err)
	})
}

func (h hooked) Open(p string) (io.ReadCloser, error) {
	if h.open != nil {
		if err := h.open(p); err != nil {
			return nil, err
		}
	}
	return h.FS.Open(p)
}

// What vanishes during the walk is left out, and nothing else.
func TestVanishing(t *testing.T) {
	b := newBench(t)
	for _, inPlace := range []bool{true, false} {
		dir, same := t.TempDir(), t.TempDir()
		files(t, dir, map[string]string{"d/1": "", "d/2": "", "d/3": "", "e/1/x": "", "e/2": ""})
		files(t, same, map[string]string{"d/1": "", "d/3": "", "e/2": ""})
		f, err := fsutil.NewFS(dir)
		b.do(err)
		d := session.Dir{FS: hooked{FS: f, visit: func(p string) {
			if p == "d/2" || p == "e/1" {
				b.do(os.RemoveAll(filepath.Join(dir, p)))
			}
		}}}
		if inPlace {
			d.Path = dir
		}
		b.lendDir(fmt.Sprint("hooked", inPlace), d)
		b.lend(fmt.Sprint("same", inPlace), same)
		if got, want := b.key(fmt.Sprint("hooked", inPlace), nil), b.key(fmt.Sprint("same", inPlace), nil); got != want {
			t.Errorf("in place %v: what is left has key %s, want %s", inPlace, got, want)
		}
	}
}

// A file that becomes a link after the walk has seen it is not what the link leads to.
func TestBecomesLink(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1", "b": "2"})
	f, err := fsutil.NewFS(dir)
	b.do(err)
	b.lendDir("s", session.Dir{Path: dir, FS: hooked{FS: f, visit: func(p string) {
		if p == "b" {
			b.do(os.Remove(filepath.Join(dir, "a")))
			b.do(os.Symlink("b", filepath.Join(dir, "a")))
		}
	}}})
	_, _, err = b.instance("s", nil).CacheKey(t.Context(), 0)
	var changed *ChangedError
	if !errors.As(err, &changed) || changed.Path != "a" {
		t.Errorf("got %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"d/secret": "1"})
	f, err := fsutil.NewFS(dir)
	b.do(err)
	b.lendDir("s", session.Dir{FS: hooked{FS: f, open: func(p string) error {
		return &fs.PathError{Op: "open", Path: p, Err: fs.ErrPermission}
	}}})
	_, _, err = b.instance("s", nil).CacheKey(t.Context(), 0)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "d/secret") || !strings.Contains(err.Error(), ".dockerignore") {
		t.Errorf("got %v", err)
	}
	// What is excluded is not read.
	b.key("s", attrs{pb.AttrExcludePatterns: list("**/secret")})
}

// A session that goes away in the middle of the work does not end it, if another
// build waits for it.
func TestSessionGoesAway(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1"})
	f, err := fsutil.NewFS(dir)
	b.do(err)
	var once sync.Once
	var remove func()
	first := session.Dir{FS: hooked{FS: f, open: func(string) error {
		once.Do(remove)
		return errors.New("connection lost")
	}}}
	remove, err = b.all.Add(&lender{session.Empty("first"), first})
	b.do(err)
	b.lend("second", dir)

	s := solver.NewSolver(solver.SolverOpt{})
	job, err := s.NewJob("job")
	b.do(err)
	job.SessionID = "second"
	ctx, end := job.Begin(t.Context(), "read")
	i := b.instance("first", nil)
	key, _, err := i.CacheKey(ctx, 0)
	end(err)
	b.do(err)
	if want := b.key("second", nil); key != want {
		t.Errorf("the key is %s, want %s", key, want)
	}

	ch := make(chan *client.SolveStatus, 100)
	b.do(job.Discard())
	b.do(job.Status(t.Context(), ch))
	var last *client.VertexStatus
	for st := range ch {
		for _, v := range st.Statuses {
			last = v
		}
	}
	if last == nil || last.ID != "transferring context:" || last.Name != "transferring" || last.Current != 1 || last.Completed == nil {
		t.Errorf("the last status is %+v", last)
	}
}

func FuzzDecodeMemory(f *testing.F) {
	m := &memory{dir: "/src", byPath: map[string]remembered{}}
	f.Add(m.encode())
	m.byPath["a/b"] = remembered{id: ident{1, 2, 3, -4, 5, 0o644}, day: 7}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, dt []byte) {
		for _, dt := range [][]byte{dt, seal(append([]byte(nil), dt...))} {
			m, err := decodeMemory(dt)
			if err != nil {
				continue
			}
			again, err := decodeMemory(m.encode())
			if err != nil || again.dir != m.dir || len(again.byPath) != len(m.byPath) {
				t.Fatalf("what was decoded does not come back: %v", err)
			}
			for p, e := range m.byPath {
				if again.byPath[p] != e {
					t.Fatalf("%q came back as %+v, not %+v", p, again.byPath[p], e)
				}
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	x := newBench(b)
	x.src.now = func() time.Time { return time.Now().Add(time.Hour) }
	for _, n := range []int{1000, 10000} {
		dir := b.TempDir()
		all := map[string]string{}
		for i := range n {
			all[fmt.Sprintf("%d/%d/%d", i%10, i/10%10, i)] = strings.Repeat(fmt.Sprint(i), 1000)
		}
		files(b, dir, all)
		id := fmt.Sprint("s", n)
		x.lend(id, dir)
		b.Run(fmt.Sprintf("first/%d", n), func(b *testing.B) {
			for b.Loop() {
				x.do(os.RemoveAll(x.st.Path("local")))
				x.key(id, nil)
			}
		})
		b.Run(fmt.Sprintf("again/%d", n), func(b *testing.B) {
			for b.Loop() {
				x.key(id, nil)
			}
		})
		b.Run(fmt.Sprintf("snapshot/%d", n), func(b *testing.B) {
			for b.Loop() {
				ref, err := x.instance(id, nil).Snapshot(b.Context())
				x.do(err)
				x.do(ref.Release(b.Context()))
			}
		})
	}
}
