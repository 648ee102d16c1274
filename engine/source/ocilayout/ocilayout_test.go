package ocilayout_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/sessiontest"
	"github.com/tenonbuild/tenon/engine/source/ocilayout"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// lender is a session that only has layouts.
type lender struct {
	id      string
	layouts map[string]content.Store
}

func (l *lender) ID() string { return l.id }
func (l *lender) Dir(context.Context, string) (session.Dir, error) {
	return session.Dir{}, session.ErrNotFound
}
func (l *lender) Secret(context.Context, string) ([]byte, error) { return nil, session.ErrNotFound }
func (l *lender) SSH(context.Context, string) (net.Conn, error)  { return nil, session.ErrNotFound }
func (l *lender) Credentials(context.Context, string, string) (session.Credentials, error) {
	return session.Credentials{}, nil
}
func (l *lender) Layout(_ context.Context, name string) (content.Store, error) {
	c, ok := l.layouts[name]
	if !ok {
		return nil, session.ErrNotFound
	}
	return c, nil
}

// counted counts what is read of a layout.
type counted struct {
	content.Store
	mu    sync.Mutex // guards reads
	reads map[digest.Digest]int
}

func (c *counted) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	c.mu.Lock()
	c.reads[desc.Digest]++
	c.mu.Unlock()
	return c.Store.ReaderAt(ctx, desc)
}

type world struct {
	t        *testing.T
	st       *store.Store
	sessions *session.Sessions
	src      *ocilayout.Source
	dir      string
	layout   *counted
	img      v1.Image
	dgst     digest.Digest
}

// newWorld has a layout with an image of two layers, that no session lends yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.Root(t)
	w := &world{t: t, sessions: &session.Sessions{}, dir: t.TempDir()}
	var err error
	w.st, err = store.Open(t.Context(), store.Options{Root: t.TempDir(), Snapshotter: "native"})
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, w.st.Close()) })
	w.src = ocilayout.New(ocilayout.Options{Store: w.st, Sessions: w.sessions})

	path, err := layout.Write(w.dir, empty.Index)
	check.OK(t, err)
	w.img, err = random.Image(1000, 2)
	check.OK(t, err)
	check.OK(t, path.AppendImage(w.img))
	h, err := w.img.Digest()
	check.OK(t, err)
	w.dgst = digest.Digest(h.String())
	blobs, err := contentlocal.NewStore(w.dir)
	check.OK(t, err)
	w.layout = &counted{Store: blobs, reads: map[digest.Digest]int{}}
	return w
}

// lend adds a session with the layout under a name, and a context of its job.
func (w *world) lend(id, name string) (ctx context.Context, remove func()) {
	w.t.Helper()
	remove, err := w.sessions.Add(&lender{id: id, layouts: map[string]content.Store{name: w.layout}})
	check.OK(w.t, err)
	job, err := solver.NewSolver(solver.SolverOpt{}).NewJob("job of " + id)
	check.OK(w.t, err)
	w.t.Cleanup(func() { check.OK(w.t, job.Discard()) })
	job.SessionID = id
	return job.Context(w.t.Context()), remove
}

func (w *world) op(name string, attrs ...string) *pb.SourceOp {
	op := &pb.SourceOp{Identifier: "oci-layout://" + name + "@" + w.dgst.String(), Attrs: map[string]string{}}
	for i := 0; i+1 < len(attrs); i += 2 {
		op.Attrs[attrs[i]] = attrs[i+1]
	}
	return op
}

func TestLayout(t *testing.T) {
	w := newWorld(t)
	ctx, _ := w.lend("a", "base")
	i, err := w.src.Parse(w.op("docker.io/library/x:latest", pb.AttrOCILayoutStoreID, "base", pb.AttrOCILayoutSessionID, "a"), nil)
	check.OK(t, err)
	k0, done, err := i.CacheKey(ctx, 0)
	check.OK(t, err)
	check.Equal(t, "key", k0, "image "+w.dgst.String())
	check.Equal(t, "done", done, false)
	k1, done, err := i.CacheKey(ctx, 1)
	check.OK(t, err)
	check.Equal(t, "layers' key", strings.HasPrefix(k1, "layers ") && done, true)
	tree, err := i.Snapshot(ctx)
	check.OK(t, err)
	check.Equal(t, "blobs before the tree is needed", len(w.layout.reads), 2)
	check.OK(t, tree.Extract(ctx))
	check.Equal(t, "blobs", len(w.layout.reads), 4)
	check.OK(t, tree.Release(ctx))

	limited, err := w.src.Parse(w.op("base", pb.AttrOCILayoutLayerLimit, "1"), nil)
	check.OK(t, err)
	k, _, err := limited.CacheKey(ctx, 0)
	check.OK(t, err)
	check.Equal(t, "limited", k == k0, false)
}

// The session that began is gone; another that the work is for has the layout.
func TestAnotherSession(t *testing.T) {
	w := newWorld(t)
	ctxA, remove := w.lend("a", "base")
	i, err := w.src.Parse(w.op("base", pb.AttrOCILayoutSessionID, "a"), nil)
	check.OK(t, err)
	_, _, err = i.CacheKey(ctxA, 0)
	check.OK(t, err)
	remove()
	ctxB, _ := w.lend("b", "base")
	tree, err := i.Snapshot(ctxB)
	check.OK(t, err)
	err = tree.Extract(ctxA)
	check.Says(t, err, "base", "gone")
	check.OK(t, tree.Extract(ctxB))
	check.OK(t, tree.Release(ctxB))
}

// A client that does not answer is not waited for where another that the work is for has the
// layout, also where it stops in the middle of a blob.
func TestStalledClient(t *testing.T) {
	w := newWorld(t)
	ctx, _ := w.lend("a", "base")
	shared, _ := sessiontest.Beside(ctx, t, w.sessions)
	i, err := w.src.Parse(w.op("base", pb.AttrOCILayoutSessionID, "stalled"), nil)
	check.OK(t, err)
	_, _, err = i.CacheKey(shared, 0)
	check.OK(t, err)
	tree, err := i.Snapshot(shared)
	check.OK(t, err)
	check.OK(t, tree.Extract(shared))
	check.OK(t, tree.Release(shared))

	ended := make(chan struct{})
	defer close(ended)
	_, err = w.sessions.Add(&lender{id: "stops", layouts: map[string]content.Store{"base": stopping{w.layout.Store, ended}}})
	check.OK(t, err)
	for range 2 {
		dt, err := content.ReadBlob(shared, ocilayout.Layout{Sessions: w.sessions, Session: "stops", Name: "base"}, ocispec.Descriptor{Digest: w.dgst})
		check.OK(t, err)
		check.Equal(t, "what is read", digest.FromBytes(dt), w.dgst)
	}
}

// stopping is a layout whose blobs are opened, and never read.
type stopping struct {
	content.Store
	ended chan struct{}
}

func (s stopping) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := s.Store.ReaderAt(ctx, desc)
	return stopped{ra, s.ended}, err
}

type stopped struct {
	content.ReaderAt
	ended chan struct{}
}

func (s stopped) ReadAt([]byte, int64) (int, error) {
	<-s.ended
	return 0, context.Canceled
}

func TestResolveMetadata(t *testing.T) {
	w := newWorld(t)
	ctx, _ := w.lend("a", "base")
	opt := sourceresolver.Opt{OCILayoutOpt: &sourceresolver.ResolveOCILayoutOpt{
		Store: sourceresolver.ResolveImageConfigOptStore{SessionID: "a", StoreID: "base"},
	}}
	resp, err := w.src.ResolveMetadata(ctx, w.op("docker.io/library/x"), opt)
	check.OK(t, err)
	check.Equal(t, "digest", resp.Image.Digest, w.dgst)
	config, err := w.img.RawConfigFile()
	check.OK(t, err)
	check.Equal(t, "configuration", string(resp.Image.Config), string(config))
}

func TestBadLayouts(t *testing.T) {
	w := newWorld(t)
	ctx, _ := w.lend("a", "base")
	for name, says := range map[string]string{
		"oci-layout://base":                            "digest",
		"oci-layout://base@sha256:1":                   "digest",
		"oci-layout://@" + w.dgst.String():             "names no layout",
		"docker-image://base@" + w.dgst.String():       "oci-layout://",
		"oci-layout://base:tag@" + w.dgst.String()[:9]: "digest",
	} {
		_, err := w.src.Parse(&pb.SourceOp{Identifier: name}, nil)
		check.Says(t, err, says)
	}
	for _, a := range [][2]string{{pb.AttrOCILayoutLayerLimit, "-1"}, {"oci.odd", "1"}} {
		_, err := w.src.Parse(w.op("base", a[0], a[1]), nil)
		check.Says(t, err, a[0])
	}

	i, err := w.src.Parse(w.op("other"), nil)
	check.OK(t, err)
	_, _, err = i.CacheKey(ctx, 0)
	check.Says(t, err, "other")
	check.Equal(t, "not found", errors.Is(err, session.ErrNotFound), true)

	blob := filepath.Join(w.dir, "blobs", "sha256", w.dgst.Encoded())
	dt, err := os.ReadFile(blob)
	check.OK(t, err)
	check.OK(t, os.WriteFile(blob, append(dt, ' '), 0o600))
	i, err = w.src.Parse(w.op("base"), nil)
	check.OK(t, err)
	_, _, err = i.CacheKey(ctx, 0)
	check.Says(t, err, "base", "damaged")
	check.OK(t, os.Remove(blob))
	_, _, err = i.CacheKey(ctx, 0)
	check.Says(t, err, "base", "does not have", w.dgst.String())
}
