package remotecache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
)

// place is a Source that a test says the behaviour of.
type place struct {
	load  func(ctx context.Context) ([]*Graph, error)
	layer error
}

func (p place) Load(ctx context.Context) ([]*Graph, error) { return p.load(ctx) }

func (p place) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return nil, p.layer
}

// A cache that does not answer is waited for only so long, and has nothing.
func TestImportHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		m := Open(t.Context(), "id", "there", place{load: func(ctx context.Context) ([]*Graph, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, nil, Told{Loaded: func(err error) { told <- err }})
		recs, err := m.Records(nil)
		check.OK(t, err)
		check.Equal(t, "records before", len(recs), 0)
		keys, err := m.Query(nil, 0, dg("root"), 0)
		check.OK(t, err)
		check.Equal(t, "keys", len(keys), 0)
		check.Says(t, <-told, "has not answered within 25s")
	})
}

// A layer that is not there is lost alone; where the place does not answer, all are, and it
// is not asked again.
func TestLossy(t *testing.T) {
	ctx := t.Context()
	layers := described("a", "b")
	for _, c := range []struct {
		err error
		all bool
	}{{errdefs.ErrNotFound, false}, {errors.New("connection refused"), true}} {
		failing := 0
		l := newLossy("there", place{layer: c.err}, func(time.Duration, error) { failing++ })
		_, err := l.ReaderAt(ctx, layers[0])
		check.Equal(t, "lost", errors.Is(err, store.ErrLost), true)
		check.Equal(t, "gone", l.Gone(layers[0].Digest), true)
		check.Equal(t, "the other", l.Gone(layers[1].Digest), c.all)
		check.Equal(t, "told", failing == 1, c.all)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	l := newLossy("there", place{layer: context.Canceled}, nil)
	_, err := l.ReaderAt(ended, layers[0])
	check.Equal(t, "lost by who went away", errors.Is(err, store.ErrLost) || l.Gone(layers[0].Digest), false)
}

// An export waits for a cache that is still being read, as long as it is not cancelled: what
// that has goes along.
func TestExportWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan struct{})
		defer close(answer)
		m := Open(ctx, "id", "there", place{load: func(context.Context) ([]*Graph, error) {
			<-answer
			return nil, errdefs.ErrNotFound
		}}, nil, Told{Loaded: func(error) {}})
		ended := make(chan error, 1)
		go func() {
			_, err := NewCollector().Gather(ctx, nil, Extent{}, Mounts{}, []*Import{m})
			ended <- err
		}()
		synctest.Wait()
		check.Equal(t, "ended", len(ended), 0)
		cancel()
		check.Equal(t, "is cancelled", errors.Is(<-ended, context.Canceled), true)
	})
}
