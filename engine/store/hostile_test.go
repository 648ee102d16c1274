package store_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"golang.org/x/sys/unix"
)

// TestLayersStayInside: whatever names and links a layer has, nothing is written
// outside its tree.
func TestLayersStayInside(t *testing.T) {
	outside := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("safe"), 0o644))
	entries := []tar.Header{
		{Name: "../../../../../../" + outside + "/climbed", Typeflag: tar.TypeReg},
		{Name: outside + "/absolute", Typeflag: tar.TypeReg},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: outside},
		{Name: "link/through", Typeflag: tar.TypeReg},
		{Name: "hard", Typeflag: tar.TypeLink, Linkname: "link/victim"},
		{Name: "link/.wh.victim", Typeflag: tar.TypeReg},
		{Name: ".wh...", Typeflag: tar.TypeReg},
		{Name: "link/.wh..wh..opq", Typeflag: tar.TypeReg},
	}
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		for _, h := range entries {
			r := newRemote()
			link := entries[2]
			desc := r.archive(t, link, h)
			ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{desc}, r, store.NewOptions{})
			noError(t, err)
			if err := ref.Extract(context.Background()); err != nil {
				t.Logf("%s: %v", h.Name, err)
			}
			release(t, ref)
			list, err := os.ReadDir(outside)
			noError(t, err)
			if len(list) != 1 {
				t.Fatalf("%s: outside is now %v", h.Name, list)
			}
			wantFile(t, outside, "victim", "safe")
		}
	})
}

// archive adds a layer of empty files.
func (r *remote) archive(t *testing.T, entries ...tar.Header) ocispec.Descriptor {
	t.Helper()
	var dt bytes.Buffer
	tw := tar.NewWriter(&dt)
	for _, h := range entries {
		h.Mode = 0o644
		noError(t, tw.WriteHeader(&h))
	}
	noError(t, tw.Close())
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(dt.Bytes()), Size: int64(dt.Len())}
	r.blobs[desc.Digest] = dt.Bytes()
	return desc
}

// slow is a provider that waits before it answers.
type slow struct {
	*remote
	asked, answer chan struct{}
	once          sync.Once
}

func (p *slow) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	p.once.Do(func() { close(p.asked) })
	select {
	case <-p.answer:
		return p.remote.ReaderAt(ctx, desc)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// TestCancelOneOfMany: who gives up a fetch that others wait for disturbs nobody,
// and if all do, nothing is left and the next one succeeds.
func TestCancelOneOfMany(t *testing.T) {
	s := newStore(t, "")
	p := &slow{remote: newRemote(), asked: make(chan struct{}), answer: make(chan struct{})}
	desc := p.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1")
	ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{desc}, p, store.NewOptions{})
	noError(t, err)
	defer release(t, ref)
	ctx, cancel := context.WithCancel(context.Background())
	var impatient, patient sync.WaitGroup
	for range 3 {
		impatient.Go(func() {
			if err := ref.Extract(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: got %v", err)
			}
		})
	}
	<-p.asked
	cancel()
	impatient.Wait()
	statuses, err := s.Content().ListStatuses(context.Background())
	noError(t, err)
	if len(statuses) != 0 {
		t.Errorf("all gave up, and there is %v", statuses)
	}

	p.asked, p.once = make(chan struct{}), sync.Once{}
	ctx, cancel = context.WithCancel(context.Background())
	impatient.Go(func() {
		if err := ref.Extract(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
	})
	<-p.asked
	for range 3 {
		patient.Go(func() {
			if err := ref.Extract(context.Background()); err != nil {
				t.Errorf("somebody else gave up: got %v", err)
			}
		})
	}
	cancel()
	impatient.Wait()
	close(p.answer)
	patient.Wait()
	if n := p.fetched(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// TestNoPermission: the error says what can be done.
func TestNoPermission(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	noError(t, os.Chmod(dir, 0o700))
	made := filepath.Join(dir, "made")
	noError(t, openStore(t, store.Options{Root: made}).Close())
	// This thread alone becomes somebody else, as far as files are concerned.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.SetfsuidRetUid(65534)
	noError(t, err)
	_, errNew := store.Open(context.Background(), store.Options{Root: filepath.Join(dir, "new")})
	_, errMade := store.Open(context.Background(), store.Options{Root: made})
	_, err = unix.SetfsuidRetUid(before)
	noError(t, err)
	for _, err := range []error{errNew, errMade} {
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "choose another root") {
			t.Errorf("got %v", err)
		}
	}
}
