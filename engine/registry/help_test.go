package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/solver"
)

// waits is a Wait that does not, and remembers for how long it should have.
type waits struct {
	mu   sync.Mutex
	long []time.Duration
}

func (w *waits) wait(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.long = append(w.long, d)
	return ctx.Err()
}

func (w *waits) all() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.long
}

// open makes a Registry that does not wait.
func open(t testing.TB, opt registry.Options) (*registry.Registry, *waits) {
	t.Helper()
	w := &waits{}
	opt.Wait = w.wait
	r, err := registry.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// lender is a session that only has credentials.
type lender struct {
	id     string
	known  map[string]session.Credentials
	broken error

	mu    sync.Mutex // guards asked
	asked []string
}

func (l *lender) ID() string { return l.id }
func (l *lender) Dir(context.Context, string) (session.Dir, error) {
	return session.Dir{}, session.ErrNotFound
}
func (l *lender) Secret(context.Context, string) ([]byte, error) { return nil, session.ErrNotFound }
func (l *lender) SSH(context.Context, string) (net.Conn, error)  { return nil, session.ErrNotFound }
func (l *lender) Layout(context.Context, string) (content.Store, error) {
	return nil, session.ErrNotFound
}
func (l *lender) Credentials(_ context.Context, host, repository string) (session.Credentials, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, host)
	if c, ok := l.known[host+"/"+repository]; ok {
		return c, l.broken
	}
	return l.known[host], l.broken
}

// work is a context that belongs to a job with a session.
func work(t testing.TB, id string) context.Context {
	t.Helper()
	s := solver.NewSolver(solver.SolverOpt{})
	job, err := s.NewJob("job of " + id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := job.Discard(); err != nil {
			t.Error(err)
		}
	})
	job.SessionID = id
	return job.Context(t.Context())
}

// picture is an image of some layers, and the descriptor of its first layer.
func picture(t testing.TB, layers int, size int64) (v1.Image, ocispec.Descriptor) {
	t.Helper()
	img, err := random.Image(size, int64(layers))
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return img, descriptor(m.Layers[0])
}

func descriptor(d v1.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}

// fetch reads a blob whole and checks its digest.
func fetch(ctx context.Context, r *registry.Registry, ref string, desc ocispec.Descriptor) (err error) {
	rc, err := r.Fetcher(ref).Fetch(ctx, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	dt, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	if got := digest.FromBytes(dt); got != desc.Digest {
		return fmt.Errorf("%d bytes with the digest %s", len(dt), got)
	}
	return nil
}
