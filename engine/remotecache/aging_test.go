package remotecache

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/internal/check"
)

// aging is a store whose objects are as old as the test says.
type aging struct {
	data     map[string][]byte
	modified map[string]time.Time
}

func (a *aging) Get(_ context.Context, key string, _ int64) (*objects.Object, error) {
	dt, ok := a.data[key]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return &objects.Object{ReadCloser: io.NopCloser(bytes.NewReader(dt)), Modified: a.modified[key]}, nil
}

func (a *aging) Have(_ context.Context, keys []string) (map[string]time.Time, error) {
	there := map[string]time.Time{}
	for _, k := range keys {
		if t, ok := a.modified[k]; ok {
			there[k] = t
		}
	}
	return there, nil
}

func (a *aging) Put(_ context.Context, key string, _ *objects.Body) error {
	a.modified[key] = time.Now()
	return nil
}

func (a *aging) Replace(ctx context.Context, key string, b *objects.Body) error {
	return a.Put(ctx, key, b)
}

func (a *aging) Touch(_ context.Context, key string, _ int64) error {
	a.modified[key] = time.Now()
	return nil
}

type anyBytes struct{}

func (anyBytes) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	return memory(make([]byte, desc.Size)).ReaderAt(context.Background(), desc)
}

// A cache that is written often keeps its old layers from being removed by their age, and has
// those again that were.
func TestObjectsAge(t *testing.T) {
	ctx := context.Background()
	of := func(n int) *Graph {
		c, layers, stacks := collected(n)
		return graphFor(c, layers, stacks)
	}
	first, layers, err := of(2).describing(ctx)
	check.OK(t, err)
	old := time.Now().Add(-100 * time.Hour)
	s := &aging{
		data:     map[string][]byte{"config": first},
		modified: map[string]time.Time{"config": time.Now(), layers[0].Digest.String(): old},
	}
	to := &objectDestination{
		objectPlace: objectPlace{store: s, write: []string{"config"}, blob: digest.Digest.String},
		fresh:       12 * time.Hour, uploads: 1, lists: true,
	}
	_, err = Write(ctx, of(3), anyBytes{}, to, nil)
	check.OK(t, err)
	for _, l := range to.layers {
		check.Equal(t, "layer is new", s.modified[l.Digest.String()].After(old), true)
	}
	check.Equal(t, "layers", len(to.layers), 3)
}
