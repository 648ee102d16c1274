package engine_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

// signal is something that happens once, or more often.
type signal struct {
	once sync.Once
	ch   chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }
func (s *signal) give()  { s.once.Do(func() { close(s.ch) }) }

// await waits for it, or for the end of ctx.
func (s *signal) await(ctx context.Context) {
	select {
	case <-s.ch:
	case <-ctx.Done():
	}
}

// late is a file whose server answers only when something has happened.
func late(t *testing.T, when *signal) llb.State {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if when.await(r.Context()); r.Context().Err() == nil {
			_, _ = rw.Write([]byte("late"))
		}
	}))
	t.Cleanup(srv.Close)
	return llb.HTTP(srv.URL+"/late", llb.Checksum(digest.FromString("late")))
}

// stepsAndLate is steps, and a last one that waits.
func stepsAndLate(t *testing.T, when *signal) llb.State {
	return steps().File(llb.Copy(late(t, when), "/late", "/late"))
}

// giving passes requests on, and tells of them.
func giving(s *signal) registrytest.Handler {
	return func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(rw, r)
		s.give()
	}
}

// layersPut are the layers that were uploaded, each with how often.
func layersPut(requests []string) map[string]int {
	out := map[string]int{}
	for _, r := range requests {
		if _, dgst, ok := strings.Cut(r, "digest="); ok && strings.HasPrefix(r, "PUT") {
			out[dgst]++
		}
	}
	return out
}

// The layers of a step are at the registry before the next step has ended, and no layer is
// written, and nothing is asked, twice.
func TestCacheAhead(t *testing.T) {
	testenv.Root(t)
	for name, attrs := range map[string]map[string]string{
		"max":  {"mode": "max"},
		"min":  {"mode": "min"},
		"zstd": {"mode": "max", "compression": "zstd", "compression-level": "19"},
		"none": {"mode": "max", "compression": "uncompressed", "force-compression": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &traveller{t: t, reg: registrytest.New(t)}
			begun := newSignal()
			w.reg.Fault("PUT /v2/app/blobs/uploads", 3, giving(begun))
			to := w.cache("app:c")
			maps.Copy(to.Attrs, attrs)
			st := stepsAndLate(t, begun)
			e := w.open()
			_, _, err := w.build(e, st, engine.Request{CacheTo: []remotecache.Option{to}})
			check.OK(t, err)
			requests := w.reg.Requests("")
			puts := layersPut(requests)
			check.Equal(t, "layers and config", len(puts), 5)
			for dgst, n := range puts {
				check.Equal(t, "uploads of "+dgst, n, 1)
			}
			heads := slices.DeleteFunc(slices.Clone(requests), func(r string) bool { return r != "HEAD /v2/app/manifests/c" })
			// Ahead, in the end, and when the manifest is pushed.
			check.Equal(t, "questions about the name", len(heads), 3)

			got, _, err := w.build(w.open(), st, engine.Request{CacheFrom: []remotecache.Option{to}})
			check.OK(t, err)
			check.Equal(t, "executed", got.executed, 0)
			// With nothing new it is one question.
			w.reg.Requests("")
			_, _, err = w.build(e, st, engine.Request{CacheTo: []remotecache.Option{to}})
			check.OK(t, err)
			check.Equal(t, "requests", strings.Join(w.reg.Requests("/v2/app"), ", "), "HEAD /v2/app/manifests/c")
		})
	}
}

// Only what is sure to be in the cache is brought: with mode=min no layer of what is only
// copied from.
func TestCacheAheadOfMin(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	begun := newSignal()
	w.reg.Fault("PUT /v2/app/blobs/uploads", 1<<30, giving(begun))
	other := llb.Scratch().File(llb.Mkfile("/x", 0o644, []byte("x"))).File(llb.Mkfile("/y", 0o644, []byte("y")))
	st := steps().File(llb.Copy(other, "/y", "/y")).File(llb.Copy(late(t, begun), "/late", "/late"))
	to := w.cache("app:c")
	delete(to.Attrs, "mode")
	_, _, err := w.build(w.open(), st, engine.Request{CacheTo: []remotecache.Option{to}})
	check.OK(t, err)
	check.Equal(t, "layers and config", len(layersPut(w.reg.Requests(""))), 6)
}

// An output that makes layers in another form than the cache gets them in its own form: then
// nothing is brought ahead.
func TestCacheAheadOfOutput(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	to := w.cache("app:c")
	to.Attrs["compression"] = "zstd"
	never := newSignal()
	never.give()
	_, _, err := w.build(w.open(), stepsAndLate(t, never), engine.Request{
		CacheTo: []remotecache.Option{to},
		Exports: []export.Request{{Type: "image", Attrs: map[string]string{"name": w.reg.Host + "/image:a", "push": "true"}}},
	})
	check.OK(t, err)
	manifest := string(w.reg.Get(t, "image:a").Manifest)
	check.Equal(t, "gzip", strings.Count(manifest, "tar+gzip"), 4)
	check.Equal(t, "zstd", strings.Count(manifest, "zstd"), 0)
}

// When a build is cancelled, its uploads end, and no cache is written.
func TestCacheAheadCancelled(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := newSignal()
	w.reg.Fault("PUT /v2/app/blobs/uploads", 1<<30, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		cancel()
		registrytest.Stall(rw, r, next)
		ended.give()
	})
	def, err := stepsAndLate(t, newSignal()).Marshal(ctx)
	check.OK(t, err)
	e := w.open()
	_, err = e.Build(ctx, engine.Request{Definition: def.ToPB(), CacheTo: []remotecache.Option{w.cache("app:c")}})
	check.Equal(t, "cancelled", errors.Is(err, context.Canceled), true)
	ended.await(t.Context())
	w.reg.Requests("")
	check.OK(t, e.Close())
	check.Equal(t, "requests", len(w.reg.Requests("")), 0)
}

// A registry that does not answer holds no step up, and one that refuses fails nothing but the
// export, and that only where it may.
func TestCacheAheadRefused(t *testing.T) {
	testenv.Root(t)
	for _, ignore := range []string{"true", "false"} {
		t.Run(ignore, func(t *testing.T) {
			w := &traveller{t: t, reg: registrytest.New(t)}
			asked, built := newSignal(), newSignal()
			w.reg.Fault("/v2/app", 1<<30, func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
				asked.give()
				built.await(r.Context())
				rw.WriteHeader(http.StatusForbidden)
			})
			to := w.cache("app:c")
			to.Attrs["ignore-error"] = ignore
			st := stepsAndLate(t, asked).File(llb.Mkfile("/last", 0o644, nil))
			def, err := st.Marshal(t.Context())
			check.OK(t, err)
			ch := make(chan *client.SolveStatus)
			var reading errgroup.Group
			reading.Go(func() error {
				for s := range ch {
					for _, v := range s.Vertexes {
						if strings.HasPrefix(v.Name, "mkfile /last") && v.Completed != nil {
							built.give()
						}
					}
				}
				return nil
			})
			_, err = w.open().Build(t.Context(), engine.Request{Definition: def.ToPB(), CacheTo: []remotecache.Option{to}, Status: ch})
			check.OK(t, reading.Wait())
			if ignore == "true" {
				check.OK(t, err)
			} else {
				check.Says(t, err, "exporting cache to")
			}
			// Once ahead, and at most once more in the end.
			check.Equal(t, "asked seldom", len(w.reg.Requests("HEAD")) <= 2, true)
		})
	}
}

// What a build has brought when it failed is not brought again.
func TestCacheAheadOfFailedBuild(t *testing.T) {
	testenv.Root(t)
	w := &traveller{t: t, reg: registrytest.New(t)}
	begun := newSignal()
	w.reg.Fault("PUT /v2/app/blobs/uploads", 1<<30, giving(begun))
	st := stepsAndLate(t, begun).File(llb.Copy(llb.Scratch().File(llb.Mkfile("/x", 0o644, nil)), "/none", "/"))
	_, _, err := w.build(w.open(), st, engine.Request{CacheTo: []remotecache.Option{w.cache("app:c")}})
	check.Says(t, err, "none")
	puts := layersPut(w.reg.Requests(""))
	check.Equal(t, "layers and config", len(puts), 5)
	for dgst, n := range puts {
		check.Equal(t, "uploads of "+dgst, n, 1)
	}
}
