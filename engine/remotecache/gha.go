package remotecache

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/objects"
)

// gha is the backend for the cache of GitHub Actions, with BuildKit's attributes and keys.
func gha(d Deps) Backend {
	open := func(a *attrs) *objects.GHA {
		at, v1 := a.ghaURL()
		store, err := objects.GHA{
			URL: at, V1: v1, Token: a.needed("token"), Timeout: a.duration("timeout", 10*time.Minute),
			Repository: a.Attrs["repository"], GitHubToken: a.Attrs["ghtoken"], Agree: agree,
		}.Open(d.Objects)
		if err != nil {
			a.fail("%w", err)
		}
		return store
	}
	place := func(a *attrs) objectPlace {
		p := objectPlace{blob: func(of digest.Digest) string { return "buildkit-blob-1-" + of.String() }}
		p.trust, p.sign = a.trust(), a.signer(d.Sessions)
		store := open(a)
		if store == nil {
			return p
		}
		p.store = store
		for _, s := range store.Scopes() {
			key := "index-" + a.or("scope", "buildkit") + "-1-" + digest.FromString(s.Scope).Encoded()[:8] + "#"
			p.read = append(p.read, key)
			if s.Writes() {
				p.write = []string{key}
			}
		}
		return p
	}
	return Backend{
		Source: func(a *attrs) Source { return place(a) },
		Destination: func(a *attrs) Destination {
			p := place(a)
			if p.store != nil && len(p.write) == 0 {
				a.fail("token: it is only to read")
			}
			// What is not used for seven days is removed there.
			return &objectDestination{objectPlace: p, fresh: 12 * time.Hour, uploads: parallel}
		},
	}
}

// agree is how long another is waited for that writes the same cache.
const agree = 5 * time.Second

// ghaURL is where the cache is, and whether it speaks the old version.
func (a *attrs) ghaURL() (at string, v1 bool) {
	version := a.or("version", "")
	if version != "" && version != "1" && version != "2" {
		a.fail("version=%q: there are 1 and 2", version)
	}
	if v := a.Attrs["url_v2"]; v != "" && version != "1" {
		return v, false
	}
	at = a.Attrs["url"]
	if at == "" {
		a.fail("url is missing, and so is url_v2")
	}
	return at, version != "2" && !strings.Contains(at, "results-receiver.actions.githubusercontent.com")
}
