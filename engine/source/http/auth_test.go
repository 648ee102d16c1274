package http_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/session/sessiontest"
	source "github.com/tenonbuild/tenon/engine/source/http"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
)

// world is many web servers, whatever their names: all requests end here. A path that
// begins with /to/ is sent on to the address behind it.
type world struct {
	mu   sync.Mutex // guards seen
	seen map[string]http.Header
}

// ServeHTTP implements http.Handler.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	w.mu.Lock()
	w.seen[scheme+r.Host] = r.Header.Clone()
	w.mu.Unlock()
	http.SetCookie(rw, &http.Cookie{Name: "session", Value: "cookie"})
	if _, next, ok := strings.Cut(r.URL.Path, "/to/"); ok {
		rw.Header().Set("Location", next)
		rw.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	_, _ = rw.Write([]byte("text")) // the client may have gone
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}

// received checks the Authorization header that a place received last, and that it was
// not told of another.
func (w *world) received(t *testing.T, place, want string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.seen[place]
	if h == nil {
		t.Errorf("%s was not asked", place)
	}
	if got := h.Get("Authorization"); got != want {
		t.Errorf("%s received %q, want %q", place, got, want)
	}
	if h.Get("Referer") != "" || h.Get("Cookie") != "" {
		t.Errorf("%s was told of another place: %v", place, h)
	}
}

// newWorld makes a Source that reaches it.
func newWorld(t *testing.T, e *sourcetest.Env) (*world, *source.Source) {
	t.Helper()
	w := &world{seen: map[string]http.Header{}}
	plain, secure := httptest.NewServer(w), httptest.NewTLSServer(w)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	dial := func(srv *httptest.Server) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
		}
	}
	s, err := source.New(source.Options{Store: e.Store, Sessions: e.Sessions, Wait: time.Millisecond, Transport: &http.Transport{
		DialContext: dial(plain),
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(secure)(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w, s
}

func secrets(kv ...string) local.Options {
	var o local.Options
	for i := 0; i < len(kv); i += 2 {
		o.Secrets = append(o.Secrets, local.Secret{ID: kv[i], Value: []byte(kv[i+1])})
	}
	return o
}

// A secret goes to the scheme, host and port that it is named after, wherever requests
// come from, and to no other.
func TestSecretsAreBoundToOrigins(t *testing.T) {
	e := sourcetest.New(t)
	w, src := newWorld(t, e)
	opt := secrets("HTTP_AUTH_TOKEN_a.example", "A", "HTTP_AUTH_HEADER_b.example:8443", "Own B",
		"HTTP_AUTH_TOKEN_http://c.example:8080", "C", "HTTP_AUTH_TOKEN_127.0.0.1:81", "L")
	places := map[string]string{
		"https://a.example":       "Bearer A",
		"https://a.example:8443":  "",
		"https://sub.a.example":   "",
		"http://a.example":        "",
		"http://a.example:443":    "",
		"https://b.example":       "",
		"https://b.example:8443":  "Own B",
		"http://b.example:8443":   "",
		"http://c.example:8080":   "Bearer C",
		"https://c.example:8080":  "",
		"http://127.0.0.1:81":     "Bearer L",
		"http://127.0.0.1:82":     "",
		"http://127.0.0.2:81":     "",
		"https://other.example:1": "",
	}
	for from, first := range places {
		for to, second := range places {
			w.forget()
			if _, _, err := sourcetest.Solve(e.Build(t, opt), t, src, op(from+"/to/"+to+"/f")); err != nil {
				t.Fatalf("%s to %s: %v", from, to, err)
			}
			w.received(t, from, first)
			w.received(t, to, second)
		}
	}
}

// What an operation or its URL names is for the place of the URL.
func TestNamedSecretsAreBoundToTheURL(t *testing.T) {
	e := sourcetest.New(t)
	w, src := newWorld(t, e)
	named := func(url string) *pb.SourceOp { return op(url, pb.AttrHTTPAuthHeaderSecret, "mine") }
	const password = "Basic dXNlcjpwdw=="
	for _, c := range []struct {
		op          *pb.SourceOp
		from, first string
		to, second  string
	}{
		{named("https://a.example/f"), "https://a.example", "Own", "https://a.example", "Own"},
		{named("https://a.example/to/https://a.example/f"), "https://a.example", "Own", "https://a.example", "Own"},
		{named("https://a.example/to/https://a.example:8443/f"), "https://a.example", "Own", "https://a.example:8443", ""},
		{named("https://a.example/to/http://a.example/f"), "https://a.example", "Own", "http://a.example", ""},
		{named("https://a.example/to/https://b.example/f"), "https://a.example", "Own", "https://b.example", "Bearer B"},
		{named("http://127.0.0.1:81/to/http://127.0.0.1:82/f"), "http://127.0.0.1:81", "Own", "http://127.0.0.1:82", ""},
		{op("https://user:pw@a.example/to/https://a.example/f"), "https://a.example", password, "https://a.example", password},
		{op("https://user:pw@a.example/to/https://x.a.example/f"), "https://a.example", password, "https://x.a.example", ""},
		{op("https://user:pw@a.example/to/https://b.example/f"), "https://a.example", password, "https://b.example", "Bearer B"},
		{op("https://user:pw@a.example/to/https://evil:pw@c.example/f"), "https://a.example", password, "https://c.example", ""},
		{op("http://user:pw@a.example/to/https://a.example/f"), "http://a.example", password, "https://a.example", ""},
	} {
		w.forget()
		opt := secrets("mine", "Own", "HTTP_AUTH_TOKEN_b.example", "B")
		if _, _, err := sourcetest.Solve(e.Build(t, opt), t, src, c.op); err != nil {
			t.Fatalf("%s: %v", c.op.Identifier, err)
		}
		w.received(t, c.from, c.first)
		w.received(t, c.to, c.second)
	}
	_, _, err := sourcetest.Solve(e.Build(t, secrets("mine", "Own")), t, src, named("http://a.example/f"))
	wantError(t, err, "mine", "plain http", "use https")
	_, _, err = sourcetest.Solve(e.Build(t, secrets("HTTP_AUTH_TOKEN_b.example", "B\nX")), t, src, op("https://a.example/to/https://b.example/f"))
	wantError(t, err, "HTTP_AUTH_TOKEN_b.example", "several lines")
	endless := "https://a.example" + strings.Repeat("/to/https://a.example", 12)
	_, _, err = sourcetest.Solve(e.Build(t, local.Options{}), t, src, op(endless))
	wantError(t, err, "redirects more than")
}

// A build that shares a file with one whose client does not answer has it fetched with its own
// secret, or with none.
func TestStalledClient(t *testing.T) {
	for name, c := range map[string]struct {
		op     *pb.SourceOp
		opt    local.Options
		header string
	}{
		"by place": {op("https://a.example/f"), secrets("HTTP_AUTH_TOKEN_a.example", "A"), "Bearer A"},
		"by name":  {op("https://a.example/f", pb.AttrHTTPAuthHeaderSecret, "mine"), secrets("mine", "Own"), "Own"},
		"none":     {op("https://a.example/f"), local.Options{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := sourcetest.New(t)
			w, src := newWorld(t, e)
			shared, _ := sessiontest.Beside(e.Build(t, c.opt), t, e.Sessions)
			if _, _, err := sourcetest.Solve(shared, t, src, c.op); err != nil {
				t.Fatal(err)
			}
			w.received(t, "https://a.example", c.header)
		})
	}
}
