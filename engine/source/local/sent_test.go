package local

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	bksession "github.com/moby/buildkit/session"
	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/session/remote"
	"github.com/tenonbuild/tenon/engine/session/serve"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"
)

// send makes a session that sends a directory over a connection, and returns its ID.
func (b *bench) send(t *testing.T, dir string) string {
	t.Helper()
	here, err := local.New(t.Context(), local.Options{Dirs: map[string]string{"context": dir}})
	check.OK(t, err)
	bk, err := bksession.NewSession(t.Context(), "key")
	check.OK(t, err)
	serve.Attach(bk, here, nil)
	var running sync.WaitGroup
	running.Go(func() {
		err := bk.Run(t.Context(), func(ctx context.Context, _ string, header map[string][]string) (net.Conn, error) {
			here, there := net.Pipe()
			running.Go(func() { remote.Serve(ctx, there, header, "client", b.all) }) //nolint:errcheck // it ends with the other end
			return here, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		check.OK(t, bk.Close())
		running.Wait()
	})
	_, err = b.all.Wait(t.Context(), bk.ID())
	check.OK(t, err)
	return bk.ID()
}

// sendable removes what BuildKit's protocol cannot name: it has strings of UTF-8. Files get
// times by what is in them: one of the same size and time is not sent again.
func sendable(t *testing.T, dir string) {
	t.Helper()
	for _, p := range slices.Backward(paths(t, dir)) {
		target, _ := os.Readlink(filepath.Join(dir, p))
		fi, err := os.Lstat(filepath.Join(dir, p))
		check.OK(t, err)
		if !utf8.ValidString(p) || !utf8.ValidString(target) {
			check.OK(t, os.RemoveAll(filepath.Join(dir, p)))
			continue
		}
		if fi.Mode().IsRegular() {
			dt, err := os.ReadFile(filepath.Join(dir, p))
			check.OK(t, err)
			when := time.Unix(int64(crc32.ChecksumIEEE(dt)), 0)
			check.OK(t, os.Chtimes(filepath.Join(dir, p), when, when))
		}
	}
}

// A directory that is sent has the key that it has in place, whatever happened to it since
// it was sent last, and the snapshot is what the key says.
func TestSentIsKnown(t *testing.T) {
	seeds(t, 20, func(t *testing.T, r *rand.Rand) {
		x := randtree.New(t, r)
		b := newBench(t)
		sess := b.send(t, x.Root)
		b.lend("in place", x.Root)
		filters := []attrs{{}, {"local.excludepatterns": list("a", "**/b")}, {"local.includepattern": list("a")}, {"local.differ": "none"}, {"local.metadatatransfer": "true", "local.metadatatransfer.exclude": list("a", "**/b")}}
		for range 12 {
			for range r.IntN(6) {
				x.Edit()
			}
			sendable(t, x.Root)
			filter := filters[r.IntN(len(filters))]
			i := b.instance(sess, filter)
			key, _, err := i.CacheKey(t.Context(), 0)
			check.OK(t, err)
			check.Equal(t, "key", key, b.key("in place", filter))
			if len(i.read.found) > 0 {
				b.checked(i, nil)
			}
		}
	})
}

// sending is a session that sends what its list says, and notes which files it was asked for.
type sending struct {
	entries []*types.Stat
	data    map[string]string
	fails   error // at the end
	asked   []string
}

func (s *sending) from(_ context.Context, _ session.SyncFilter, a session.Arrival) error {
	s.asked = nil
	for _, st := range s.entries {
		w, err := a.Entry(st.Clone())
		if err != nil {
			return err
		}
		if w == nil {
			continue
		}
		s.asked = append(s.asked, st.Path)
		text, ok := s.data[st.Path]
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		if !ok {
			continue // it never comes whole
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return s.fails
}

// sends makes a session that sends as a key.
func (b *bench) sends(id, key string) *sending {
	s := &sending{}
	b.lendDir(id, session.Dir{Sync: &session.Sync{Key: key, From: s.from}})
	return s
}

// is makes the list what is in a directory.
func (s *sending) is(t *testing.T, dir string) {
	t.Helper()
	s.entries, s.data = nil, map[string]string{}
	files, err := fsutil.NewFS(dir)
	check.OK(t, err)
	check.OK(t, files.Walk(t.Context(), "/", func(p string, d fs.DirEntry, err error) error {
		check.OK(t, err)
		fi, err := d.Info()
		check.OK(t, err)
		s.entries = append(s.entries, fi.Sys().(*types.Stat).Clone())
		if d.Type().IsRegular() {
			dt, err := os.ReadFile(filepath.Join(dir, p))
			check.OK(t, err)
			s.data[p] = string(dt)
		}
		return nil
	}))
}

// Only what has changed is sent again, to whoever has received it.
func TestSentAgain(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a/one": "1", "a/two": "2", "b": "3", "c": "4", "large": strings.Repeat("x", 5*small+7), "just": strings.Repeat("y", small)})
	b.lend("in place", dir)
	s := b.sends("s", "key")
	var last made
	at := func(name string) string { return filepath.Join(dir, name) }
	then := time.Unix(1_000_000_000, 5)
	for _, c := range []struct {
		name   string
		change func()
		attrs  attrs
		want   []string
	}{
		{"all is new", func() {}, nil, []string{"a/one", "a/two", "b", "c", "just", "large"}},
		{"nothing", func() {}, nil, nil},
		{"bytes", func() { files(t, dir, map[string]string{"a/one": "new"}) }, nil, []string{"a/one"}},
		{"another file", func() { files(t, dir, map[string]string{"d/e": "more"}) }, nil, []string{"d/e"}},
		{"time", func() { check.OK(t, os.Chtimes(at("b"), then, then)) }, nil, []string{"b"}},
		{"mode", func() { check.OK(t, os.Chmod(at("b"), 0o4755)) }, nil, []string{"b"}},
		{"attribute", func() { check.OK(t, unix.Setxattr(at("b"), "user.tenon", []byte("x"), 0)) }, nil, []string{"b"}},
		{"less", func() { check.OK(t, os.Remove(at("a/two"))) }, nil, nil},
		{"another filter", func() {}, attrs{"local.excludepatterns": list("c")}, nil},
		{"another name", func() { check.OK(t, os.Link(at("b"), at("b2"))) }, nil, nil},
		{"nothing, with names", func() {}, nil, nil},
		{"one name less", func() { check.OK(t, os.Remove(at("b"))) }, nil, nil},
		{"another process", func() { b.src = New(b.src.opt) }, nil, nil},
		{"all", func() {}, attrs{"local.differ": "none"}, []string{"a/one", "b2", "c", "d/e", "just", "large"}},
		{"a file for a directory", func() {
			check.OK(t, os.RemoveAll(at("d")))
			files(t, dir, map[string]string{"d": "file"})
		}, nil, []string{"d"}},
		{"nothing is left", func() { check.OK(t, os.RemoveAll(dir)); check.OK(t, os.Mkdir(dir, 0o755)) }, nil, nil},
		{"something again", func() { files(t, dir, map[string]string{"d": "file"}) }, nil, []string{"d"}},
	} {
		c.change()
		s.is(t, dir)
		now := b.make("s", c.attrs)
		check.Equal(t, c.name+": sent", fmt.Sprint(s.asked), fmt.Sprint(c.want))
		check.Equal(t, c.name+": key", now.key, b.key("in place", nil))
		if now.ref != nil {
			b.intact(now)
		}
		if last.ref != nil {
			b.intact(last)
		}
		if strings.HasPrefix(c.name, "nothing,") || c.name == "nothing" {
			check.Equal(t, c.name+": tree", now.ref.ID(), last.ref.ID())
		}
		last = now
	}
	other := b.sends("other", "other key")
	other.is(t, dir)
	b.make("other", nil)
	check.Equal(t, "sent by another", fmt.Sprint(other.asked), "[d]")
}

// What is small and is sent whole each time, as a Dockerfile is, makes no other tree if it is
// what it was.
func TestSmallSentAgain(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"Dockerfile": "FROM scratch\n", "empty": ""})
	b.lend("in place", dir)
	s := b.sends("s", "key")
	all := attrs{"local.differ": "none"}
	s.is(t, dir)
	first := b.make("s", all)
	b.intact(first)
	again := b.make("s", all)
	check.Equal(t, "sent", fmt.Sprint(s.asked), "[Dockerfile empty]")
	check.Equal(t, "tree", again.ref.ID(), first.ref.ID())
	files(t, dir, map[string]string{"Dockerfile": "FROM scratch \n"})
	s.is(t, dir)
	other := b.make("s", all)
	check.Equal(t, "key", other.key, b.key("in place", nil))
	b.intact(other)
	b.intact(first)
}

// Files that are sent by several names are one file, and not that of an earlier tree.
func TestSentNames(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1", "c": "2"})
	s := b.sends("s", "key")
	var ino []uint64
	for range 3 {
		s.is(t, dir)
		m := b.make("s", nil)
		b.intact(m)
		all := b.inodes(m.ref)
		if all["b"] != 0 {
			check.Equal(t, "one file", all["a"], all["b"])
		}
		ino = append(ino, all["a"])
		check.OK(t, os.RemoveAll(dir+"/b"))
		check.OK(t, os.Link(dir+"/a", dir+"/b"))
		files(t, dir, map[string]string{"c": fmt.Sprint("other", len(ino))})
	}
	if ino[0] == ino[1] || ino[1] == ino[2] {
		t.Errorf("trees share a file with several names: %v", ino)
	}
}

// What was sent, and pruned before it was needed, is sent again; and so is what came to harm.
func TestSentIsLost(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1", "b": "2", "c": "3"})
	check.OK(t, os.Link(dir+"/b", dir+"/b2"))
	s := b.sends("s", "key")
	s.is(t, dir)
	i := b.instance("s", nil)
	_, _, err := i.CacheKey(t.Context(), 0)
	check.OK(t, err)
	err = b.st.Prune(t.Context(), store.PruneOptions{All: true}, nil)
	check.OK(t, err)
	b.checked(i, nil)
	check.Equal(t, "sent", fmt.Sprint(s.asked), "[a b c]")

	err = b.st.Prune(t.Context(), store.PruneOptions{All: true}, nil)
	check.OK(t, err)
	i = b.instance("s", nil)
	_, _, err = i.CacheKey(t.Context(), 0)
	check.OK(t, err)
	err = b.st.Prune(t.Context(), store.PruneOptions{All: true}, nil)
	check.OK(t, err)
	files(t, dir, map[string]string{"a": "changed"})
	s.is(t, dir)
	var changed *ChangedError
	if _, err := i.Snapshot(t.Context()); !errors.As(err, &changed) {
		t.Errorf("got %v", err)
	}

	for _, name := range []string{"a", "b"} {
		m := b.make("s", nil)
		check.OK(t, os.WriteFile(b.onDisk(m.ref, name), []byte("harm"), 0o644))
		files(t, dir, map[string]string{"c": "for " + name})
		s.is(t, dir)
		b.intact(b.make("s", nil))
	}
}
