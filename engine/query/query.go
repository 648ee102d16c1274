// Package query is what can be asked of a root without changing it. One process owns
// a root, and answers from its store (Local); package query/remote asks that process
// from another.
package query

import (
	"context"
	"io"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/store"
)

// Reader answers. Its methods may be called concurrently.
type Reader interface {
	// Usage is what the root takes on its disk.
	Usage(ctx context.Context) (*store.Usage, error)
	// Images are all images: see images.Images.List.
	Images(ctx context.Context) ([]*images.Image, error)
	// Save returns what writes an archive of images, once. What is wrong with the
	// request is known when it returns.
	Save(ctx context.Context, req SaveRequest) (write func(io.Writer) error, err error)
}

// SaveRequest says which images are saved, and how.
type SaveRequest struct {
	Images []string
	images.SaveOptions
}

// Local answers from a store of this process.
func Local(st *store.Store) Reader { return local{st} }

type local struct{ st *store.Store }

func (l local) Usage(ctx context.Context) (*store.Usage, error) { return l.st.Usage(ctx) }

func (l local) Images(ctx context.Context) ([]*images.Image, error) {
	return images.New(l.st).List(ctx)
}

func (l local) Save(ctx context.Context, req SaveRequest) (func(io.Writer) error, error) {
	s, err := images.New(l.st).Plan(ctx, req.Images, req.SaveOptions)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error { return s.WriteArchive(ctx, w) }, nil
}
