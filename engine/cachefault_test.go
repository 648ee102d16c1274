package engine_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

// traveller builds a definition with caches that travel.
type traveller struct {
	t   *testing.T
	reg *registrytest.Server
}

// steps is a chain of files, of which the last one is in the output.
func steps() llb.State {
	st := llb.Scratch()
	for _, name := range []string{"a", "b", "c"} {
		st = st.File(llb.Mkfile("/"+name, 0o644, []byte(strings.Repeat(name, 1000))))
	}
	return st
}

func (w *traveller) cache(tag string) remotecache.Option {
	return remotecache.Option{Type: "registry", Attrs: map[string]string{"ref": w.reg.Host + "/" + tag, "mode": "max"}}
}

// open opens a builder that has nothing.
func (w *traveller) open() *engine.Engine {
	w.t.Helper()
	e, err := engine.Open(w.t.Context(), engine.Options{Root: w.t.TempDir()})
	check.OK(w.t, err)
	w.t.Cleanup(func() { check.OK(w.t, e.Close()) })
	return e
}

// said is what a build has shown.
type said struct {
	executed, loaded int
	warnings, errors string
}

func (w *traveller) build(e *engine.Engine, st llb.State, req engine.Request) (said, *engine.Response, error) {
	w.t.Helper()
	def, err := st.Marshal(w.t.Context())
	check.OK(w.t, err)
	req.Definition = def.ToPB()
	var out said
	var reading errgroup.Group
	ch := make(chan *client.SolveStatus)
	req.Status = ch
	reading.Go(func() error {
		for s := range ch {
			for _, v := range s.Vertexes {
				out.errors += v.Error
				if strings.HasPrefix(v.Name, "mkfile") && v.Completed != nil {
					switch v.Outcome {
					case client.Executed:
						out.executed++
					case client.Cached:
						out.loaded++
					}
				}
			}
			for _, warning := range s.Warnings {
				out.warnings += string(warning.Short)
			}
		}
		return nil
	})
	res, err := e.Build(w.t.Context(), req)
	check.OK(w.t, reading.Wait())
	return out, res, err
}

// output builds into a directory, and checks what is in it.
func (w *traveller) output(e *engine.Engine, st llb.State, from ...remotecache.Option) said {
	w.t.Helper()
	dir := w.t.TempDir()
	out, _, err := w.build(e, st, engine.Request{CacheFrom: from, Exports: []export.Request{{Type: "local", Dir: dir}}})
	check.OK(w.t, err)
	for _, name := range []string{"a", "b", "c"} {
		dt, err := os.ReadFile(filepath.Join(dir, name))
		check.OK(w.t, err)
		check.Equal(w.t, name, string(dt), strings.Repeat(name, 1000))
	}
	return out
}

// A cache that cannot be had, or whose layers cannot, or are not what they should be, fails
// no build: what was to be read from it is built.
func TestCacheFaults(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	_, _, err := w.build(w.open(), steps(), engine.Request{CacheTo: []remotecache.Option{w.cache("app:c")}})
	check.OK(t, err)
	got := w.output(w.open(), steps(), w.cache("app:c"))
	check.Equal(t, "executed", got.executed, 0)
	check.Equal(t, "loaded", got.loaded, 1)

	swapped := func(rw http.ResponseWriter, r *http.Request, next http.Handler) { _, _ = rw.Write([]byte("another")) }
	// The first two blobs that are read are the config and a layer.
	for _, c := range []struct {
		name, match string
		skip, times int
		do          registrytest.Handler
		loaded      bool
		says        string
	}{
		{"401", "manifests", 0, 99, registrytest.Status(401), false, "access denied"},
		{"403", "manifests", 0, 99, registrytest.Status(403), false, "access denied"},
		{"404", "manifests", 0, 99, registrytest.Status(404), false, "does not have it"},
		{"config is gone", "GET /v2/app/blobs", 0, 99, registrytest.Status(404), false, "the cache's config"},
		{"config is damaged", "GET /v2/app/blobs", 0, 1, registrytest.Corrupt, false, "is damaged"},
		{"config is another", "GET /v2/app/blobs", 0, 1, swapped, false, "the cache's config"},
		{"layer is gone", "GET /v2/app/blobs", 1, 99, registrytest.Status(404), true, "a layer cannot be had"},
		{"layer is refused", "GET /v2/app/blobs", 1, 99, registrytest.Status(403), true, "a layer cannot be had"},
		{"layer is damaged", "GET /v2/app/blobs", 1, 99, registrytest.Corrupt, true, "a layer cannot be had"},
		{"layer is another", "GET /v2/app/blobs", 1, 99, swapped, true, "a layer cannot be had"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &traveller{t: t, reg: registrytest.New(t)}
			_, _, err := w.build(w.open(), steps(), engine.Request{CacheTo: []remotecache.Option{w.cache("app:c")}})
			check.OK(t, err)
			if c.skip > 0 {
				w.reg.Fault(c.match, c.skip, func(rw http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(rw, r) })
			}
			w.reg.Fault(c.match, c.times, c.do)
			e := w.open()
			got := w.output(e, steps(), w.cache("app:c"))
			check.Equal(t, "executed", got.executed, 3)
			check.Says(t, errorOf(got.errors+got.warnings), c.says)
			// Now it is in the store.
			got = w.output(e, steps(), w.cache("app:c"))
			check.Equal(t, "executed again", got.executed, 0)
		})
	}
}

// errorOf is a text as an error.
type errorOf string

func (e errorOf) Error() string { return string(e) }

// What a build had done when it failed is in its caches, also that of steps beside the one
// that failed.
func TestCacheOfFailedBuild(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	bad := steps().File(llb.Copy(llb.Scratch().File(llb.Mkfile("/x", 0o644, nil)), "/none", "/"))
	_, res, err := w.build(w.open(), bad, engine.Request{CacheTo: []remotecache.Option{w.cache("app:c")}})
	check.Says(t, err, "none")
	check.Equal(t, "told", res.Caches[0][remotecache.ResponseManifest] != "", true)
	got := w.output(w.open(), steps(), w.cache("app:c"))
	check.Equal(t, "executed", got.executed, 0)

	// Where the cache cannot be written, the build's own error is told.
	w.reg.Fault("", 1<<30, registrytest.Status(500))
	_, _, err = w.build(w.open(), bad, engine.Request{CacheTo: []remotecache.Option{w.cache("app:d")}})
	check.Says(t, err, "none")
}

// A cache is written also where the one that a build has read loses its layers meanwhile: it
// has what is left.
func TestCacheLostWhileExporting(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	_, _, err := w.build(w.open(), steps(), engine.Request{CacheTo: []remotecache.Option{w.cache("app:c")}})
	check.OK(t, err)
	// The config is there, and no layer.
	w.reg.Fault("GET /v2/app/blobs", 1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(rw, r) })
	w.reg.Fault("GET /v2/app/blobs", 1<<30, registrytest.Status(403))
	st := steps().File(llb.Mkfile("/d", 0o644, nil))
	_, _, err = w.build(w.open(), st, engine.Request{CacheFrom: []remotecache.Option{w.cache("app:c")}, CacheTo: []remotecache.Option{w.cache("other:c")}})
	check.OK(t, err)
	check.Equal(t, "manifests", len(w.reg.Requests("PUT /v2/other/manifests/c")), 1)
	got, _, err := w.build(w.open(), st, engine.Request{CacheFrom: []remotecache.Option{w.cache("other:c")}})
	check.OK(t, err)
	check.Equal(t, "executed", got.executed, 0)
}
