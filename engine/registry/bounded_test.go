package registry_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

// What a registry answers without an end is read to a limit, whatever it is.
func TestEndlessAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		fault string
		do    registrytest.Handler
		want  string
	}{
		"manifest": {"GET /v2/app/manifests", endlessManifest, "its answer is larger than 8 MiB"},
		"error":    {"/v2/app/manifests", endlessError, "403"},
		"token":    {"GET /token", registrytest.Endless(`{"token":"`), "its answer is larger than 8 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			s.Fault(c.fault, 1000, c.do)
			if name == "token" {
				s.Fault("/v2/app/manifests", 1000, registrytest.Status(http.StatusUnauthorized, "WWW-Authenticate", `Bearer realm="http://`+s.Host+`/token"`))
			} else {
				s.Fault("HEAD /v2/app/manifests", 1000, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
					w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest) // but no digest
				})
			}
			r, _ := open(t, registry.Options{Attempts: 2})
			_, _, err := r.Resolve(t.Context(), s.Host+"/app:1")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.1000v", err)
			}
			if err != nil && len(err.Error()) > 100_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func endlessManifest(w http.ResponseWriter, r *http.Request, next http.Handler) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	registrytest.Endless(`{"config":"`)(w, r, next)
}

func endlessError(w http.ResponseWriter, r *http.Request, next http.Handler) {
	w.WriteHeader(http.StatusForbidden)
	registrytest.Endless(`{"errors":[{"code":"`)(w, r, next)
}

// A blob is read as far as its descriptor says.
func TestEndlessBlob(t *testing.T) {
	s := registrytest.New(t)
	s.Fault("/blobs/", 1000, registrytest.Endless("blob"))
	r, _ := open(t, registry.Options{})
	for _, want := range []int64{0, 9 << 20} {
		rc, err := r.Fetcher(s.Host+"/app:1").Fetch(t.Context(), ocispec.Descriptor{Digest: digest.FromString("x"), Size: want, MediaType: ocispec.MediaTypeImageLayer})
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, rc)
		if n != want || err != nil {
			t.Errorf("of size %d: %d bytes, %v", want, n, err)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
}
