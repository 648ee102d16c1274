// Package query is what can be asked of a root beside builds: what is in it, and changes of its
// images. One process owns a root, and answers from its store (Local); package query/remote
// asks that process from another.
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

// Changer changes the images of a root, as images.Images does, which says what each method
// promises. Its methods may be called concurrently, also beside builds.
type Changer interface {
	Tag(ctx context.Context, ref, name string) error
	Remove(ctx context.Context, refs []string, force bool) ([]images.Removed, error)
	Prune(ctx context.Context, opt images.PruneOptions) ([]images.Removed, error)
	LoadArchive(ctx context.Context, r io.Reader) ([]images.Loaded, error)
	// LoadLayout reads a directory that the owner of the root finds by its path.
	LoadLayout(ctx context.Context, dir string) ([]images.Loaded, error)
}

// Root is all of that.
type Root interface {
	Reader
	Changer
}

// SaveRequest says which images are saved, and how.
type SaveRequest struct {
	Images []string
	images.SaveOptions
}

// Local answers from a store of this process.
func Local(st *store.Store) Root { return local{images.New(st), st} }

type local struct {
	*changer
	st *store.Store
}

type changer = images.Images

func (l local) Usage(ctx context.Context) (*store.Usage, error) { return l.st.Usage(ctx) }

func (l local) Images(ctx context.Context) ([]*images.Image, error) {
	return l.List(ctx)
}

func (l local) Save(ctx context.Context, req SaveRequest) (func(io.Writer) error, error) {
	s, err := l.Plan(ctx, req.Images, req.SaveOptions)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error { return s.WriteArchive(ctx, w) }, nil
}
