// Package objectstest has stores of objects for tests, in process and on loopback, which
// fail as they are told to.
package objectstest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

// What the stores take to be known.
const (
	Bucket = "caches"
	KeyID  = "AKIATEST"
	Secret = "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
)

// NewS3 starts a store that speaks S3's protocol, with Bucket.
func NewS3(t testing.TB) *registrytest.Server {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(backend).Server()
	return registrytest.Before(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), " Credential="+KeyID+"/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"))
			return
		}
		store.ServeHTTP(w, r)
	}))
}
