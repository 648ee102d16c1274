package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver/client"
)

// stored writes an index of images, one a platform, into a content store.
func stored(t testing.TB, images ...v1.Image) (content.Store, ocispec.Descriptor, v1.ImageIndex) {
	t.Helper()
	var adds []mutate.IndexAddendum
	for i, img := range images {
		adds = append(adds, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: fmt.Sprintf("arch%d", i)},
		}})
	}
	index := mutate.AppendManifests(empty.Index, adds...)
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	check.OK(t, err)
	check.OK(t, path.AppendIndex(index))
	store, err := contentlocal.NewStore(filepath.Clean(dir))
	check.OK(t, err)
	dgst, err := index.Digest()
	check.OK(t, err)
	size, err := index.Size()
	check.OK(t, err)
	mt, err := index.MediaType()
	check.OK(t, err)
	return store, ocispec.Descriptor{MediaType: string(mt), Digest: digest.Digest(dgst.String()), Size: size}, index
}

func pictures(t testing.TB, n int, size int64) []v1.Image {
	t.Helper()
	var all []v1.Image
	for i := range n {
		img, _ := picture(t, 2, size)
		c, err := img.ConfigFile()
		check.OK(t, err)
		c = c.DeepCopy()
		c.OS, c.Architecture = "linux", fmt.Sprintf("arch%d", i)
		img, err = mutate.ConfigFile(img, c)
		check.OK(t, err)
		all = append(all, img)
	}
	return all
}

// arrived reads an index back with another client, and compares all of it.
func arrived(t testing.TB, s *registrytest.Server, tag string, index v1.ImageIndex) {
	t.Helper()
	got, err := s.Get(t, tag).ImageIndex()
	check.OK(t, err)
	check.OK(t, validate.Index(got))
	a, err := got.Digest()
	check.OK(t, err)
	b, err := index.Digest()
	check.OK(t, err)
	check.Equal(t, "digest", a, b)
}

func TestPush(t *testing.T) {
	s := registrytest.New(t)
	store, desc, index := stored(t, pictures(t, 2, 100_000)...)
	r, _ := open(t, registry.Options{})
	var mu sync.Mutex
	seen := map[string]client.VertexStatus{}
	opt := registry.PushOptions{Progress: func(st client.VertexStatus) {
		mu.Lock()
		defer mu.Unlock()
		seen[st.ID] = st
	}}
	ref := s.Host + "/team/app:1"
	check.OK(t, r.Push(t.Context(), store, desc, ref, opt))
	requests := s.Requests("PUT")
	arrived(t, s, "team/app:1", index)

	check.Equal(t, "uploads", len(requests), 6+3)
	for i, line := range requests {
		check.Equal(t, line, strings.Contains(line, "/manifests/"), i >= 6)
	}
	check.Equal(t, "the name comes last", strings.HasSuffix(requests[8], "/manifests/1"), true)
	check.Equal(t, "steps", len(seen), 2+6)
	for id, st := range seen {
		check.Equal(t, id+" has ended", st.Completed != nil && st.Current == st.Total, true)
	}

	// Again, and under another name: nothing is uploaded but the name.
	s.Requests("")
	check.OK(t, r.Push(t.Context(), store, desc, ref, registry.PushOptions{}))
	check.Equal(t, "uploads again", len(s.Requests("PUT")), 0)
	check.OK(t, r.Push(t.Context(), store, desc, s.Host+"/team/app:2", registry.PushOptions{}))
	check.Equal(t, "uploads for a name", len(s.Requests("PUT")), 1)
	arrived(t, s, "team/app:2", index)
}

func TestPushByDigest(t *testing.T) {
	s := registrytest.New(t)
	store, desc, index := stored(t, pictures(t, 1, 1000)...)
	r, _ := open(t, registry.Options{})
	check.OK(t, r.Push(t.Context(), store, desc, s.Host+"/app", registry.PushOptions{ByDigest: true}))
	arrived(t, s, "app@"+desc.Digest.String(), index)
	check.Says(t, r.Push(t.Context(), store, desc, s.Host+"/app:1", registry.PushOptions{ByDigest: true}), "tag")
	check.Says(t, r.Push(t.Context(), store, desc, s.Host+"/app@"+desc.Digest.String(), registry.PushOptions{}), "tag")
	check.Says(t, r.Push(t.Context(), store, desc, "Not A Name", registry.PushOptions{}), "Not A Name")
}

// Uploads that fail begin anew, and the result is the same.
func TestPushThroughFaults(t *testing.T) {
	half := func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = r.Body.Read(make([]byte, 1000))
		panic(http.ErrAbortHandler)
	}
	over := make(chan struct{}) // a server does not see the client go while a body is unread
	stall := func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = r.Body.Read(make([]byte, 1000))
		<-over
	}
	lost := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.WriteHeader(http.StatusNotFound)
	}
	tests := []struct {
		name, match string
		times       int
		do          registrytest.Handler
	}{
		{"start fails", "POST /v2/app/blobs/uploads/", 3, registrytest.Status(500)},
		{"start is throttled", "POST /v2/app/blobs/uploads/", 3, registrytest.Status(429, "Retry-After", "1")},
		{"upload fails", "PUT /v2/app/blobs/uploads/", 3, registrytest.Status(502)},
		{"upload is throttled", "PUT /v2/app/blobs/uploads/", 3, registrytest.Status(429)},
		{"upload breaks off", "PUT /v2/app/blobs/uploads/", 2, half},
		{"upload stalls", "PUT /v2/app/blobs/uploads/", 2, stall},
		{"upload is lost", "PUT /v2/app/blobs/uploads/", 1, lost},
		{"manifest fails", "PUT /v2/app/manifests/", 2, registrytest.Status(503)},
		{"manifest is dropped", "PUT /v2/app/manifests/", 1, registrytest.Drop},
		{"look-up fails", "HEAD", 4, registrytest.Status(503)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := registrytest.New(t)
			if tt.name == "upload stalls" {
				defer close(over)
			}
			store, desc, index := stored(t, pictures(t, 1, 200_000)...)
			r, _ := open(t, registry.Options{StallTimeout: 50 * time.Millisecond})
			s.Fault(tt.match, tt.times, tt.do)
			check.OK(t, r.Push(t.Context(), store, desc, s.Host+"/app:1", registry.PushOptions{}))
			arrived(t, s, "app:1", index)
		})
	}
}

func TestPushGivesUp(t *testing.T) {
	s := registrytest.New(t)
	store, desc, _ := stored(t, pictures(t, 1, 100_000)...)
	r, _ := open(t, registry.Options{Attempts: 3})
	ref := s.Host + "/app:1"
	s.Fault("PUT /v2/app/blobs", 1000, registrytest.Status(500))
	err := r.Push(t.Context(), store, desc, ref, registry.PushOptions{})
	check.Says(t, err, ref, "500", "3 attempts")

	s.Fault("POST", 1000, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"quota is used up"}]}`))
	})
	err = r.Push(t.Context(), store, desc, ref, registry.PushOptions{})
	check.Says(t, err, ref, "quota is used up", "docker login "+s.Host)
	check.Equal(t, "denied", errors.Is(err, registry.ErrDenied), true)
}

func TestPushIsCancelled(t *testing.T) {
	s := registrytest.New(t)
	store, desc, _ := stored(t, pictures(t, 1, 200_000)...)
	r, _ := open(t, registry.Options{StallTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault("PUT", 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		cancel()
		registrytest.Stall(w, r, next)
	})
	err := r.Push(ctx, store, desc, s.Host+"/app:1", registry.PushOptions{})
	check.Equal(t, "cancelled", errors.Is(err, context.Canceled), true)
}

// A registry that answers an upload with a place that is no address does not hold a
// push up.
func TestPushToNowhere(t *testing.T) {
	s := registrytest.New(t)
	store, desc, _ := stored(t, pictures(t, 1, 1000)...)
	r, _ := open(t, registry.Options{})
	for _, location := range []string{"/v2/app/%25zz", "http://%zz/", "://", "http://[::1"} {
		s.Fault("POST", 4, registrytest.Status(202, "Location", location))
		if err := r.Push(t.Context(), store, desc, s.Host+"/app:1", registry.PushOptions{}); err == nil {
			t.Fatalf("%s: no error", location)
		}
	}
}

// A blob that the registry has in another repository is not uploaded.
func TestPushMounts(t *testing.T) {
	s := registrytest.New(t)
	store, desc, _ := stored(t, pictures(t, 1, 1000)...)
	r, _ := open(t, registry.Options{})
	s.Fault("HEAD /v2/team/app/blobs/", 100, registrytest.Status(404))
	s.Fault("mount=", 100, registrytest.Status(201))
	annotations := map[digest.Digest]map[string]string{}
	check.OK(t, store.Walk(t.Context(), func(i content.Info) error {
		annotations[i.Digest] = map[string]string{"containerd.io/distribution.source." + strings.Split(s.Host, ":")[0]: "other/base"}
		return nil
	}))
	err := r.Push(t.Context(), store, desc, s.Host+"/team/app:1", registry.PushOptions{Annotations: annotations})
	check.OK(t, err)
	requests := s.Requests("")
	mounts := slices.DeleteFunc(slices.Clone(requests), func(l string) bool { return !strings.Contains(l, "from=other/base") })
	check.Equal(t, "mounts", len(mounts), 3)
	uploads := slices.DeleteFunc(requests, func(l string) bool { return !strings.HasPrefix(l, "PUT /v2/team/app/blobs") })
	check.Equal(t, "uploads", len(uploads), 0)
}

func TestPushWhatIsNotThere(t *testing.T) {
	s := registrytest.New(t)
	store, desc, index := stored(t, pictures(t, 1, 1000)...)
	r, _ := open(t, registry.Options{})
	ref := s.Host + "/app:1"
	check.Says(t, r.Push(t.Context(), store, ocispec.Descriptor{Digest: "sha256:1"}, ref, registry.PushOptions{}), ref, "digest")
	blob := desc
	blob.MediaType = "text/plain"
	check.Says(t, r.Push(t.Context(), store, blob, ref, registry.PushOptions{}), "text/plain")

	m, err := index.IndexManifest()
	check.OK(t, err)
	img, err := index.Image(m.Manifests[0].Digest)
	check.OK(t, err)
	im, err := img.Manifest()
	check.OK(t, err)
	gone := digest.Digest(im.Layers[0].Digest.String())
	check.OK(t, store.Delete(t.Context(), gone))
	check.Says(t, r.Push(t.Context(), store, desc, ref, registry.PushOptions{}), ref, gone.String(), "not found")
	check.Equal(t, "nothing has a name", len(s.Requests("PUT /v2/app/manifests")), 0)
}

func TestPushInsecureAndWithCredentials(t *testing.T) {
	s := registrytest.NewTLS(t)
	store, desc, index := stored(t, pictures(t, 1, 1000)...)
	l := &lender{id: "a", known: map[string]session.Credentials{s.Host: {Username: "jane", Secret: "pw"}}}
	sessions, ctx, _ := lent(t, l)
	r, _ := open(t, registry.Options{Sessions: sessions})
	s.Fault("/v2/", 14, basic("jane", "pw"))
	check.OK(t, r.Push(ctx, store, desc, s.Host+"/app:1", registry.PushOptions{Insecure: true}))
	s.Fault("GET /v2/ ", 1, registrytest.Status(200))
	arrived(t, s, "app:1", index)
}
