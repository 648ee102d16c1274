package objects

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

// TestParts writes an object of several parts, as large ones are.
func TestParts(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("b"); err != nil {
		t.Fatal(err)
	}
	server := registrytest.Before(t, gofakes3.New(backend).Server())
	s, err := S3{Bucket: "b", Region: "r", Endpoint: "http://" + server.Host, PathStyle: true}.Open(NewTransport())
	if err != nil {
		t.Fatal(err)
	}
	const mb = 1 << 20
	s.whole, s.part = 6*mb, 5*mb
	text := bytes.Repeat([]byte("0123456789abcdef"), 12*mb/16)
	server.Fault("partNumber=2", 1, registrytest.Drop)
	put := func(key string, dgst digest.Digest) error {
		b, err := NewBody(bytes.NewReader(text), int64(len(text)), dgst)
		if err != nil {
			t.Fatal(err)
		}
		return s.Put(context.Background(), key, b)
	}
	if err := put("large", digest.FromBytes(text)); err != nil {
		t.Fatal(err)
	}
	if n := len(server.Requests("partNumber")); n != 4 {
		t.Errorf("%d requests for parts, of which one failed", n)
	}
	o, err := s.Get(context.Background(), "large", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close() //nolint:errcheck // it is a test's
	if dt, err := io.ReadAll(o); err != nil || !bytes.Equal(dt, text) {
		t.Errorf("%d bytes: %v", len(dt), err)
	}
	if err := put("wrong", digest.FromString("another")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("what is not what it should be: %v", err)
	}
	if len(server.Requests("DELETE")) != 1 {
		t.Error("the upload was not given up")
	}
	if _, err := s.Get(context.Background(), "wrong", 0); !errdefs.IsNotFound(err) {
		t.Errorf("it was written: %v", err)
	}
}
