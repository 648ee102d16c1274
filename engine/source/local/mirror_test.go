package local

import (
	"context"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/tenonbuild/tenon/internal/check"
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

// inMirror is the key of what a mirror has on the disk.
func (b *bench) inMirror(t *testing.T, i *instance) string {
	t.Helper()
	w := i.want
	w.include, w.exclude, w.follow = nil, nil, nil
	read, err := b.src.scan(t.Context(), session.Dir{Path: i.sent.mirror.dir}, w, i.progress(t.Context()))
	check.OK(t, err)
	return read.root.Sum().Digest().String()
}

// sendable removes what BuildKit's protocol cannot name: it has strings of UTF-8; and names
// of files that have others, whose attributes are not sent again when they change. Files
// get times by what is in them: one of the same size and time is not sent again.
func sendable(t *testing.T, dir string) {
	t.Helper()
	for _, p := range slices.Backward(paths(t, dir)) {
		target, _ := os.Readlink(filepath.Join(dir, p))
		fi, err := os.Lstat(filepath.Join(dir, p))
		check.OK(t, err)
		several := fi.Mode().IsRegular() && linksOf(fi) > 1
		if !utf8.ValidString(p) || !utf8.ValidString(target) || several {
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
func TestMirrorIsKnown(t *testing.T) {
	seeds(t, 20, func(t *testing.T, r *rand.Rand) {
		x := randtree.New(t, r)
		b := newBench(t)
		sess := b.send(t, x.Root)
		b.lend("in place", x.Root)
		filters := []attrs{{}, {"local.excludepatterns": list("a", "**/b")}, {"local.includepattern": list("a")}, {"local.differ": "none"}}
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

// Of a directory that is sent again, the mirror is not read.
func TestSentAgain(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a/one": "1", "a/two": "2", "b": "3"})
	sess := b.send(t, dir)
	read := func() *listing {
		i := b.instance(sess, nil)
		_, _, err := i.CacheKey(t.Context(), 0)
		check.OK(t, err)
		check.Equal(t, "key", i.key.Digest().String(), b.inMirror(t, i))
		return i.read
	}
	for _, change := range []map[string]string{{}, {}, {"a/one": "new"}, {"c/d": "more"}} {
		files(t, dir, change)
		for _, f := range read().found {
			if f.id != (ident{}) {
				t.Errorf("after %v: %s was looked at", change, f.path)
			}
		}
	}
	// Files with several names are looked at.
	check.OK(t, os.Link(dir+"/b", dir+"/b2"))
	i := b.instance(sess, nil)
	b.checked(i, func(in string) {
		one, err := os.Stat(in + "/b")
		check.OK(t, err)
		two, err := os.Stat(in + "/b2")
		check.OK(t, err)
		check.Equal(t, "one file", os.SameFile(one, two), true)
	})
	check.OK(t, os.Remove(dir+"/b2"))
	read()
	// A process that does not know what was sent looks, and then knows.
	b.src = New(b.src.opt)
	for _, want := range []bool{true, false} {
		f := read().found
		check.Equal(t, "looked at "+filepath.Base(f[len(f)-1].path), f[len(f)-1].id != (ident{}), want)
	}
}
