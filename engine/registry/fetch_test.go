package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/util/resolver/config"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/internal/check"
)

func TestResolveAndFetch(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 2, 1000)
	ref := s.Put(t, "team/app:1", img)
	r, w := open(t, registry.Options{UserAgent: "tenon/test"})

	agent := make(chan string, 1)
	s.Fault("/manifests/1", 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		agent <- r.Header.Get("User-Agent")
		next.ServeHTTP(w, r)
	})
	name, desc, err := r.Resolve(t.Context(), ref)
	check.OK(t, err)
	dgst, err := img.Digest()
	check.OK(t, err)
	check.Equal(t, "name", name, ref)
	check.Equal(t, "digest", desc.Digest.String(), dgst.String())
	check.Equal(t, "user agent", <-agent, "tenon/test")
	check.OK(t, fetch(t.Context(), r, ref, desc))
	check.OK(t, fetch(t.Context(), r, ref, layer))
	check.Equal(t, "waits", len(w.all()), 0)

	_, _, err = r.Resolve(t.Context(), s.Host+"/team/app:2")
	check.Says(t, err, s.Host+"/team/app:2", "docker login")
	check.Equal(t, "not found", errdefs.IsNotFound(err), true)
	_, _, err = r.Resolve(t.Context(), "not a name")
	check.Says(t, err, "not a name")
}

func TestTransientFailuresAreRepeated(t *testing.T) {
	tests := []struct {
		name string
		do   registrytest.Handler
	}{
		{"500", registrytest.Status(500)},
		{"502", registrytest.Status(502)},
		{"503", registrytest.Status(503)},
		{"429", registrytest.Status(429)},
		{"dropped", registrytest.Drop},
		{"stalled", registrytest.Stall},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := registrytest.New(t)
			img, layer := picture(t, 1, 1000)
			ref := s.Put(t, "app:1", img)
			r, w := open(t, registry.Options{StallTimeout: time.Second})
			s.Fault("HEAD", 3, tt.do)
			_, _, err := r.Resolve(t.Context(), ref)
			check.OK(t, err)
			s.Fault("/blobs/", 2, tt.do)
			check.OK(t, fetch(t.Context(), r, ref, layer))
			if tt.name == "dropped" {
				return // net/http repeats some of these itself, at once
			}
			check.Equal(t, "waits", len(w.all()) >= 5, true)
			for i := 1; i < 3; i++ {
				if w.all()[i] < w.all()[i-1]/2 {
					t.Errorf("waits do not grow: %v", w.all())
				}
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := registrytest.New(t)
	img, _ := picture(t, 1, 100)
	ref := s.Put(t, "app:1", img)
	r, w := open(t, registry.Options{})
	now := time.Now().UTC()
	s.Fault("HEAD", 1, registrytest.Status(429, "Retry-After", "7"))
	s.Fault("HEAD", 1, registrytest.Status(503, "Retry-After", now.Add(42*time.Second).Format(http.TimeFormat), "Date", now.Format(http.TimeFormat)))
	_, _, err := r.Resolve(t.Context(), ref)
	check.OK(t, err)
	check.Equal(t, "waits", len(w.all()), 2)
	check.Equal(t, "seconds", w.all()[0], 7*time.Second)
	check.Equal(t, "date", w.all()[1], 42*time.Second)

	s.Fault("HEAD", 9, registrytest.Status(429, "Retry-After", "3600"))
	_, _, err = r.Resolve(t.Context(), ref)
	check.Says(t, err, "429", "1h0m0s", ref)
	check.Equal(t, "waits", len(w.all()), 2)
}

func TestAttemptsAreBounded(t *testing.T) {
	for name, do := range map[string]registrytest.Handler{
		"status": registrytest.Status(503), "throttled": registrytest.Status(429),
		"drop": registrytest.Drop, "stall": registrytest.Stall,
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			img, layer := picture(t, 1, 100)
			ref := s.Put(t, "app:1", img)
			r, _ := open(t, registry.Options{Attempts: 3, StallTimeout: 30 * time.Millisecond})
			s.Fault("HEAD", 1000, do)
			_, _, err := r.Resolve(t.Context(), ref)
			check.Says(t, err, ref, "3 attempts")
			check.Equal(t, "requests to resolve", len(s.Requests("HEAD")), 3)
			s.Fault("/blobs/", 1000, do)
			err = fetch(t.Context(), r, ref, layer)
			check.Says(t, err, ref, layer.Digest.String(), "3 attempts")
			check.Equal(t, "requests to fetch", len(s.Requests("/blobs/")), 3)
		})
	}
}

func TestRefusedConnectionIsNotRepeated(t *testing.T) {
	s := registrytest.New(t)
	s.HTTP.Close()
	r, w := open(t, registry.Options{})
	_, _, err := r.Resolve(t.Context(), s.Host+"/app:1")
	check.Says(t, err, s.Host, "refused")
	check.Equal(t, "waits", len(w.all()), 0)
}

// What broke off goes on where it was, by range.
func TestTransferIsResumed(t *testing.T) {
	for name, fault := range map[string]func(int) registrytest.Handler{"cut": registrytest.Cut, "hang": registrytest.Hang} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			img, layer := picture(t, 1, 3<<20)
			ref := s.Put(t, "app:1", img)
			r, _ := open(t, registry.Options{StallTimeout: time.Second})
			ranges := make(chan string, 10)
			next := fault(1 << 20)
			s.Fault("/blobs/", 3, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
				ranges <- r.Header.Get("Range")
				next(w, r, h)
			})
			check.OK(t, fetch(t.Context(), r, ref, layer))
			check.Equal(t, "first range", <-ranges, "")
			// How much arrives before a connection breaks is the kernel's affair.
			if a, b := <-ranges, <-ranges; a == "" && b == "" {
				t.Error("no transfer was resumed by range")
			}
		})
	}
}

// A registry that takes no ranges sends all again; what is known is skipped.
func TestTransferIsResumedWithoutRanges(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1<<20)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{})
	s.Fault("/blobs/", 1, registrytest.Cut(500_000))
	s.Fault("/blobs/", 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	})
	check.OK(t, fetch(t.Context(), r, ref, layer))

	s.Fault("/blobs/", 1, registrytest.Cut(500_000))
	s.Fault("/blobs/", 1, registrytest.Status(416))
	check.OK(t, fetch(t.Context(), r, ref, layer))
}

func TestTransferWithoutProgressEnds(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1<<20)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{Attempts: 3, StallTimeout: 20 * time.Millisecond})
	s.Fault("/blobs/", 1000, registrytest.Hang(0))
	err := fetch(t.Context(), r, ref, layer)
	check.Says(t, err, "sent nothing for 20ms", "3 attempts", layer.Digest.String())
	if n := len(s.Requests("/blobs/")); n > 3 {
		t.Errorf("%d requests", n)
	}
}

// What can be done without is not asked for again where the registry stalls, before it answers
// or in the middle.
func TestImpatient(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1<<20)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{Attempts: 3, StallTimeout: 20 * time.Millisecond})
	for _, fault := range []registrytest.Handler{registrytest.Stall, registrytest.Hang(1000)} {
		s.Fault("/blobs/", 1, fault)
		err := fetch(registry.Impatient(t.Context()), r, ref, layer)
		check.Says(t, err, "sent nothing for 20ms")
		check.Equal(t, "requests", len(s.Requests("/blobs/")), 1)
	}
}

// The registry says less, more, or something else than the descriptor.
func TestWrongContent(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1000)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{Attempts: 2})
	long := layer
	long.Size += 10
	err := fetch(t.Context(), r, ref, long)
	check.Says(t, err, "ended at byte")
	short := layer
	short.Size -= 10
	rc, err := r.Fetcher(ref).Fetch(t.Context(), short)
	check.OK(t, err)
	dt, err := io.ReadAll(rc)
	check.OK(t, err)
	check.OK(t, rc.Close())
	check.Equal(t, "bytes", int64(len(dt)), short.Size)
	s.Fault("/blobs/", 1, registrytest.Corrupt)
	check.Says(t, fetch(t.Context(), r, ref, layer), "with the digest")
	bad := layer
	bad.Digest = "sha256:zz"
	check.Says(t, fetch(t.Context(), r, ref, bad), "digest")
	bad.Digest = digest.FromString("elsewhere")
	err = fetch(t.Context(), r, ref, bad)
	check.Equal(t, "not found", errdefs.IsNotFound(err), true)
}

func TestReaderAt(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 100_000)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{})
	ra, err := r.Provider(ref).ReaderAt(t.Context(), layer)
	check.OK(t, err)
	check.Equal(t, "requests before reading", len(s.Requests("")), 0)
	check.Equal(t, "size", ra.Size(), layer.Size)
	all := make([]byte, layer.Size)
	n, err := ra.ReadAt(all, 0)
	check.OK(t, err)
	check.Equal(t, "read", int64(n), layer.Size)
	part := make([]byte, 1000)
	for _, off := range []int64{50_000, 51_000, 10, 99_000} {
		_, err := ra.ReadAt(part, off)
		check.OK(t, err)
		check.Equal(t, "part", bytes.Equal(part, all[off:off+1000]), true)
	}
	n, err = ra.ReadAt(part, layer.Size-10)
	check.Equal(t, "end", n == 10 && err == io.EOF, true)
	n, err = ra.ReadAt(part, layer.Size+10)
	check.Equal(t, "beyond", n == 0 && err == io.EOF, true)
	check.OK(t, ra.Close())
}

func TestCancelled(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 1<<20)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{StallTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault("/blobs/", 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		cancel()
		registrytest.Hang(1000)(w, r, next)
	})
	err := fetch(ctx, r, ref, layer)
	check.Equal(t, "cancelled", errors.Is(err, context.Canceled), true)
	check.OK(t, fetch(t.Context(), r, ref, layer))
}

func TestMirrors(t *testing.T) {
	cases := map[string]func(mirror *registrytest.Server){
		"working":   nil,
		"empty":     func(m *registrytest.Server) { m.Fault("/cache/", 9, registrytest.Status(404)) },
		"failing":   func(m *registrytest.Server) { m.Fault("/cache/", 9, registrytest.Status(500)) },
		"busy":      func(m *registrytest.Server) { m.Fault("/cache/", 9, registrytest.Status(429)) },
		"denied":    func(m *registrytest.Server) { m.Fault("/cache/", 9, registrytest.Status(403)) },
		"dropping":  func(m *registrytest.Server) { m.Fault("/cache/", 9, registrytest.Drop) },
		"stalled":   func(m *registrytest.Server) { m.Fault("/cache/", 9, registrytest.Stall) },
		"breaking":  func(m *registrytest.Server) { m.Fault("/blobs/", 1, registrytest.Cut(1000)) },
		"down":      func(m *registrytest.Server) { m.HTTP.Close() },
		"half gone": func(m *registrytest.Server) { m.Fault("/blobs/", 9, registrytest.Status(404)) },
	}
	for name, harm := range cases {
		t.Run(name, func(t *testing.T) {
			up, mirror := registrytest.New(t), registrytest.New(t)
			img, layer := picture(t, 1, 1<<20)
			ref := up.Put(t, "team/app:1", img)
			mirror.Put(t, "cache/team/app:1", img)
			r, w := open(t, registry.Options{
				StallTimeout: time.Second,
				Hosts:        map[string]config.RegistryConfig{up.Host: {Mirrors: []string{mirror.Host + "/cache"}}},
			})
			if harm != nil {
				harm(mirror)
			}
			_, _, err := r.Resolve(t.Context(), ref)
			check.OK(t, err)
			check.OK(t, fetch(t.Context(), r, ref, layer))
			if n := len(w.all()); n > 0 {
				t.Errorf("%d waits, where there was another to ask", n)
			}
			check.Equal(t, "upstream was asked", len(up.Requests("")) > 0, name != "working" && name != "breaking")
			if name == "working" {
				check.Equal(t, "requests to the mirror", len(mirror.Requests("/v2/cache/team/app/")), 2)
			}
		})
	}
}

// What a content store has of a blob already is not fetched again.
func TestIngestIsResumed(t *testing.T) {
	s := registrytest.New(t)
	img, layer := picture(t, 1, 100_000)
	ref := s.Put(t, "app:1", img)
	r, _ := open(t, registry.Options{})
	rc, err := r.Fetcher(ref).Fetch(t.Context(), layer)
	check.OK(t, err)
	half := make([]byte, 60_000)
	_, err = io.ReadFull(rc, half)
	check.OK(t, err)
	check.OK(t, rc.Close())

	store, err := contentlocal.NewStore(t.TempDir())
	check.OK(t, err)
	w, err := store.Writer(t.Context(), content.WithRef(remotes.MakeRefKey(t.Context(), layer)), content.WithDescriptor(layer))
	check.OK(t, err)
	_, err = w.Write(half)
	check.OK(t, err)
	check.OK(t, w.Close())

	ranges := make(chan string, 1)
	s.Fault("/blobs/", 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		ranges <- r.Header.Get("Range")
		next.ServeHTTP(w, r)
	})
	check.OK(t, remotes.Fetch(t.Context(), store, r.Fetcher(ref), layer))
	check.Equal(t, "range", <-ranges, "bytes=60000-")
	_, err = store.Info(t.Context(), layer.Digest)
	check.OK(t, err)
}

// Without a Wait of the caller's, time passes, and a caller who leaves does not wait.
func TestWaiting(t *testing.T) {
	s := registrytest.New(t)
	img, _ := picture(t, 1, 100)
	ref := s.Put(t, "app:1", img)
	r, err := registry.New(registry.Options{})
	check.OK(t, err)
	s.Fault("HEAD", 1, registrytest.Status(503))
	_, _, err = r.Resolve(t.Context(), ref)
	check.OK(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault("HEAD", 1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "59")
		w.WriteHeader(503)
		cancel()
	})
	_, _, err = r.Resolve(ctx, ref)
	check.Equal(t, "cancelled", errors.Is(err, context.Canceled), true)
}

// The registry's own words are part of the error.
func TestRegistrysWords(t *testing.T) {
	s := registrytest.New(t)
	r, _ := open(t, registry.Options{Attempts: 1})
	s.Fault("HEAD", 1, registrytest.Status(405))
	s.Fault("GET", 1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your limit"}]}`))
	})
	_, _, err := r.Resolve(t.Context(), s.Host+"/app:1")
	check.Says(t, err, "you have reached your limit", "429")
}
