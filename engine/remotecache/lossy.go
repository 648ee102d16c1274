package remotecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// lossy reads the layers of a cache. A layer that cannot be had is gone, and with it all
// others if the cache itself does not answer: it is not asked again.
type lossy struct {
	name   string
	source content.Provider
	// failing is told of reads that show that the place fails, and how long they took.
	failing func(took time.Duration, err error)

	mu   sync.Mutex // guards what follows
	gone map[digest.Digest]bool
	all  bool
	told bool
}

var _ store.Expendable = (*lossy)(nil)

func newLossy(name string, source content.Provider, failing func(time.Duration, error)) *lossy {
	return &lossy{name: name, source: source, failing: failing, gone: map[digest.Digest]bool{}}
}

// Gone implements store.Expendable.
func (l *lossy) Gone(dgst digest.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all || l.gone[dgst]
}

// lost says whether a layer is gone.
func (l *lossy) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.gone) > 0
}

// Lose implements store.Expendable. The reason is told once.
func (l *lossy) Lose(ctx context.Context, dgst digest.Digest, why error) {
	l.mu.Lock()
	l.gone[dgst] = true
	if _, unreachable := errors.AsType[*unreachableError](why); unreachable {
		l.all = true
	}
	told := l.told
	l.told = true
	l.mu.Unlock()
	if !told {
		solver.ProgressFrom(ctx).Warn(client.VertexWarning{
			Short: fmt.Appendf(nil, "cache %s: a layer cannot be had, and what was to be read from it is built: %v", l.name, why),
		})
	}
}

// unreachableError is one of the place, and not of one layer.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// failed is an error of reading a layer, which began at some time.
func (l *lossy) failed(ctx context.Context, dgst digest.Digest, began time.Time, err error) error {
	if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil {
		return err
	}
	if !errdefs.IsNotFound(err) {
		err = &unreachableError{err}
		l.failing(time.Since(began), err)
	}
	l.Lose(ctx, dgst, err)
	return fmt.Errorf("%w: cache %s: %w", store.ErrLost, l.name, err)
}

// ReaderAt implements content.Provider.
func (l *lossy) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if l.Gone(desc.Digest) {
		return nil, fmt.Errorf("%w: cache %s: layer %s", store.ErrLost, l.name, desc.Digest)
	}
	began := time.Now()
	ra, err := l.source.ReaderAt(registry.Impatient(ctx), desc)
	if err != nil {
		return nil, l.failed(ctx, desc.Digest, began, err)
	}
	return &lossyReader{ReaderAt: ra, ctx: ctx, l: l, dgst: desc.Digest}, nil
}

type lossyReader struct {
	content.ReaderAt
	ctx  context.Context
	l    *lossy
	dgst digest.Digest
}

// ReadAt implements io.ReaderAt.
func (r *lossyReader) ReadAt(p []byte, off int64) (int, error) {
	began := time.Now()
	n, err := r.ReaderAt.ReadAt(p, off)
	return n, r.l.failed(r.ctx, r.dgst, began, err)
}
