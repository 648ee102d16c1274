package http_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/session/local"
	source "github.com/tenonbuild/tenon/engine/source/http"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
)

// server serves one file, and counts how often it sends it.
type server struct {
	*httptest.Server
	mu       sync.Mutex // guards what is below
	text     string
	header   map[string]string
	etag     bool
	handler  http.HandlerFunc // instead, if not nil
	asked    int
	sent     int
	lastSeen http.Header
}

func serve(t *testing.T, text string) *server {
	s := &server{text: text, etag: true, header: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	s.lastSeen = r.Header.Clone()
	if s.handler != nil {
		s.handler(w, r)
		return
	}
	for k, v := range s.header {
		w.Header().Set(k, v)
	}
	tag := s.tag()
	if s.etag {
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if since := r.Header.Get("If-Modified-Since"); since != "" && since == s.header["Last-Modified"] {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		s.sent++
	}
	_, _ = w.Write([]byte(s.text)) // the client may have gone
}

func (s *server) tag() string { return fmt.Sprintf("%q", digest.FromString(s.text).Encoded()[:8]) }

// change changes the server between requests.
func (s *server) change(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// wants checks how often the server was asked, and sent the file, since the last time.
func (s *server) wants(t *testing.T, asked, sent int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != asked || s.sent != sent {
		t.Errorf("asked %d times, sent %d times; want %d and %d", s.asked, s.sent, asked, sent)
	}
	s.asked, s.sent = 0, 0
}

func newSource(t *testing.T, e *sourcetest.Env) *source.Source {
	t.Helper()
	s, err := source.New(source.Options{Store: e.Store, Sessions: e.Sessions, Wait: time.Millisecond, Stall: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func op(url string, attrs ...string) *pb.SourceOp {
	o := &pb.SourceOp{Identifier: url, Attrs: map[string]string{}}
	for i := 0; i < len(attrs); i += 2 {
		o.Attrs[attrs[i]] = attrs[i+1]
	}
	return o
}

// fetch solves op in a build of its own, and expects one file.
func fetch(t *testing.T, e *sourcetest.Env, src *source.Source, o *pb.SourceOp, name, text string) (key string, f sourcetest.File) {
	t.Helper()
	key, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, o)
	if err != nil {
		t.Fatal(err)
	}
	files := sourcetest.Files(t, ref)
	if len(files) != 1 || files[name].Text != text {
		t.Errorf("the tree has %+v, want %s: %q", files, name, text)
	}
	return key, files[name]
}

func wantError(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

func TestFile(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "hello")
	src := newSource(t, e)
	url := srv.URL + "/dir/file.txt?x=y"
	key, f := fetch(t, e, src, op(url), "file.txt", "hello")
	srv.wants(t, 1, 1)
	if f.Mode != 0o600 {
		t.Errorf("mode %v", f.Mode)
	}
	if !strings.Contains(key, digest.FromString("hello").String()) {
		t.Errorf("key %q", key)
	}
	other, f := fetch(t, e, src, op(url, pb.AttrHTTPPerm, "0755", pb.AttrHTTPFilename, "x/../name"), "name", "hello")
	if f.Mode != 0o755 || other == key {
		t.Errorf("mode %v, keys %q and %q", f.Mode, key, other)
	}
	if owned, _ := fetch(t, e, src, op(url, pb.AttrHTTPUID, "7", pb.AttrHTTPGID, "8"), "file.txt", "hello"); owned == key {
		t.Error("the owner is no part of the key")
	}
}

// What is the same is not sent again, also by another Source (another process).
func TestRevalidation(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "one")
	key, _ := fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "one")
	srv.wants(t, 1, 1)
	again, _ := fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "one")
	srv.wants(t, 1, 0)
	srv.change(func() { srv.text = "two" })
	changed, _ := fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "two")
	srv.wants(t, 2, 1)
	if again != key || changed == key {
		t.Errorf("keys %q, %q, %q", key, again, changed)
	}

	// By time only where a file cannot change within the second.
	srv.change(func() {
		srv.etag = false
		srv.header["Last-Modified"] = "Sat, 01 Jan 2022 00:00:00 GMT"
	})
	timed, _ := fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "two")
	srv.wants(t, 2, 1)
	fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "two")
	srv.wants(t, 1, 0)
	if timed == changed {
		t.Errorf("the time is no part of the key: %q", timed)
	}
	srv.change(func() { srv.header["Last-Modified"] = time.Now().UTC().Format(http.TimeFormat) })
	fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "two")
	srv.change(func() { srv.text = "six" }) // within the second
	fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "six")
	srv.wants(t, 2, 2)
}

// A server that has tags, and sends the file whatever it is asked with, is asked for the tag
// first. One that has no HEAD is asked as well.
func TestRevalidationOfOddServers(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "text")
	get := func() { fetch(t, e, newSource(t, e), op(srv.URL+"/f"), "f", "text") }
	get()
	srv.wants(t, 1, 1)
	srv.change(func() {
		srv.handler = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", "W/"+srv.tag()) // as servers have it that compress
			if r.Method == http.MethodGet {
				srv.sent++
			}
			_, _ = w.Write([]byte("text")) // the client may have gone
		}
	})
	get()
	srv.wants(t, 1, 0)
	srv.change(func() {
		srv.handler = func(w http.ResponseWriter, r *http.Request) {
			status := http.StatusMethodNotAllowed
			if r.Method == http.MethodGet && r.Header.Get("If-None-Match") == srv.tag() {
				status = http.StatusNotModified
			}
			w.WriteHeader(status)
		}
	})
	get()
	srv.wants(t, 2, 0)
}

func TestOnceABuild(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "one")
	srv.etag = false
	src := newSource(t, e)
	ctx := e.Build(t, local.Options{})
	first, ref, err := sourcetest.Solve(ctx, t, src, op(srv.URL+"/f"))
	if err != nil {
		t.Fatal(err)
	}
	srv.change(func() { srv.text = "two" })
	second, ref2, err := sourcetest.Solve(ctx, t, src, op(srv.URL+"/f"))
	if err != nil {
		t.Fatal(err)
	}
	if first != second || ref.ID() != ref2.ID() {
		t.Errorf("keys %q and %q, trees %s and %s", first, second, ref.ID(), ref2.ID())
	}
	srv.wants(t, 1, 1)
	// The same bytes are one tree, however often they are sent.
	srv.change(func() { srv.text = "one" })
	_, ref3, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(srv.URL+"/f"))
	if err != nil || ref3.ID() != ref.ID() {
		t.Errorf("trees %s and %s, %v", ref.ID(), ref3.ID(), err)
	}
}

func TestChecksum(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "hello")
	src := newSource(t, e)
	sum := digest.FromString("hello")
	in, err := src.Parse(op(srv.URL+"/f", pb.AttrHTTPChecksum, sum.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := e.Build(t, local.Options{})
	pinned, _, err := in.CacheKey(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	srv.wants(t, 0, 0)
	plain, _ := fetch(t, e, src, op(srv.URL+"/f"), "f", "hello")
	if pinned != plain {
		t.Errorf("keys %q and %q of one file", pinned, plain)
	}
	srv.wants(t, 1, 1)
	fetch(t, e, src, op(srv.URL+"/f", pb.AttrHTTPChecksum, sum.String()), "f", "hello")
	srv.wants(t, 0, 0) // it is there
	fetch(t, e, src, op(srv.URL+"/other", pb.AttrHTTPChecksum, digest.SHA512.FromString("hello").String()), "other", "hello")

	wrong := digest.FromString("other")
	_, _, err = sourcetest.Solve(ctx, t, src, op(srv.URL+"/f", pb.AttrHTTPChecksum, wrong.String()))
	wantError(t, err, "/f", wrong.String(), sum.String())
	var mismatch *source.MismatchError
	if !errors.As(err, &mismatch) || mismatch.Got != sum || !mismatch.Pinned {
		t.Errorf("%+v", mismatch)
	}
}

func TestFilenames(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "x")
	src := newSource(t, e)
	for i, c := range []struct{ path, attr, disposition, want string }{
		{"/a/b", "", "", "b"},
		{"", "", "", "download"},
		{"/", "", "", "download"},
		{"/a/..", "", "", "download"},
		{"/a/%2e%2e", "", "", "download"},
		{"/a%2fb", "", "", "b"},
		{"/a%0ab", "", "", "download"},
		{"/" + strings.Repeat("n", 256), "", "", "download"},
		{"/a", "", `attachment; filename="c d.txt"`, "c d.txt"},
		{"/a", "", `attachment; filename="../../etc/passwd"`, "passwd"},
		{"/a", "", `attachment; filename="dir/"`, "a"},
		{"/a", "", `attachment; filename*=UTF-8''%e2%82%ac.txt`, "€.txt"},
		{"/a", "", `broken; ; "`, "a"},
		{"/a", "mine", `attachment; filename="theirs"`, "mine"},
		{"/a", "..", "", "download"},
		{"/a", "/abs/x", "", "x"},
	} {
		srv.change(func() { srv.header = map[string]string{"Content-Disposition": c.disposition} })
		fetch(t, e, src, op(fmt.Sprintf("%s%s?%d", srv.URL, c.path, i), pb.AttrHTTPFilename, c.attr), c.want, "x")
	}
}

func TestAuthorization(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "x")
	src := newSource(t, e)
	host := strings.TrimPrefix(srv.URL, "http://")
	secret := func(id, v string) local.Options {
		return local.Options{Secrets: []local.Secret{{ID: id, Value: []byte(v)}}}
	}
	for _, c := range []struct {
		opt  local.Options
		name string
		want string
	}{
		{local.Options{}, "", ""},
		{secret("HTTP_AUTH_TOKEN_127.0.0.1", "tok\n"), "", ""}, // another port
		{secret("HTTP_AUTH_TOKEN_"+host, "tok\n"), "", "Bearer tok"},
		{secret("HTTP_AUTH_HEADER_"+host, "Basic abc"), "", "Basic abc"},
		{secret("mine", "Own x"), "mine", "Own x"},
	} {
		if _, _, err := sourcetest.Solve(e.Build(t, c.opt), t, src, op(srv.URL+"/f", pb.AttrHTTPAuthHeaderSecret, c.name)); err != nil {
			t.Error(err)
		}
		if got := srv.lastSeen.Get("Authorization"); got != c.want {
			t.Errorf("Authorization %q, want %q", got, c.want)
		}
	}
	_, _, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(srv.URL+"/f", pb.AttrHTTPAuthHeaderSecret, "mine"))
	wantError(t, err, "mine", "--secret")
	_, _, err = sourcetest.Solve(e.Build(t, secret("mine", "a\nb")), t, src, op(srv.URL+"/f", pb.AttrHTTPAuthHeaderSecret, "mine"))
	wantError(t, err, "mine", "several lines")
	if strings.Contains(err.Error(), "a\nb") {
		t.Error("the error shows the secret")
	}
	fetch(t, e, src, op(srv.URL+"/f", "http.header.accept", "text/x"), "f", "x")
	if got := srv.lastSeen.Get("Accept"); got != "text/x" {
		t.Errorf("Accept %q", got)
	}
}

func TestMetadata(t *testing.T) {
	e := sourcetest.New(t)
	srv := serve(t, "hello")
	changed := time.Date(2022, 1, 2, 3, 4, 5, 0, time.UTC)
	srv.header["Last-Modified"] = changed.Format(http.TimeFormat)
	src := newSource(t, e)
	ctx := e.Build(t, local.Options{})
	o := op(srv.URL + "/f")
	opt := sourceresolver.Opt{HTTPOpt: &sourceresolver.ResolveHTTPOpt{ChecksumReq: &sourceresolver.ResolveHTTPChecksumRequest{
		Algo: sourceresolver.ResolveHTTPChecksumAlgoSHA512, Suffix: []byte(" world"),
	}}}
	m, err := src.ResolveMetadata(ctx, o, opt)
	if err != nil {
		t.Fatal(err)
	}
	h := m.HTTP
	if m.Op != o || h.Digest != digest.FromString("hello") || h.Filename != "f" || h.LastModified == nil || !h.LastModified.Equal(changed) ||
		h.ChecksumResponse.Digest != digest.SHA512.FromString("hello world").String() {
		t.Errorf("%+v %+v", h, h.ChecksumResponse)
	}
	_, ref, err := sourcetest.Solve(ctx, t, src, o)
	if err != nil {
		t.Fatal(err)
	}
	srv.wants(t, 1, 1)
	err = trees.Read(context.Background(), ref, func(dir string) error {
		fi, err := os.Stat(dir + "/f")
		if err == nil && !fi.ModTime().Equal(changed) {
			t.Errorf("changed at %v", fi.ModTime())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	opt.HTTPOpt.ChecksumReq.Algo = 17
	_, err = src.ResolveMetadata(ctx, o, opt)
	wantError(t, err, "17")
}
