package git_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// endless serves a repository whose answer to what asks never ends.
func (s *server) endless(asks string, begin func(w io.Writer), more []byte) {
	s.change(func() {
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			dt, err := io.ReadAll(r.Body)
			if r.Header.Get("Content-Encoding") == "gzip" {
				if z, zerr := gzip.NewReader(bytes.NewReader(dt)); zerr == nil {
					dt, err = io.ReadAll(z)
				}
			}
			r.Body = io.NopCloser(bytes.NewReader(dt))
			r.Header.Del("Content-Encoding")
			r.ContentLength = int64(len(dt))
			if err != nil || !strings.Contains(r.URL.String()+string(dt), asks) {
				return false
			}
			kind := "result"
			if r.Method == http.MethodGet {
				kind = "advertisement"
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-"+kind)
			begin(w)
			for err == nil {
				_, err = w.Write(more)
			}
			return true
		}
	})
}

// packet is a line of git's protocol.
func packet(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// What a server sends without an end is bounded: by the disk, and by memory. Nothing of
// it stays.
func TestEndlessServer(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	commit := r.commit("one")
	dir := e.Store.Path("git")
	src, err := git.New(git.Options{Store: e.Store, Sessions: e.Sessions, Wait: time.Millisecond, Memory: 64 << 20})
	check.OK(t, err)
	check.OK(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"))
	t.Cleanup(func() { check.OK(t, unix.Unmount(dir, 0)) })

	// A pack, of blobs of 16 KiB that do not compress.
	blob := make([]byte, 16<<10)
	_, err = rand.Read(blob)
	check.OK(t, err)
	object := bytes.NewBuffer([]byte{0xb0, 0x80, 0x08}) // a blob of 16 KiB
	z := zlib.NewWriter(object)
	_, err = z.Write(blob)
	check.OK(t, errors.Join(err, z.Close()))
	srv.endless("command=fetch", func(w io.Writer) {
		_, _ = io.WriteString(w, packet("shallow-info\n")+packet("shallow "+commit+"\n")+"0001"+packet("packfile\n")+packet("\x01PACK\x00\x00\x00\x02\x00\x01\x00\x00"))
	}, []byte(packet("\x01"+object.String())))
	fails(t, e, src, srv.op("r.git", "#"+commit), "the server sends more than there is room for")
	var st unix.Statfs_t
	check.OK(t, unix.Statfs(dir, &st))
	if used := int64(st.Blocks-st.Bfree) * st.Bsize; used > 1<<20 {
		t.Errorf("%d bytes are left behind", used)
	}
	if half, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "tmp_*")); err != nil || len(half) > 0 {
		t.Errorf("%v, %v", half, err)
	}

	// References, where they are listed one by one, and where all are.
	var refs strings.Builder
	for i := range 1000 {
		refs.WriteString(packet(fmt.Sprintf("%s refs/heads/%s%d\n", commit, strings.Repeat("x", 200), i)))
	}
	srv.endless("command=ls-refs", func(io.Writer) {}, []byte(refs.String()))
	fails(t, e, src, srv.op("r.git", "#main"), "git ls-remote: ", "the server sends more than there is room for")
	srv.endless("info/refs", func(w io.Writer) {
		_, _ = io.WriteString(w, packet("# service=git-upload-pack\n")+"0000"+packet(commit+" HEAD\x00shallow\n"))
	}, []byte(refs.String()))
	fails(t, e, src, srv.op("r.git", "#main"), "git ls-remote: ", "the server sends more than there is room for")

	srv.change(func() { srv.before = nil })
	_, files := solve(t, e, src, srv.op("r.git", "#main"))
	has(t, files, map[string]string{"f": "one"})
}
