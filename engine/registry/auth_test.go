package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
)

// basic demands a user and a password.
func basic(user, secret string) registrytest.Handler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != secret {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// bearer demands a token from /token of the same server, where grant decides.
func bearer(s *registrytest.Server, grant func(r *http.Request) (status int)) {
	s.Fault("/token", 1000, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if status := grant(r); status != 200 {
			w.WriteHeader(status)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": "t1", "access_token": "t1", "expires_in": 300})
	})
	s.Fault("/v2/", 1000, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Header.Get("Authorization") != "Bearer t1" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+s.Host+`/token",service="test",scope="repository:app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// lent makes sessions and a context that works for the first.
func lent(t *testing.T, all ...*lender) (*session.Sessions, context.Context, []func()) {
	t.Helper()
	sessions := &session.Sessions{}
	var removes []func()
	for _, l := range all {
		remove, err := sessions.Add(l)
		check.OK(t, err)
		removes = append(removes, remove)
	}
	return sessions, work(t, all[0].id), removes
}

func TestBasicAuth(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	s.Fault("/v2/", 1000, basic("jane", "pw"))
	l := &lender{id: "a", known: map[string]session.Credentials{s.Host: {Username: "jane", Secret: "pw"}}}
	sessions, ctx, _ := lent(t, l)
	r, _ := open(t, registry.Options{Sessions: sessions})
	_, _, err := r.Resolve(ctx, ref)
	check.OK(t, err)
	check.OK(t, fetch(ctx, r, ref, layer))
	check.Equal(t, "asked", strings.Join(l.asked, " "), s.Host)

	_, _, err = r.Resolve(t.Context(), ref)
	check.Says(t, err, "access denied", "docker login "+s.Host)
	check.Equal(t, "denied", errors.Is(err, registry.ErrDenied), true)
	check.Equal(t, "denied fetch", errors.Is(fetch(t.Context(), r, ref, layer), registry.ErrDenied), true)

	wrong := &lender{id: "b", known: map[string]session.Credentials{s.Host: {Username: "jane", Secret: "no"}}}
	_, err = sessions.Add(wrong)
	check.OK(t, err)
	_, _, err = r.Resolve(work(t, "b"), ref)
	check.Equal(t, "denied with a wrong password", errors.Is(err, registry.ErrDenied), true)

	_, err = sessions.Add(&lender{id: "c", broken: errors.New("helper is missing")})
	check.OK(t, err)
	_, _, err = r.Resolve(work(t, "c"), ref)
	check.Says(t, err, "helper is missing", s.Host)
}

func TestBearerAuth(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	forms := make(chan url.Values, 10)
	var fails atomic.Int32
	fails.Store(2)
	bearer(s, func(r *http.Request) int {
		if r.ParseForm() != nil {
			return 400
		}
		forms <- r.PostForm
		if r.Method == http.MethodPost && fails.Add(-1) >= 0 {
			return 503
		}
		return 200
	})
	l := &lender{id: "a", known: map[string]session.Credentials{s.Host: {Secret: "identity"}}}
	sessions, ctx, _ := lent(t, l)
	r, _ := open(t, registry.Options{Sessions: sessions})
	_, _, err := r.Resolve(ctx, ref)
	check.OK(t, err)
	form := <-forms
	check.Equal(t, "grant", form.Get("grant_type"), "refresh_token")
	check.Equal(t, "token", form.Get("refresh_token"), "identity")
	s.Requests("")
	check.OK(t, fetch(ctx, r, ref, layer))
	check.Equal(t, "tokens for the same repository", len(s.Requests("/token")), 0)

	// Anonymous users get tokens, too.
	_, _, err = r.Resolve(t.Context(), ref)
	check.OK(t, err)
	check.Equal(t, "anonymous scope", strings.Contains(strings.Join(s.Requests("/token"), " "), "scope=repository%3Aapp%3Apull"), true)
}

func TestDeniedToken(t *testing.T) {
	s := registrytest.New(t)
	img, _ := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	var status atomic.Int32
	status.Store(401)
	bearer(s, func(*http.Request) int { return int(status.Load()) })
	l := &lender{id: "a", known: map[string]session.Credentials{s.Host: {Username: "jane", Secret: "pw"}}}
	sessions, ctx, _ := lent(t, l)
	r, _ := open(t, registry.Options{Sessions: sessions})
	_, _, err := r.Resolve(ctx, ref)
	check.Equal(t, "denied", errors.Is(err, registry.ErrDenied), true)
	// It is not remembered.
	status.Store(200)
	_, _, err = r.Resolve(ctx, ref)
	check.OK(t, err)
}

// A caller who leaves while it gets a token is not in the way of the others.
func TestCancelledTokenIsNobodyElses(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	var gone atomic.Bool
	ctx2, cancel := context.WithCancel(t.Context())
	bearer(s, func(*http.Request) int {
		if !gone.Swap(true) {
			cancel()
			return 404
		}
		return 200
	})
	r, _ := open(t, registry.Options{})
	check.Equal(t, "cancelled", errors.Is(fetch(ctx2, r, ref, layer), context.Canceled), true)
	check.OK(t, fetch(t.Context(), r, ref, layer))
}

// A provider goes on with the credentials of a session that is there.
func TestProviderOutlivesItsSession(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1<<20)
	ref := s.Put(t, "app:1", img)
	s.Fault("/v2/", 1000, basic("jane", "pw"))
	known := map[string]session.Credentials{s.Host: {Username: "jane", Secret: "pw"}}
	a, b := &lender{id: "a", known: known}, &lender{id: "b", known: known}
	sessions, ctxA, removes := lent(t, a, b)
	r, _ := open(t, registry.Options{Sessions: sessions})
	p := r.Provider(ref)
	_, _, err := r.Resolve(ctxA, ref)
	check.OK(t, err)
	removes[0]()
	ctxB := work(t, "b")
	ra, err := p.ReaderAt(ctxB, layer)
	check.OK(t, err)
	_, err = ra.ReadAt(make([]byte, layer.Size), 0)
	check.OK(t, err)
	check.OK(t, ra.Close())
	check.Equal(t, "asked the second", len(b.asked), 1)
	_, err = p.ReaderAt(ctxA, layer)
	check.OK(t, err)
	check.Equal(t, "the first is anonymous now", errors.Is(fetch(ctxA, r, ref, layer), registry.ErrDenied), true)
}

// A tag is resolved once a build, also by many at once, and again after a failure.
func TestTagIsResolvedOnce(t *testing.T) {
	s := registrytest.New(t)
	first, _ := picture(t, 1, 100)
	ref := s.Put(t, "app:1", first)
	sessions, ctx, _ := lent(t, &lender{id: "a"}, &lender{id: "b"})
	r, _ := open(t, registry.Options{Sessions: sessions})

	s.Fault("HEAD", 1, registrytest.Status(403))
	if _, _, err := r.Resolve(ctx, ref); err == nil {
		t.Fatal("no error")
	}
	digests := make(chan string, 8)
	for range 8 {
		go func() {
			_, desc, err := r.Resolve(ctx, ref)
			if err != nil {
				t.Error(err)
			}
			digests <- desc.Digest.String()
		}()
	}
	seen := map[string]bool{}
	for range 8 {
		seen[<-digests] = true
	}
	check.Equal(t, "digests", len(seen), 1)
	check.Equal(t, "requests", len(s.Requests("HEAD")), 2)

	second, _ := picture(t, 1, 100)
	s.Put(t, "app:1", second)
	_, same, err := r.Resolve(ctx, ref)
	check.OK(t, err)
	check.Equal(t, "moved tag in the same build", seen[same.Digest.String()], true)
	_, again, err := r.Resolve(work(t, session.OfBuild("a", "second")), ref)
	check.OK(t, err)
	check.Equal(t, "moved tag in another build of the session", seen[again.Digest.String()], false)
	_, other, err := r.Resolve(work(t, "b"), ref)
	check.OK(t, err)
	check.Equal(t, "moved tag in another session", seen[other.Digest.String()], false)
}

// Credentials may be for one repository of a host, and are not used for another.
func TestCredentialsOfARepository(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1000)
	one, two := s.Put(t, "org/one:1", img), s.Put(t, "org/two:1", img)
	s.Fault("/v2/org/one/", 1000, basic("jane", "first"))
	s.Fault("/v2/org/two/", 1000, basic("jane", "second"))
	sessions, ctx, _ := lent(t, &lender{id: "a", known: map[string]session.Credentials{
		s.Host + "/org/one": {Username: "jane", Secret: "first"},
		s.Host + "/org/two": {Username: "jane", Secret: "second"},
	}})
	r, _ := open(t, registry.Options{Sessions: sessions})
	for range 2 {
		for _, ref := range []string{one, two} {
			_, _, err := r.Resolve(ctx, ref)
			check.OK(t, err)
			check.OK(t, fetch(ctx, r, ref, layer))
		}
	}
}
