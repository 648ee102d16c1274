package objectstest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

// Token is a token of GitHub Actions with these scopes: "NAME" to read and write, "NAME:1"
// only to read.
func Token(scopes ...string) string {
	var access []map[string]any
	for _, s := range scopes {
		name, permission, ok := strings.Cut(s, ":")
		if !ok {
			permission = "3"
		}
		n, _ := strconv.Atoi(permission)
		access = append(access, map[string]any{"Scope": name, "Permission": n})
	}
	ac, _ := json.Marshal(access)
	claims, _ := json.Marshal(map[string]any{"ac": string(ac), "exp": time.Now().Add(time.Hour).Unix(), "nbf": time.Now().Add(-time.Hour).Unix()})
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc(claims) + "." + enc([]byte("signature"))
}

// NewGHA starts a cache that speaks the protocol of that of GitHub Actions, in both versions.
func NewGHA(t testing.TB) *registrytest.Server {
	t.Helper()
	g := &gha{blobs: newBlobs()}
	s := registrytest.Before(t, g)
	g.host = s.HTTP.URL
	return s
}

// gha is a cache of GitHub Actions.
type gha struct {
	host  string
	blobs *blobs

	mu      sync.Mutex // guards what follows
	entries []*ghaEntry
}

type ghaEntry struct {
	id           int
	key, version string
	done         bool
}

// ServeHTTP implements http.Handler.
func (g *gha) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/signed/") { // what was written, with the right to it in the URL
		if r.URL.Query().Get("sig") != "x" || r.Header.Get("Authorization") != "" {
			refuse(w, http.StatusForbidden, "the signature")
			return
		}
		g.blobs.ServeHTTP(w, r)
		if r.Method == http.MethodDelete {
			g.forget(r.URL.Path)
		}
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || strings.Count(token, ".") != 2 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if path, ok := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/"); ok {
		g.v2(w, path, body)
		return
	}
	if path, ok := strings.CutPrefix(r.URL.Path, "/_apis/artifactcache/"); ok {
		g.v1(w, r, path, body)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

func (g *gha) place(e *ghaEntry) string { return fmt.Sprintf("%s/signed/%d?sig=x", g.host, e.id) }

// forget removes the entry that is at a place.
func (g *gha) forget(path string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.entries {
		if "/signed/"+strconv.Itoa(e.id) == path {
			e.key, e.done = "", false
		}
	}
}

// find finds the newest that begins with a key.
func (g *gha) find(key, version string) (found *ghaEntry) {
	for _, e := range g.entries {
		if e.done && e.version == version && strings.HasPrefix(e.key, key) {
			found = e
		}
	}
	return found
}

// reserve makes an entry; nil: the key is taken.
func (g *gha) reserve(key, version string) *ghaEntry {
	for _, e := range g.entries {
		if e.key == key && e.version == version {
			return nil
		}
	}
	e := &ghaEntry{id: len(g.entries) + 1, key: key, version: version}
	g.entries = append(g.entries, e)
	return e
}

func (g *gha) v2(w http.ResponseWriter, method string, body []byte) {
	var in struct{ Key, Version string }
	if err := json.Unmarshal(body, &in); err != nil || in.Version == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	out := map[string]any{"ok": false}
	switch method {
	case "GetCacheEntryDownloadURL":
		if e := g.find(in.Key, in.Version); e != nil {
			out = map[string]any{"ok": true, "signed_download_url": g.place(e), "matched_key": e.key}
		}
	case "CreateCacheEntry":
		e := g.reserve(in.Key, in.Version)
		if e == nil {
			w.WriteHeader(http.StatusConflict)
			out = map[string]any{"code": "already_exists", "msg": "cache entry with the same key exists"}
			break
		}
		out = map[string]any{"ok": true, "signed_upload_url": g.place(e)}
	case "FinalizeCacheEntryUpload":
		for _, e := range g.entries {
			if e.key == in.Key && e.version == in.Version {
				e.done = true
				out = map[string]any{"ok": true, "entry_id": strconv.Itoa(e.id)}
			}
		}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (g *gha) v1(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	var in struct {
		Key, Version string
		Size         int
	}
	_ = json.Unmarshal(body, &in) // a chunk is none
	id, isEntry := strings.CutPrefix(path, "caches/")
	n, _ := strconv.Atoi(id)
	if isEntry && (n < 1 || n > len(g.entries)) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	at := fmt.Sprintf("/signed/%d", n)
	switch {
	case path == "cache":
		e := g.find(r.URL.Query().Get("keys"), r.URL.Query().Get("version"))
		if e == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cacheKey": e.key, "archiveLocation": g.place(e)})
	case path == "caches":
		e := g.reserve(in.Key, in.Version)
		if e == nil {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"Cache already exists","typeKey":"ArtifactCacheItemAlreadyExistsException"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cacheId": e.id})
	case r.Method == http.MethodPatch:
		g.blobs.mu.Lock()
		defer g.blobs.mu.Unlock()
		g.blobs.all[at] = blob{append(g.blobs.all[at].bytes, body...), time.Now()}
	case len(g.blobs.all[at].bytes) != in.Size:
		w.WriteHeader(http.StatusBadRequest)
	default:
		g.entries[n-1].done = true
	}
}
