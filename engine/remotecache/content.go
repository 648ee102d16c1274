package remotecache

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/session"
)

// Folder is the content store of a caller's folder, which the protocol knows by its path.
// Whose session that is the context says, each time.
type Folder struct {
	Sessions *session.Sessions
	Path     string
}

func (f Folder) open(ctx context.Context) (content.Store, error) {
	s, err := f.Sessions.Of(ctx)
	if err != nil {
		return nil, fmt.Errorf("the caller who has the folder %s: %w", f.Path, err)
	}
	k, ok := s.(session.CacheKeeper)
	if !ok {
		return nil, fmt.Errorf("the caller lends no folder %s for caches: %w", f.Path, session.ErrNotFound)
	}
	return k.Cache(ctx, f.Path)
}

// folderSource is the cache in a folder whose manifest is known by its digest.
type folderSource struct {
	Folder
	root  digest.Digest
	trust *Trust
}

// Load implements Source.
func (f folderSource) Load(ctx context.Context) ([]*Graph, error) {
	cs, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	info, err := cs.Info(ctx, f.root)
	if err != nil {
		return nil, fmt.Errorf("folder %s: the cache's manifest: %w", f.Path, err)
	}
	return ReadOCI(ctx, cs, ocispec.Descriptor{Digest: f.root, Size: info.Size}, f.trust)
}

// ReaderAt implements content.Provider.
func (f folderSource) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	cs, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	return cs.ReaderAt(ctx, desc)
}

// FolderError is of a folder that a cache is written to.
type FolderError struct {
	Path string
	Err  error
}

func (e *FolderError) Error() string {
	why := e.Err.Error()
	if strings.Contains(why, e.Path) {
		return why
	}
	return fmt.Sprintf("folder %s: %s", e.Path, why)
}

// Unwrap returns the cause.
func (e *FolderError) Unwrap() error { return e.Err }

// folderDestination writes a cache into a folder.
type folderDestination struct {
	Folder
	form  Form
	store content.Store // nil until it was needed
	doc   *document
}

// Layers implements Destination: they may be there, which Lacks finds.
func (f *folderDestination) Layers(ctx context.Context, g *Graph) (_ []ocispec.Descriptor, err error) {
	if f.doc, err = f.form.document(ctx, g); err != nil {
		return nil, err
	}
	return f.doc.blobs, nil
}

// Lacks implements Destination.
func (f *folderDestination) Lacks(ctx context.Context, layers []ocispec.Descriptor, _ bool) (lacks []ocispec.Descriptor, err error) {
	if f.store == nil {
		if f.store, err = f.open(ctx); err != nil {
			return nil, err
		}
	}
	for _, b := range layers {
		switch _, err := f.store.Info(ctx, b.Digest); {
		case errdefs.IsNotFound(err):
			lacks = append(lacks, b)
		case err != nil:
			return nil, &FolderError{f.Path, err}
		}
	}
	return lacks, nil
}

// Doubt implements Destination: each layer is looked for.
func (f *folderDestination) Doubt() {}

// Put implements Destination.
func (f *folderDestination) Put(ctx context.Context, desc ocispec.Descriptor, from content.Provider) (err error) {
	ra, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	return f.write(ctx, desc, ra)
}

// write writes a blob under a name of its own: two may write one folder at a time.
func (f *folderDestination) write(ctx context.Context, desc ocispec.Descriptor, from content.ReaderAt) (err error) {
	ref := "cache-" + identity.NewID()
	w, err := content.OpenWriter(ctx, f.store, content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return &FolderError{f.Path, err}
	}
	err = content.Copy(ctx, w, content.NewReader(from), desc.Size, desc.Digest)
	err = errors.Join(err, w.Close())
	if err == nil || errdefs.IsAlreadyExists(err) {
		return nil
	}
	if e := f.store.Abort(context.WithoutCancel(ctx), ref); e != nil && !errdefs.IsNotFound(e) {
		err = errors.Join(err, e)
	}
	return &FolderError{f.Path, err}
}

// Commit implements Destination. The index of the folder is the caller's to write.
func (f *folderDestination) Commit(ctx context.Context) (map[string]string, error) {
	err := f.doc.write(ctx, func(desc ocispec.Descriptor, dt memory) error { return f.Put(ctx, desc, dt) })
	if err != nil {
		return nil, err
	}
	return f.doc.response()
}
