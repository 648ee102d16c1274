package objects_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/objects/objectstest"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

func ghaOf(t *testing.T, s *registrytest.Server, v1 bool, token string) *objects.GHA {
	t.Helper()
	g, err := objects.GHA{URL: s.HTTP.URL + "/", Token: token, V1: v1}.Open(objects.NewTransport())
	ok(t, err)
	return g
}

func TestGHA(t *testing.T) {
	ctx := context.Background()
	for name, v1 := range map[string]bool{"v1": true, "v2": false} {
		t.Run(name, func(t *testing.T) {
			server := objectstest.NewGHA(t)
			g := ghaOf(t, server, v1, objectstest.Token("refs/heads/main"))
			text := []byte(strings.Repeat("text\n", 1000))
			ok(t, g.Put(ctx, "blob-10", body(t, text)))
			ok(t, g.Put(ctx, "blob-10", body(t, text)))
			got, err := read(g, "blob-10", len(text))
			if ok(t, err); !bytes.Equal(got, text) {
				t.Errorf("read %q", got)
			}
			for _, key := range []string{"blob-1", "none"} { // the server finds what begins with a key
				if _, err := g.Get(ctx, key, 0); !errdefs.IsNotFound(err) {
					t.Errorf("%s: %v", key, err)
				}
			}
			for _, s := range []string{"one", "two", "three"} {
				ok(t, g.Replace(ctx, "index#", body(t, []byte(s))))
				if got, err := read(g, "index#", len(s)); err != nil || string(got) != s {
					t.Errorf("read %q, %v", got, err)
				}
			}
			there, err := g.Have(ctx, []string{"blob-10", "blob-1", "blob-2"})
			if ok(t, err); len(there) != 1 || there["blob-10"].IsZero() {
				t.Errorf("there are %v", there)
			}
			// A connection that breaks is made again, from there.
			server.Fault("/signed/", 1, registrytest.Cut(100))
			if got, err := read(g, "blob-10", len(text)); err != nil || !bytes.Equal(got, text) {
				t.Errorf("after a broken connection: %v", err)
			}
		})
	}
}

// TestGHATaken writes where another has begun to, and given up.
func TestGHATaken(t *testing.T) {
	ctx := context.Background()
	for name, v1 := range map[string]bool{"v1": true, "v2": false} {
		t.Run(name, func(t *testing.T) {
			server := objectstest.NewGHA(t)
			g := ghaOf(t, server, v1, objectstest.Token("main"))
			upload := "PUT /signed"
			if v1 {
				upload = "PATCH "
			}
			server.Fault(upload, 1, registrytest.Status(403))
			if err := g.Replace(ctx, "index#", body(t, []byte("lost"))); err == nil {
				t.Fatal("a refused upload was no error")
			}
			ok(t, g.Replace(ctx, "index#", body(t, []byte("kept"))))
			if got, err := read(g, "index#", 4); err != nil || string(got) != "kept" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
}

func TestGHAFaults(t *testing.T) {
	ctx := context.Background()
	const secret = "signature"
	for name, c := range map[string]struct {
		fault registrytest.Handler
		says  string
	}{
		"denied":     {registrytest.Status(401), "access denied (401)"},
		"much later": {registrytest.Status(429, "Retry-After", "3600"), "(429)"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = w.Write([]byte("<html>"))
		}, "its answer"},
		"no URL": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = w.Write([]byte(`{"ok":true,"matched_key":"k","signed_download_url":"file:///etc/passwd"}`))
		}, "no URL"},
		"endless": {registrytest.Endless(`{"ok":`), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			server := objectstest.NewGHA(t)
			g := ghaOf(t, server, false, objectstest.Token("main"))
			server.Fault("GetCacheEntry", 1, c.fault)
			_, err := g.Get(ctx, "k", 0)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestGHAToken(t *testing.T) {
	for token, want := range map[string]string{
		"":                        "no JSON Web Token",
		"a.b!.c":                  "its claims",
		"a." + "bm8" + ".c":       "its claims",
		"a.e30.c":                 "the claim ac",
		"a.eyJhYyI6IltdIn0.c":     "it has 0 scopes",
		"a.eyJleHAiOjF9.c":        "it has expired at 1970-01-01T00:00:01Z",
		objectstest.Token("main"): "",
	} {
		g, err := objects.GHA{URL: "https://host", Token: token, Timeout: time.Minute}.Open(nil)
		switch {
		case want == "" && (err != nil || len(g.Scopes()) != 1 || !g.Scopes()[0].Writes()):
			t.Errorf("a good one: %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v", token, err)
		}
	}
}
