package http_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"golang.org/x/sys/unix"
)

func TestParseRefuses(t *testing.T) {
	e := sourcetest.New(t)
	src := newSource(t, e)
	for _, c := range []struct {
		op   *pb.SourceOp
		says string
	}{
		{op("https://"), "https://host/path"},
		{op("https:///path"), "https://host/path"},
		{op("http://[::1"), "cannot be read"},
		{op("https://user:hunter2@host/%zz"), "cannot be read"},
		{op("https://h/f", pb.AttrHTTPChecksum, "abc"), "sha256:"},
		{op("https://h/f", pb.AttrHTTPPerm, "rwx"), "octal"},
		{op("https://h/f", pb.AttrHTTPPerm, "04755"), "octal"},
		{op("https://h/f", pb.AttrHTTPUID, "root"), "no number"},
		{op("https://h/f", pb.AttrHTTPGID, "-1"), "no number"},
		{op("https://h/f", pb.AttrHTTPSignatureVerify, "x"), "requires both pubkey and signature"},
		{op("https://h/f", pb.AttrHTTPSignatureVerifyPubKey, "x"), "requires both pubkey and signature"},
		{op("https://h/f", pb.AttrHTTPSignatureVerify, strings.Repeat("x", 2<<20), pb.AttrHTTPSignatureVerifyPubKey, "x"), "the signature has 2097152 bytes"},
		{op("https://h/f", "http.header.cookie", "x"), "Cookie"},
		{op("https://h/f", "http.header.accept", "x\ny"), "line break"},
		{op("https://h/f", "http.new", "x"), "unknown"},
	} {
		_, err := src.Parse(c.op, nil)
		wantError(t, err, c.says)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v shows a password", err)
		}
	}
}

// Servers that fail at first: a build does not notice.
func TestPassingFailures(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "hello")
	src := newSource(t, e)
	for i, fail := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, _ *http.Request) { // cut
			w.Header().Set("Content-Length", "5")
			_, _ = w.Write([]byte("he"))
		},
		func(w http.ResponseWriter, r *http.Request) { // stalls
			w.Header().Set("Content-Length", "5")
			_, _ = w.Write([]byte("he"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		n := 0
		srv.change(func() {
			srv.handler = func(w http.ResponseWriter, r *http.Request) {
				if n++; n <= 2 {
					fail(w, r)
					return
				}
				_, _ = w.Write([]byte("hello"))
			}
		})
		fetch(t, e, src, op(fmt.Sprintf("%s/%d/f", srv.URL, i)), "f", "hello")
	}
}

func TestLastingFailures(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "hello")
	src := newSource(t, e)
	gone := serve(t, "")
	gone.Close()
	for _, c := range []struct {
		url, status string
		handler     http.HandlerFunc
		asked       int
		says        []string
	}{
		{"/f", "500", nil, 5, []string{"500", "tried 5 times"}},
		{"/f", "404", nil, 1, []string{"404"}},
		{"/f", "401", nil, 1, []string{"401", "HTTP_AUTH_TOKEN_127.0.0.1"}},
		{"/f", "206", nil, 1, []string{"206"}},
		{"/f", "304", nil, 1, []string{"304"}},
		{"/f", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "99999999999")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, 1, []string{"503", "come back"}},
		{"/f", "", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/f", http.StatusFound) }, 10, []string{"redirects"}},
		{"/f", "", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, 1, []string{"file"}},
	} {
		srv.change(func() {
			srv.handler = c.handler
			if c.handler == nil {
				srv.handler = func(w http.ResponseWriter, _ *http.Request) {
					var code int
					_, _ = fmt.Sscan(c.status, &code)
					w.WriteHeader(code)
				}
			}
		})
		_, _, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(srv.URL+c.url))
		wantError(t, err, append(c.says, srv.URL+c.url)...)
		srv.wants(t, c.asked, 0)
	}
	_, _, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(strings.Replace(gone.URL, "//", "//user:hunter2@", 1)+"/f"))
	wantError(t, err, "refused", "/f")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v shows a password", err)
	}
}

// A file that changes between the look and the download is noticed.
func TestChangeInMidBuild(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "one")
	src := newSource(t, e)
	in, err := src.Parse(op(srv.URL+"/f"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := e.Build(t, local.Options{})
	if _, _, err := in.CacheKey(ctx, 0); err != nil {
		t.Fatal(err)
	}
	// What was fetched is there: the server is not asked.
	srv.change(func() { srv.text = "two" })
	ref, err := in.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := ref.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	srv.wants(t, 1, 1)
}

// What is kept of earlier builds is not trusted to be well-formed.
func TestBrokenIndex(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "one")
	fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "one")
	srv.wants(t, 1, 1)
	files, err := filepath.Glob(e.Store.Path("http") + "/*.json")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{", "null", "[]", `{"Version":2}`,
		strings.Replace(string(good), `"Version":2`, `"Version":1`, 1),
		strings.Replace(string(good), `"Filename":"f"`, `"Filename":"../f"`, 1),
		strings.Replace(string(good), `"ETag":"`, `"ETag":"x\r\ny: `, 1),
		strings.Replace(string(good), `sha256:`, `md5:`, 1),
		strings.Replace(string(good), `"Tree":"`, `"Tree":"x`, 1),
	} {
		if bad == string(good) {
			t.Fatalf("nothing to replace in %s", good)
		}
		if err := os.WriteFile(files[0], []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "one")
		srv.wants(t, 1, 1)
	}
}

// A token in a URL, with a password or as a name alone, is neither in errors nor in
// what the store says of a tree.
func TestTokensAreNotShown(t *testing.T) {
	e := sourcetest.New(t)
	src := newSource(t, e)
	srv := serve(t, "text")
	for _, user := range []string{"//hunter2@", "//x:hunter2@", "//hunter2:@"} {
		_, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(strings.Replace(srv.URL, "//", user, 1)+"/f"))
		if err != nil {
			t.Fatal(err)
		}
		if d := ref.Description(); strings.Contains(d, "hunter2") || !strings.Contains(d, srv.Listener.Addr().String()) {
			t.Errorf("described as %q", d)
		}
		_, _, err = sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(strings.Replace(srv.URL, "//", user, 1)+"/f", pb.AttrHTTPChecksum, digest.FromString("other").String()))
		wantError(t, err, "digest mismatch", srv.Listener.Addr().String())
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v shows a token", err)
		}
	}
}

// A file that does not end does not fill the disk, and headers that do not end are an error.
func TestEndlessAnswers(t *testing.T) {
	testenv.Root(t)
	disk, err := os.MkdirTemp("", "")
	check.OK(t, err)
	check.OK(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=32m"))
	t.Cleanup(func() { check.OK(t, errors.Join(unix.Unmount(disk, 0), os.Remove(disk))) })
	t.Setenv("TMPDIR", disk)
	e := sourcetest.New(t)
	src := newSource(t, e)
	used := func() int64 {
		var st unix.Statfs_t
		check.OK(t, unix.Statfs(disk, &st))
		return int64(st.Blocks-st.Bfree) * st.Bsize
	}
	before := used()
	for path, c := range map[string]struct {
		send func(w io.Writer)
		says string
	}{
		"/file":    {func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\n\r\n") }, `the file "file" of `},
		"/headers": {func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\n") }, "server"}, // its headers are too many, or take too long
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			c.send(conn)
			for line := []byte("X-" + strings.Repeat("a", 1000) + ": b\r\n"); err == nil; {
				_, err = conn.Write(line)
			}
			_ = conn.Close()
		}))
		_, _, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(s.URL+path))
		wantError(t, err, c.says)
		s.Close()
	}
	check.OK(t, e.Store.Collect(t.Context()))
	if now := used(); now > before+1<<20 {
		t.Errorf("%d bytes are used, %d were", now, before)
	}
}
