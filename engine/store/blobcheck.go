package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// ErrDamagedBlob says that a blob of Content was not what its digest says. It has been
// removed: whoever needs it makes or fetches it again.
var ErrDamagedBlob = errors.New("blob was damaged, and has been removed")

// checkedContent is a content store whose blobs are what their digests say. A blob that
// is gone from the disk, or is cut short, is one that there is not; so is one with other
// bytes, as soon as it was read from its beginning to its end. Such blobs are removed, so
// that they can be written again.
type checkedContent struct {
	content.Store // asked in our namespace
	meta          *metadata.DB
	disk          content.Store // of the files
	dir           string        // of the files
	tell          func(string)

	mu sync.Mutex
	// sound are the blobs that this process has written, or read as a whole, with the
	// state of their files then.
	sound map[digest.Digest]fileState
}

// fileState is what changes when a file is written to.
type fileState struct {
	inode          uint64
	size           int64
	mtime, changed syscall.Timespec
}

func (c *checkedContent) state(dgst digest.Digest) (fileState, bool) {
	var st syscall.Stat_t
	err := syscall.Stat(filepath.Join(c.dir, "blobs", dgst.Algorithm().String(), dgst.Encoded()), &st)
	return fileState{st.Ino, st.Size, st.Mtim, st.Ctim}, err == nil
}

// Info implements content.Manager.
func (c *checkedContent) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	info, err := c.Store.Info(ctx, dgst)
	if err != nil {
		return info, err
	}
	onDisk, err := c.disk.Info(ctx, dgst)
	if err == nil && onDisk.Size == info.Size {
		return info, nil
	}
	if err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, os.ErrNotExist) {
		return info, err
	}
	if err := c.forget(dgst); err != nil {
		return info, err
	}
	return content.Info{}, fmt.Errorf("content %v is gone from the disk: %w", dgst, errdefs.ErrNotFound)
}

// forget removes a blob that is damaged, so that there is none. What holds it holds the
// next one of that digest.
func (c *checkedContent) forget(dgst digest.Digest) error {
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	err := c.meta.ContentStore().Delete(ctx, dgst)
	if errdefs.IsNotFound(err) {
		return nil // somebody else was faster
	}
	if err == nil {
		// None is committed during a transaction: that one would be sound.
		err = c.meta.Update(func(tx *bolt.Tx) error {
			if v1 := tx.Bucket([]byte("v1")); v1 != nil && bucketAt(v1, namespace, "content", "blob", dgst.String()) != nil {
				return nil
			}
			if err := c.disk.Delete(ctx, dgst); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("damaged blob %s cannot be removed: %w", dgst, err)
	}
	c.tell(fmt.Sprintf("the blob %s is damaged, or gone: it is fetched or made again", dgst))
	return nil
}

// Writer implements content.Ingester.
func (c *checkedContent) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var opt content.WriterOpts
	for _, o := range opts {
		if err := o(&opt); err != nil {
			return nil, err
		}
	}
	if dgst := opt.Desc.Digest; dgst != "" && dgst.Validate() == nil {
		if _, err := c.Info(ctx, dgst); err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	w, err := c.Store.Writer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &checkedWriter{w, c}, nil
}

// checkedWriter remembers what it has committed.
type checkedWriter struct {
	content.Writer
	in *checkedContent
}

func (w *checkedWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	err := w.Writer.Commit(ctx, size, expected, opts...)
	if err == nil {
		w.in.found(w.Digest())
	}
	return err
}

// found notes that a blob is what it should be.
func (c *checkedContent) found(dgst digest.Digest) {
	if state, ok := c.state(dgst); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sound[dgst] = state
	}
}

// forgetful is the store of the files. What is removed there needs no memory any more.
type forgetful struct {
	content.Store
	in *checkedContent
}

// Delete implements content.Manager.
func (f forgetful) Delete(ctx context.Context, dgst digest.Digest) error {
	err := f.Store.Delete(ctx, dgst)
	if err == nil {
		f.in.mu.Lock()
		defer f.in.mu.Unlock()
		delete(f.in.sound, dgst)
	}
	return err
}

// WalkStatusRefs is what containerd's garbage collection looks for besides.
func (f forgetful) WalkStatusRefs(ctx context.Context, fn func(string) error) error {
	walker, ok := f.Store.(interface {
		WalkStatusRefs(context.Context, func(string) error) error
	})
	if !ok {
		return errors.New("the store of blobs does not tell what is being written")
	}
	return walker.WalkStatusRefs(ctx, fn)
}

// ReaderAt implements content.Provider.
func (c *checkedContent) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if _, err := c.Info(ctx, desc.Digest); err != nil {
		return nil, err
	}
	ra, err := c.Store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	state, ok := c.state(desc.Digest)
	c.mu.Lock()
	sound := ok && c.sound[desc.Digest] == state
	c.mu.Unlock()
	if sound || !desc.Digest.Algorithm().Available() {
		return ra, nil
	}
	return &checkedReader{ReaderAt: ra, in: c, dgst: desc.Digest, sum: desc.Digest.Algorithm().Digester()}, nil
}

// checkedReader computes the digest of what is read in order.
type checkedReader struct {
	content.ReaderAt
	in   *checkedContent
	dgst digest.Digest

	mu   sync.Mutex
	sum  digest.Digester
	next int64 // what comes before is in sum
	err  error
}

// ReadAt implements io.ReaderAt. The last bytes of a blob that is damaged are not
// returned, if all others were read in order before.
func (r *checkedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	if n <= 0 || off > r.next || off+int64(n) <= r.next {
		return n, err
	}
	r.sum.Hash().Write(p[r.next-off : n])
	if r.next = off + int64(n); r.next < r.Size() {
		return n, err
	}
	if r.sum.Digest() == r.dgst {
		r.in.found(r.dgst)
		return n, err
	}
	r.err = errors.Join(fmt.Errorf("%s: %w", r.dgst, ErrDamagedBlob), r.in.forget(r.dgst))
	return 0, r.err
}

// isDamaged reads a blob, and says whether it was damaged. It is removed then.
func (s *Store) isDamaged(ctx context.Context, desc ocispec.Descriptor) bool {
	ra, err := s.back.content.ReaderAt(ctx, desc)
	if err != nil {
		return false
	}
	defer ra.Close() // of a file that was read
	_, err = io.Copy(io.Discard, content.NewReader(ra))
	return errors.Is(err, ErrDamagedBlob)
}

// undamaged calls fn, which reads a blob, and once more if that was damaged: then fn
// finds that there is none.
func (s *Store) undamaged(ctx context.Context, desc ocispec.Descriptor, fn func() error) error {
	err := fn()
	if err == nil || ctx.Err() != nil {
		return err
	}
	// What is amid a blob may fail who reads it before the end is known.
	if errors.Is(err, ErrDamagedBlob) || s.isDamaged(ctx, desc) {
		return fn()
	}
	return err
}
