package engine_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/objects/objectstest"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// fixed is steps, whose layers are the same whenever they are made.
func fixed() llb.State {
	st := llb.Scratch()
	for _, name := range []string{"a", "b", "c"} {
		st = st.File(llb.Mkfile("/"+name, 0o644, []byte(strings.Repeat(name, 1000)), llb.WithCreatedTime(time.Unix(1e9, 0))))
	}
	return st
}

// lose has the registry lose a layer that the cache names.
func (w *traveller) lose(n int) {
	w.t.Helper()
	var m ocispec.Manifest
	check.OK(w.t, json.Unmarshal(w.reg.Get(w.t, "app:c").Manifest, &m))
	w.reg.Delete(w.t, "/v2/app/blobs/"+m.Layers[n].Digest.String())
}

// A registry that has lost a layer of its last cache refuses a manifest that names it. Then it
// is asked about each layer, and gets what it lacks.
func TestCacheHoleRefused(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	e := w.open()
	to := []remotecache.Option{w.cache("app:c")}
	_, _, err := w.build(e, steps(), engine.Request{CacheTo: to})
	check.OK(t, err)
	w.lose(0)
	w.reg.Fault("PUT /v2/app/manifests", 99, registrytest.Whole)
	w.reg.Requests("")
	st := steps().File(llb.Mkfile("/d", 0o644, nil))
	_, _, err = w.build(e, st, engine.Request{CacheTo: to})
	check.OK(t, err)
	requests := w.reg.Requests("PUT")
	check.Equal(t, "manifests", strings.Count(strings.Join(requests, "\n"), "/manifests/c"), 2)
	got := w.output(w.open(), st, w.cache("app:c"))
	check.Equal(t, "executed", got.executed, 0)

	// Where it refuses whatever it has, that is told after a second attempt.
	w.reg.Fault("PUT /v2/other/manifests", 99, registrytest.Status(http.StatusBadRequest))
	other := []remotecache.Option{w.cache("other:c")}
	_, _, err = w.build(e, st, engine.Request{CacheTo: other})
	check.Says(t, err, "400")
}

// Where a build has seen that layers of a cache are gone, what it writes is whole: a place is
// asked about each layer.
func TestCacheHoleSeen(t *testing.T) {
	testenv.Root(t)
	t.Run("registry", func(t *testing.T) {
		w := &traveller{t: t, reg: registrytest.New(t)}
		w.filled(w.cache("app:c"), func() { w.lose(2) })
	})
	t.Run("gha", func(t *testing.T) {
		w := &traveller{t: t, reg: objectstest.NewGHA(t)}
		cache := remotecache.Option{Type: "gha", Attrs: map[string]string{
			"url_v2": w.reg.HTTP.URL, "token": objectstest.Token("refs/heads/main"), "mode": "max",
		}}
		w.filled(cache, func() { w.reg.Delete(t, "/signed/3?sig=x") })
	})
	t.Run("s3", func(t *testing.T) {
		w := &traveller{t: t, reg: objectstest.NewS3(t)}
		cache := remotecache.Option{Type: "s3", Attrs: map[string]string{
			"endpoint_url": w.reg.HTTP.URL, "bucket": objectstest.Bucket, "region": "eu-central-1", "use_path_style": "true",
			"access_key_id": objectstest.KeyID, "secret_access_key": objectstest.Secret, "mode": "max",
		}}
		w.filled(cache, func() {
			for _, line := range w.reg.Requests("PUT") {
				if at := strings.TrimPrefix(line, "PUT "); strings.Contains(at, "/blobs/") {
					w.reg.Delete(t, at, "Authorization", " Credential="+objectstest.KeyID+"/")
				}
			}
		})
	})
	t.Run("azblob", func(t *testing.T) {
		w := &traveller{t: t, reg: objectstest.NewAzure(t)}
		cache := remotecache.Option{Type: "azblob", Attrs: map[string]string{
			"account_url": w.reg.HTTP.URL, "account_name": objectstest.Account, "secret_access_key": objectstest.Secret, "mode": "max",
		}}
		w.filled(cache, func() {
			for _, line := range w.reg.Requests("PUT") {
				if at := strings.TrimPrefix(line, "PUT "); strings.Contains(at, "/blobs/") {
					w.reg.Delete(t, at+"?sig=s", "X-Ms-Version", "1")
				}
			}
		})
	})
}

// filled writes a cache, loses layers of it, and sees that a build that has read it and
// writes it again fills the hole.
func (w *traveller) filled(cache remotecache.Option, lose func()) {
	w.t.Helper()
	_, _, err := w.build(w.open(), fixed(), engine.Request{CacheTo: []remotecache.Option{cache}})
	check.OK(w.t, err)
	lose()
	got, _, err := w.build(w.open(), fixed(), engine.Request{
		CacheFrom: []remotecache.Option{cache}, CacheTo: []remotecache.Option{cache},
		Exports: []export.Request{{Type: "local", Dir: w.t.TempDir()}},
	})
	check.OK(w.t, err)
	check.Says(w.t, errorOf(got.warnings), "a layer cannot be had")
	got = w.output(w.open(), fixed(), cache)
	check.Equal(w.t, "executed", got.executed, 0)
}
