package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// written is a traveller whose registry has the cache of steps.
func written(t *testing.T) *traveller {
	t.Helper()
	w := &traveller{t: t, reg: registrytest.New(t)}
	_, _, err := w.build(w.open(), steps(), engine.Request{CacheTo: []remotecache.Option{w.cache("app:c")}})
	check.OK(t, err)
	w.reg.Requests("")
	return w
}

// A cache that asks to be asked again soon is waited for. One that asks for more than a build
// waits is done without, and until then no other build asks it.
func TestCacheBusy(t *testing.T) {
	testenv.Root(t)
	w := written(t)
	w.reg.Fault("manifests", 1, registrytest.Status(429, "Retry-After", "1"))
	got := w.output(w.open(), steps(), w.cache("app:c"))
	check.Equal(t, "executed after a second", got.executed, 0)

	w.reg.Fault("manifests", 1, registrytest.Status(429, "Retry-After", "3600"))
	e := w.open()
	w.reg.Requests("")
	got = w.output(e, steps(), w.cache("app:c"))
	check.Equal(t, "executed", got.executed, 3)
	check.Says(t, errorOf(got.errors), "come back in 1h0m0s")
	check.Equal(t, "requests", len(w.reg.Requests("")), 1)
	got, _, err := w.build(e, steps().File(llb.Mkfile("/d", 0o644, nil)), engine.Request{CacheFrom: []remotecache.Option{w.cache("app:c")}})
	check.OK(t, err)
	check.Says(t, errorOf(got.errors), "is not asked before")
	check.Equal(t, "requests of another build", len(w.reg.Requests("")), 0)
}

// loggedIn is a session that has a login.
type loggedIn struct {
	session.Session
	as session.Credentials
}

func (l loggedIn) Credentials(context.Context, string, string) (session.Credentials, error) {
	return l.as, nil
}

// A cache that asks one user to come back later is asked for another, and again for the first
// only then.
func TestCacheBusyForOne(t *testing.T) {
	testenv.Root(t)
	w := written(t)
	e := w.open()
	n := 0
	asked := func(user, client string, from ...remotecache.Option) int {
		t.Helper()
		n++
		s := loggedIn{session.Empty(fmt.Sprint("session ", n)), session.Credentials{Username: user, Secret: "secret"}}
		st := steps().File(llb.Mkfile(fmt.Sprint("/", n), 0o644, nil)) // which is not in the store yet
		_, _, err := w.build(e, st, engine.Request{CacheFrom: from, Session: s, Client: client})
		check.OK(t, err)
		return len(w.reg.Requests(""))
	}
	w.reg.Fault("manifests", 1, registrytest.Status(429, "Retry-After", "3600"))
	check.Equal(t, "requests", asked("one", "a", w.cache("app:c")), 1)
	check.Equal(t, "requests of the same user", asked("one", "a", w.cache("app:c")), 0)
	check.Equal(t, "another is asked for", asked("two", "a", w.cache("app:c")) > 0, true)
	check.Equal(t, "another client is asked for", asked("one", "b", w.cache("app:c")) > 0, true)
	check.Equal(t, "requests of the same user", asked("one", "a", w.cache("app:c")), 0)
}

// A cache that fails each time, or gives only the beginnings of blobs, is given up, and what
// it had is built.
func TestCacheFailsOn(t *testing.T) {
	testenv.Root(t)
	if testing.Short() {
		t.Skip("it waits between attempts")
	}
	halved := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		all := httptest.NewRecorder()
		next.ServeHTTP(all, r)
		_, _ = rw.Write(all.Body.Bytes()[:all.Body.Len()/2])
	}
	pass := func(rw http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(rw, r) }
	for _, c := range []struct {
		name, match string
		skip        int
		do          registrytest.Handler
		says        string
	}{
		{"500", "manifests", 0, registrytest.Status(500), "500"},
		{"config is truncated", "GET /v2/app/blobs", 0, halved, "the cache's config"},
		{"layer is truncated", "GET /v2/app/blobs", 1, halved, "a layer cannot be had"},
		{"layer is dropped", "GET /v2/app/blobs", 1, registrytest.Drop, "a layer cannot be had"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := written(t)
			if c.skip > 0 {
				w.reg.Fault(c.match, c.skip, pass)
			}
			w.reg.Fault(c.match, 99, c.do)
			got := w.output(w.open(), steps(), w.cache("app:c"))
			check.Equal(t, "executed", got.executed, 3)
			check.Says(t, errorOf(got.errors+got.warnings), c.says)
		})
	}
}

// A registry that refuses, fails or has no room fails an export, unless that may fail; it has
// no manifest then.
func TestCacheNotWritten(t *testing.T) {
	testenv.Root(t)
	for _, c := range []struct {
		match string
		do    registrytest.Handler
		says  string
	}{
		{"/v2/app/", registrytest.Status(401), "access denied"},
		{"/v2/app/", registrytest.Status(403), "access denied"},
		{"PUT /v2/app/blobs", registrytest.Status(507), "507"},
		{"POST /v2/app/blobs", registrytest.Status(429, "Retry-After", "3600"), "come back in 1h0m0s"},
		{"PUT /v2/app/manifests", registrytest.Status(413), "413"},
	} {
		t.Run(c.match+" "+c.says, func(t *testing.T) {
			w := &traveller{t: t, reg: registrytest.New(t)}
			w.reg.Fault(c.match, 99, c.do)
			e := w.open()
			to := w.cache("app:c")
			_, _, err := w.build(e, steps(), engine.Request{CacheTo: []remotecache.Option{to}})
			check.Says(t, err, "exporting cache to", c.says)
			to.Attrs["ignore-error"] = "true"
			got, _, err := w.build(e, steps(), engine.Request{CacheTo: []remotecache.Option{to}})
			check.OK(t, err)
			check.Says(t, errorOf(got.errors), c.says)
		})
	}
}
