package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/objects/objectstest"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
)

func bucket(t *testing.T, s *registrytest.Server) *objects.S3 {
	t.Helper()
	b, err := objects.S3{
		Bucket: objectstest.Bucket, Region: "eu-central-1", Endpoint: "http://" + s.Host, PathStyle: true,
		AccessKeyID: objectstest.KeyID, SecretAccessKey: objectstest.Secret,
	}.Open(objects.NewTransport())
	ok(t, err)
	return b
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func body(t *testing.T, dt []byte) *objects.Body {
	t.Helper()
	b, err := objects.NewBody(bytes.NewReader(dt), int64(len(dt)), digest.FromBytes(dt))
	ok(t, err)
	return b
}

func read(s objects.Store, key string, size int) ([]byte, error) {
	ra := objects.NewReader(context.Background(), s, key, int64(size))
	defer ra.Close()
	dt := make([]byte, size)
	n, err := ra.ReadAt(dt, 0)
	if errors.Is(err, io.EOF) && n == size {
		err = nil
	}
	return dt[:n], err
}

func TestS3(t *testing.T) {
	ctx := context.Background()
	server := objectstest.NewS3(t)
	b := bucket(t, server)
	text := []byte(strings.Repeat("text\n", 1000))
	ok(t, b.Put(ctx, "a/blobs/sha256:1 +ä", body(t, text)))
	ok(t, b.Put(ctx, "a/blobs/empty", body(t, nil)))
	ok(t, b.Put(ctx, "a/blobs/empty", body(t, nil)))
	got, err := read(b, "a/blobs/sha256:1 +ä", len(text))
	ok(t, err)
	if !bytes.Equal(got, text) {
		t.Errorf("read %q", got)
	}
	if _, err := b.Get(ctx, "a/none", 0); !errdefs.IsNotFound(err) {
		t.Errorf("an object that is not there: %v", err)
	}
	server.Requests("")
	there, err := b.Have(ctx, []string{"a/blobs/sha256:1 +ä", "a/blobs/none", "a/blobs/empty"})
	ok(t, err)
	if len(there) != 2 || there["a/blobs/empty"].IsZero() {
		t.Errorf("there are %v", there)
	}
	if n := server.Requests(""); len(n) != 1 {
		t.Errorf("to look for three: %q", n)
	}
	ok(t, b.Touch(ctx, "a/blobs/sha256:1 +ä", int64(len(text))))
	if got, err = read(b, "a/blobs/sha256:1 +ä", len(text)); err != nil || !bytes.Equal(got, text) {
		t.Errorf("after a touch: %q, %v", got, err)
	}
	if err := b.Touch(ctx, "a/none", 1); err == nil {
		t.Error("a touch of what is not there was no error")
	}
}

// TestS3List looks for few objects among many.
func TestS3List(t *testing.T) {
	ctx := context.Background()
	server := objectstest.NewS3(t)
	b := bucket(t, server)
	key := func(n int) string { return fmt.Sprintf("blobs/%05d", n) }
	for n := range 2500 {
		ok(t, b.Put(ctx, key(n), body(t, nil)))
	}
	server.Requests("")
	there, err := b.Have(ctx, []string{key(10), key(2400), key(9999)})
	ok(t, err)
	if len(there) != 2 {
		t.Errorf("there are %v", there)
	}
	if n := server.Requests(""); len(n) > 2 {
		t.Errorf("%d requests: %q", len(n), n)
	}
}

func TestS3Faults(t *testing.T) {
	ctx := context.Background()
	server := objectstest.NewS3(t)
	b := bucket(t, server)
	text := bytes.Repeat([]byte("0123456789"), 5000)
	ok(t, b.Put(ctx, "blob", body(t, text)))
	for _, f := range []struct {
		name  string
		fault registrytest.Handler
		times int
		fails string
	}{
		{"busy, for a moment", registrytest.Status(503), 2, ""},
		{"too many requests", registrytest.Status(429, "Retry-After", "0"), 1, ""},
		{"dropped", registrytest.Drop, 1, ""},
		{"cut", registrytest.Cut(1000), 3, ""},
		{"busy", registrytest.Status(500), 99, "(500)"},
		{"much later", registrytest.Status(429, "Retry-After", "3600"), 1, "(429)"},
		{"denied", registrytest.Status(403), 1, "access denied (403)"},
		{"unknown", registrytest.Status(401), 1, "access denied (401)"},
		{"elsewhere", registrytest.Status(301, "Location", "http://127.0.0.1:1/"), 1, "redirects are not followed"},
		{"empty", registrytest.Cut(0), 99, "0 of 50000 bytes"},
		{"the wrong range", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Del("Range")
			registrytest.Cut(10)(w, r, next)
		}, 99, "the range"},
	} {
		t.Run(f.name, func(t *testing.T) {
			server := objectstest.NewS3(t)
			b := bucket(t, server)
			ok(t, b.Put(ctx, "blob", body(t, text)))
			server.Fault("GET", f.times, f.fault)
			got, err := read(b, "blob", len(text))
			if f.fails == "" {
				if ok(t, err); !bytes.Equal(got, text) {
					t.Error("it is not what was written")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), f.fails) || strings.Contains(err.Error(), objectstest.Secret) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	server.Fault("PUT", 1, registrytest.Drop)
	ok(t, b.Put(ctx, "again", body(t, text)))
	if got, err := read(b, "again", len(text)); err != nil || !bytes.Equal(got, text) {
		t.Errorf("after a second attempt: %v", err)
	}
	server.Fault("list-type", 99, registrytest.Endless("<ListBucketResult>"))
	if _, err := b.Have(ctx, []string{"a"}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("an endless list: %v", err)
	}
	if _, err := read(b, "blob", len(text)+1); err == nil {
		t.Error("an object that is too short was read")
	}
}

// TestBody writes what is not what it should be: nobody gets it.
func TestBody(t *testing.T) {
	ctx := context.Background()
	server := objectstest.NewS3(t)
	b := bucket(t, server)
	for _, size := range []int{1, 100, 200 << 10} {
		text := bytes.Repeat([]byte("x"), size)
		wrong, err := objects.NewBody(bytes.NewReader(text), int64(size), digest.FromString("another"))
		ok(t, err)
		if err := b.Put(ctx, "wrong", wrong); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := b.Get(ctx, "wrong", 0); !errdefs.IsNotFound(err) {
		t.Errorf("it was written: %v", err)
	}
}

func TestS3Open(t *testing.T) {
	for _, c := range []struct {
		s    objects.S3
		want string
	}{
		{objects.S3{Bucket: "b", Region: "r", Endpoint: "host"}, "endpoint_url"},
		{objects.S3{Bucket: "b", Region: "r", Endpoint: "ftp://host"}, "endpoint_url"},
		{objects.S3{Bucket: "b", Region: "r", Endpoint: "https://me:pass@host"}, "endpoint_url"},
		{objects.S3{Bucket: "b", Region: "r", AccessKeyID: "a"}, "there is only one"},
		{objects.S3{Region: "r"}, "needed"},
	} {
		if _, err := c.s.Open(nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
}

// TestS3Hosts tells where requests for a bucket go.
func TestS3Hosts(t *testing.T) {
	for _, c := range []struct {
		s    objects.S3
		want string
	}{
		{objects.S3{Bucket: "caches", Region: "eu-west-1"}, "https://caches.s3.eu-west-1.amazonaws.com/k"},
		{objects.S3{Bucket: "caches", Region: "cn-north-1"}, "https://caches.s3.cn-north-1.amazonaws.com.cn/k"},
		{objects.S3{Bucket: "my.caches", Region: "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com/my.caches/k"},
		{objects.S3{Bucket: "caches", Region: "r", Endpoint: "https://host/s3/"}, "https://caches.host/s3/k"},
		{objects.S3{Bucket: "caches", Region: "r", Endpoint: "https://host/", PathStyle: true}, "https://host/caches/k"},
		{objects.S3{Bucket: "caches", Region: "r", Endpoint: "http://10.0.0.1:9000"}, "http://10.0.0.1:9000/caches/k"},
	} {
		got := ""
		s, err := c.s.Open(transport(func(r *http.Request) { got = r.URL.String() }))
		ok(t, err)
		_, _ = s.Get(context.Background(), "k", 0)
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.s, got, c.want)
		}
	}
}

type transport func(*http.Request)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t(r)
	return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
}

// TestStalled is a store that takes a request and says nothing: it is not asked again.
func TestStalled(t *testing.T) {
	server := objectstest.NewS3(t)
	b, err := objects.S3{
		Bucket: objectstest.Bucket, Region: "r", Endpoint: "http://" + server.Host, PathStyle: true,
		AccessKeyID: objectstest.KeyID, SecretAccessKey: objectstest.Secret,
	}.Open(registry.CutStalled(http.DefaultTransport, 200*time.Millisecond))
	ok(t, err)
	server.Fault("", 99, registrytest.Stall)
	var stall *registry.StallError
	if _, err := b.Get(context.Background(), "k", 0); !errors.As(err, &stall) {
		t.Errorf("a read: %v", err)
	}
	if err := b.Put(context.Background(), "k", body(t, []byte("text"))); !errors.As(err, &stall) {
		t.Errorf("a write: %v", err)
	}
	if n := len(server.Requests("")); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestCancelled gives up what is waited for.
func TestCancelled(t *testing.T) {
	server := objectstest.NewS3(t)
	b := bucket(t, server)
	ctx, cancel := context.WithCancel(context.Background())
	server.Fault("", 99, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := b.Get(ctx, "k", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
